//! What can be asked: one struct a verb. The same types serve a customer's request, the steps of a
//! run and the calls between pods, so nothing has a second way in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Cause, ErrorCode};
use crate::hash::ContentHash;
use crate::id::{AgentId, CallKey, ContextKey, RunId, StepId, TeamId, WorkflowId};
use crate::limits::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX};
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::value::{Json, Values};

mod memory;

pub use memory::{MemoryChange, MemoryRead, MemoryWrite};

/// Anything that can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    /// Let an agent work.
    Invoke(Invoke),
    /// Start a workflow.
    StartRun(StartRun),
    /// Form a team and let it run a workflow.
    StartTeam(StartTeam),
    /// Cancel a run, or answer a step that waits for a person.
    SignalRun(SignalRun),
    /// Go on with a run that was interrupted.
    ResumeRun(ResumeRun),
    /// Read a team's shared context.
    ContextRead(ContextRead),
    /// Write a team's shared context.
    ContextWrite(ContextWrite),
    /// Read what an agent remembers.
    MemoryRead(MemoryRead),
    /// Change what an agent remembers.
    MemoryWrite(MemoryWrite),
    /// Let an agent use a tool that is not an agent.
    CallTool(CallTool),
    /// Read what is known: catalogue, runs, audit, costs.
    Query(Query),
}

/// How one piece of work differs from what its definition says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CallOptions {
    /// `PROVIDER.NAME` or a tier, instead of the definition's model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What the whole request may cost at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_max: Option<MicroUsd>,
}

/// Let an agent work.
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
    /// What differs from the definition.
    #[serde(default)]
    pub options: CallOptions,
}

/// Start a workflow.
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
    /// Answer as soon as the run is accepted, not when it has ended.
    #[serde(default)]
    pub detach: bool,
    /// The idempotency key of a sub-workflow's call, the same for every retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CallKey>,
    /// What differs from the definition.
    #[serde(default)]
    pub options: CallOptions,
}

/// Form a team and let it run a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartTeam {
    /// The team's id.
    pub team: TeamId,
    /// The workflow, one of the team's where the team names any.
    pub workflow: WorkflowId,
    /// The run's inputs, by name.
    #[serde(default)]
    pub inputs: Values,
    /// Added to the team's `shared_context`, by name.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub context: Values,
    /// Answer as soon as the run is accepted, not when it has ended.
    #[serde(default)]
    pub detach: bool,
    /// The idempotency key of a step's call, the same for every retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CallKey>,
    /// What differs from the definition.
    #[serde(default)]
    pub options: CallOptions,
}

/// What a run is told from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "signal", rename_all = "snake_case")]
pub enum Signal {
    /// Stop, and undo what `compensate` says.
    Cancel,
    /// Let the waiting step go on.
    Approve {
        /// The step that waits.
        step: StepId,
    },
    /// Let the waiting step fail.
    Reject {
        /// The step that waits.
        step: StepId,
    },
}

/// Tell a run something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignalRun {
    /// The run.
    pub run: RunId,
    /// What it is told.
    #[serde(flatten)]
    pub signal: Signal,
}

/// Go on with a run that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRun {
    /// The run.
    pub run: RunId,
}

/// Read a team's shared context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContextRead {
    /// The running team, by its run.
    pub run: RunId,
    /// The keys; none means all of them.
    #[serde(default)]
    pub keys: Vec<ContextKey>,
}

/// What is written into a shared context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContextChange {
    /// Replace the value.
    Put(Json),
    /// Append one item to the list under the key.
    Append(Json),
}

/// Write a team's shared context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContextWrite {
    /// The running team, by its run.
    pub run: RunId,
    /// The key.
    pub key: ContextKey,
    /// The version that the writer has seen; 0 means that there is none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
    /// What to write.
    pub change: ContextChange,
    /// After how many milliseconds the key is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// Let an agent use a tool that is not an agent.
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

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Page {
    /// The cursor that the page before gave; none means the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Rows at most; 0 means the default.
    pub limit: u32,
}

impl Page {
    /// Rows at most, within the bounds of the wire.
    #[must_use]
    pub const fn effective_limit(&self) -> u32 {
        match self.limit {
            0 => PAGE_ROWS_DEFAULT,
            1..PAGE_ROWS_MAX => self.limit,
            PAGE_ROWS_MAX.. => PAGE_ROWS_MAX,
        }
    }

    /// The number behind which the page begins; every cursor is one.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] if it is none that a page gave.
    pub fn cursor(&self) -> Result<Option<u64>, Cause> {
        let number = self.after.as_deref().map(str::parse).transpose();
        number.map_err(|_| {
            let found = self.after.as_deref().unwrap_or_default();
            Cause::new(
                ErrorCode::InvalidInput,
                format!("a cursor is what `next` of the page before says; `{found}` is none"),
            )
        })
    }
}

/// Read what is known. Reading goes to the stores, never through an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "look", rename_all = "snake_case")]
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
        /// Which part of the list.
        page: Page,
    },
    /// One run with its steps.
    Run {
        /// Its id.
        run: RunId,
    },
    /// The events of a run after one of them: the watch.
    Events {
        /// The run.
        run: RunId,
        /// The last one that the caller has seen; 0 means none.
        after: u64,
    },
    /// The audit, the newest first.
    Audit {
        /// Which part of the list.
        page: Page,
    },
    /// One audit entry.
    AuditEntry {
        /// Its number, or the id of its request.
        id: String,
    },
    /// Who spent what.
    Costs {
        /// Days before this moment are left out.
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
                MemoryChange::Remember { .. } => "memory_write",
                MemoryChange::Forget { .. } => "memory_forget",
            },
            Self::CallTool(_) => "call_tool",
            Self::Query(_) => "look",
        }
    }

    /// What the request is about, for logs and audit: an id, never an input.
    #[must_use]
    pub fn resource(&self) -> String {
        match self {
            Self::Invoke(invoke) => invoke.agent.to_string(),
            Self::StartRun(start) => start.workflow.to_string(),
            Self::StartTeam(start) => start.team.to_string(),
            Self::SignalRun(signal) => signal.run.to_string(),
            Self::ResumeRun(resume) => resume.run.to_string(),
            Self::ContextRead(read) => read.run.to_string(),
            Self::ContextWrite(write) => write.key.to_string(),
            Self::MemoryRead(read) => read.agent.to_string(),
            Self::MemoryWrite(write) => write.agent.to_string(),
            Self::CallTool(call) => call.tool.clone(),
            Self::Query(look) => look.resource(),
        }
    }

    /// Reads a request from JSON.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`], with what the parser says.
    pub fn from_json(value: Json) -> Result<Self, Cause> {
        serde_json::from_value(value)
            .map_err(|error| Cause::new(ErrorCode::InvalidRequest, format!("the request cannot be read: {error}")))
    }
}

impl Query {
    /// What is looked at: the noun, and the id where there is one.
    #[must_use]
    pub fn resource(&self) -> String {
        match self {
            Self::Agents => "agents".into(),
            Self::Agent { id } => id.to_string(),
            Self::Workflows => "workflows".into(),
            Self::Workflow { id } => id.to_string(),
            Self::Teams => "teams".into(),
            Self::Team { id } => id.to_string(),
            Self::Runs { .. } => "runs".into(),
            Self::Run { run } | Self::Events { run, .. } => run.to_string(),
            Self::Audit { .. } => "audit".into(),
            Self::AuditEntry { id } => id.clone(),
            Self::Costs { .. } => "costs".into(),
        }
    }
}
