//! The requests: one struct for each verb. Clients, the steps of a run and calls between pods all use
//! these types, so every request passes the same pipeline.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversation::StepApprovals;
use crate::error::{Cause, ErrorCode};
use crate::event_number::EventNumber;
use crate::hash::ContentHash;
use crate::id::{AgentId, CallKey, ContextKey, RunId, StepId, TeamId, ToolCallId, WorkflowId};
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::value::{Json, Values};

mod keys;
mod list;
mod maintenance;
mod memory;
mod outside;
mod publish;
mod resource;
mod team_ref;
mod values;

pub use keys::{KeyScope, NewKey, SCOPE_NAMES_MAX};
pub use list::{Page, RunListFilter};
pub use maintenance::Maintenance;
pub use memory::{MemoryChange, MemoryRead, MemoryWrite};
pub use publish::PublishedEvent;
pub use team_ref::{InlineTeam, TeamRef};

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    /// Executes an agent.
    Invoke(Invoke),
    /// Starts a run of a workflow.
    StartRun(StartRun),
    /// Forms a team, which runs a workflow.
    StartTeam(StartTeam),
    /// Cancels a run, approves or rejects a step, or publishes an event.
    SignalRun(SignalRun),
    /// Resumes an interrupted run.
    ResumeRun(ResumeRun),
    /// Reads a team's shared context.
    ContextRead(ContextRead),
    /// Writes a team's shared context.
    ContextWrite(ContextWrite),
    /// Reads memories of an agent.
    MemoryRead(MemoryRead),
    /// Changes the memory of an agent.
    MemoryWrite(MemoryWrite),
    /// Calls a native tool for an agent.
    CallTool(CallTool),
    /// Queries the catalogue, runs, the audit or costs.
    Query(Query),
    /// Prunes, resumes, verifies, checks or backs up what the stores hold; manages API keys.
    Maintain(Maintenance),
}

/// Overrides of a definition for one call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CallOptions {
    /// A model (`PROVIDER.NAME`) or a tier, instead of the definition's model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The cost limit of the whole request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_max: Option<MicroUsd>,
}

/// Executes an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Invoke {
    /// The agent's id, or its id without a trailing `_NNN`.
    pub agent: AgentId,
    /// Its inputs, by name.
    pub inputs: Values,
    /// The team's or run's context, by name; a prompt may use it.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub context: Values,
    /// The version that a run is pinned to; without it, the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ContentHash>,
    /// The idempotency key of this effect, the same for every retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CallKey>,
    /// Overrides of the definition.
    #[serde(default)]
    pub options: CallOptions,
    /// Present if a step of a run calls the agent and waits for the approvals that its tools need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<StepApprovals>,
}

/// Starts a run of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRun {
    /// The workflow's id.
    pub workflow: WorkflowId,
    /// The run's inputs, by name.
    #[serde(default)]
    pub inputs: Values,
    /// The run's context, by name.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub context: Values,
    /// The version to pin; without it, the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ContentHash>,
    /// Reply when the run is accepted instead of when it has ended.
    #[serde(default)]
    pub detach: bool,
    /// The idempotency key of a sub-workflow's call, the same for every retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CallKey>,
    /// Overrides of the definition.
    #[serde(default)]
    pub options: CallOptions,
}

/// Forms a team, which runs a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartTeam {
    /// The team: its id, or its definition.
    pub team: TeamRef,
    /// The workflow; one of the team's, if the team lists any.
    pub workflow: WorkflowId,
    /// The run's inputs, by name.
    #[serde(default)]
    pub inputs: Values,
    /// Added to the team's `shared_context`, by name.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub context: Values,
    /// The version of the team to pin; without it, the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ContentHash>,
    /// The version of the workflow to pin; without it, the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_version: Option<ContentHash>,
    /// Reply when the run is accepted instead of when it has ended.
    #[serde(default)]
    pub detach: bool,
    /// The idempotency key of a step's call, the same for every retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CallKey>,
    /// Overrides of the definition.
    #[serde(default)]
    pub options: CallOptions,
}

/// A signal to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "signal", rename_all = "snake_case")]
pub enum Signal {
    /// Cancels the run and compensates its finished steps.
    Cancel,
    /// Approves a step that awaits approval, or a call of a tool for which it waits.
    Approve {
        /// The step.
        step: StepId,
        /// The call of a tool; without it, the step itself, before its start. A decision that names no call decides none:
        /// another one may have come to wait since the sender has looked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<ToolCallId>,
    },
    /// Rejects a step that awaits approval, which fails it, or a call of a tool for which it waits, which the agent then
    /// reads as its result.
    Reject {
        /// The step.
        step: StepId,
        /// The call of a tool; without it, the step itself, before its start.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<ToolCallId>,
        /// Why, for the agent and for the readers of the run; at most [`crate::limits::REASON_BYTES_MAX`] bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Publishes an event, for which steps of the run wait.
    Event(PublishedEvent),
}

/// Sends a signal to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignalRun {
    /// The run.
    pub run: RunId,
    /// The signal.
    #[serde(flatten)]
    pub signal: Signal,
}

/// Resumes an interrupted run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRun {
    /// The run.
    pub run: RunId,
    /// True if it was given up, and is to be tried again; a run that was not given up is refused then. Without it, a run
    /// that was given up is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dead: bool,
}

/// Reads a team's shared context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContextRead {
    /// The run of the team.
    pub run: RunId,
    /// The keys; an empty list means all.
    #[serde(default)]
    pub keys: Vec<ContextKey>,
}

/// A change of a shared context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContextChange {
    /// Replaces the value.
    Put(Json),
    /// Appends one item to the list under the key.
    Append(Json),
}

/// Writes a team's shared context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContextWrite {
    /// The run of the team.
    pub run: RunId,
    /// The key.
    pub key: ContextKey,
    /// The version that the writer expects; 0 means that the key must not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
    /// The change.
    pub change: ContextChange,
    /// The time in milliseconds after which the key expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// Calls a native tool for an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallTool {
    /// The tool's name, such as `native:calculator`.
    pub tool: String,
    /// Its arguments, by name.
    pub arguments: Values,
    /// The idempotency key of this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CallKey>,
}

/// A query. Queries read from the stores, never through an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "query", rename_all = "snake_case")]
pub enum Query {
    /// Every agent of the catalogue.
    Agents,
    /// One agent.
    Agent {
        /// Its id, or its id without a trailing `_NNN`.
        id: AgentId,
    },
    /// Every workflow.
    Workflows,
    /// One workflow.
    Workflow {
        /// Its id.
        id: WorkflowId,
    },
    /// Every team.
    Teams,
    /// One team.
    Team {
        /// Its id.
        id: TeamId,
    },
    /// The runs of the caller's tenant, the newest first.
    Runs {
        /// Which of them.
        #[serde(default)]
        filter: RunListFilter,
        /// The page of the list.
        page: Page,
    },
    /// One run with its steps.
    Run {
        /// Its id.
        run: RunId,
    },
    /// The events of a run after a given one, to watch it.
    Events {
        /// The run.
        run: RunId,
        /// The number of the last event that the caller received; 0 means none.
        after: EventNumber,
    },
    /// The audit, the newest first.
    Audit {
        /// The page of the list.
        page: Page,
    },
    /// One audit entry.
    AuditEntry {
        /// Its number, or the id of its request.
        id: String,
    },
    /// A part of the content of an artifact: an input or an output of a run that is too large for a message.
    Artifact {
        /// The hash of its content.
        hash: ContentHash,
        /// The number of bytes that the caller has received; 0 for the first part.
        #[serde(default)]
        after: u64,
    },
    /// Model costs.
    Costs {
        /// The start of the period: earlier days are excluded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
    },
}

impl Request {
    /// The verb, for logs, audit and policy: `invoke`, `start_run`, …
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Invoke(_) => "invoke",
            Self::StartRun(_) => "start_run",
            Self::StartTeam(_) => "start_team",
            Self::SignalRun(_) => "signal_run",
            Self::ResumeRun(_) => "resume_run",
            Self::ContextRead(_) => "context_read",
            Self::ContextWrite(_) => "context_write",
            Self::MemoryRead(_) => "memory_read",
            Self::MemoryWrite(write) => match write.change {
                MemoryChange::Remember { source: None, .. } => "memory_write",
                MemoryChange::Remember { source: Some(_), .. } => "memory_ingest",
                MemoryChange::Forget { .. } => "memory_forget",
            },
            Self::CallTool(_) => "call_tool",
            Self::Query(_) => "query",
            Self::Maintain(maintenance) => maintenance.verb(),
        }
    }

    /// True if the request only reads from the stores: it executes and changes nothing.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        match self {
            Self::Query(_) | Self::ContextRead(_) | Self::MemoryRead(_) => true,
            Self::Invoke(_)
            | Self::StartRun(_)
            | Self::StartTeam(_)
            | Self::SignalRun(_)
            | Self::ResumeRun(_)
            | Self::ContextWrite(_)
            | Self::MemoryWrite(_)
            | Self::CallTool(_)
            | Self::Maintain(_) => false,
        }
    }

    /// Decodes a request from JSON.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`], with the parser's message.
    pub fn from_json(value: Json) -> Result<Self, Cause> {
        serde_json::from_value(value)
            .map_err(|error| Cause::new(ErrorCode::InvalidRequest, format!("the request cannot be read: {error}")))
    }
}
