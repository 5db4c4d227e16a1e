//! `workflows/*.yaml` as written: a workflow and its steps before they are compiled to a plan.

use std::collections::BTreeMap;

use greenroom_protocol::{AgentId, ContextKey, EventName, Json, MicroUsd, StepId, TeamId, Values, WorkflowId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::Retry;
use crate::types::Field;

/// A workflow, as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowSpec {
    /// Its id, such as `generate_quarterly_report`.
    pub workflow_id: WorkflowId,
    /// Its display name.
    pub name: String,
    /// Its purpose.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its author's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The inputs of a run. Without a declaration, a run accepts any inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Field>,
    /// The steps.
    pub steps: Vec<StepSpec>,
    /// The outputs of a run, by name: `${…}` references.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Json>,
    /// A `${…}` reference, returned as the output `final_output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_output: Option<Json>,
    /// Rules that every request to run it must pass: names, or maps of a name and its parameter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::policy::list_schema")]
    pub policies: Vec<String>,
    /// Limits of one run.
    #[serde(default, skip_serializing_if = "RunLimits::is_empty")]
    pub limits: RunLimits,
    /// The timeout of one run, in seconds. Waiting for an approval does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// The timeout of the compensation of one run, in seconds, counted from its start; 120 without it. It is
    /// independent of `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation_timeout: Option<u64>,
}

/// Limits of one run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunLimits {
    /// The maximum number of tokens of all its calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The maximum cost of all its calls, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
}

impl RunLimits {
    /// True if no limit is set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.max_tokens.is_none() && self.max_cost_usd.is_none()
    }

    /// The maximum cost of all calls. An amount that is none permits nothing; it would be no limit otherwise.
    #[must_use]
    pub fn cost_max(&self) -> Option<MicroUsd> {
        self.max_cost_usd.map(|usd| MicroUsd::from_usd(usd).unwrap_or_default())
    }
}

/// One step, as written. It names an agent, a workflow, a team (with a workflow), what it waits for, or only an approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Its id, unique in the workflow.
    pub id: StepId,
    /// The agent that executes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The workflow that runs as this step, alone or in the team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowId>,
    /// The team that is formed for this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<TeamId>,
    /// Steps that must finish first. A `${steps.…}` reference implies a dependency.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<StepId>,
    /// Its inputs, by name: values, and `${…}` references anywhere in them.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub inputs: Values,
    /// The names under which its outputs appear in the run's outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Steps that may run at the same time; the check rejects a dependency between them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parallel_with: Vec<StepId>,
    /// A CEL condition over `inputs`, `context` and `steps`; the step is skipped where it is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Executes the step once for each item of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEachSpec>,
    /// Retries; the default is the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The timeout of one attempt, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Requires an approval before the step starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalSpec>,
    /// The step waits, instead of calling anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for: Option<WaitForSpec>,
    /// The compensation, if a later step fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<CompensateSpec>,
}

/// The effect of a failed item on its `for_each` step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The step fails, and its other items are cancelled.
    #[default]
    Fail,
    /// The item's outputs are null, and the other items continue.
    Continue,
    /// The step fails, and its other items are compensated.
    Compensate,
}

/// Executes a step once for each item of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForEachSpec {
    /// The list: a `${…}` reference, or a list. Inside the step, `${item}` is the item.
    pub items: Json,
    /// The maximum number of concurrent items.
    #[serde(default = "ForEachSpec::concurrency_default")]
    pub max_concurrency: u32,
    /// The effect of a failed item.
    #[serde(default)]
    pub on_error: OnError,
}

impl ForEachSpec {
    pub(crate) const fn concurrency_default() -> u32 {
        4
    }
}

/// Requires an approval by a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalSpec {
    /// The prompt for the approver; `${…}` references are evaluated.
    pub prompt: String,
    /// How long the step waits for the approval, in seconds; after it, the step fails with `timed_out`. Without it,
    /// the step waits without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// What a step waits for: a value of the context, or an event. The value, or the data of the event, is its output
/// `value`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitForSpec {
    /// The key of the run's context that must have a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextKey>,
    /// The name of the event, which is published to the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventName>,
    /// How long an attempt waits, in seconds; after it, the attempt fails with `timed_out`. Without it, the step waits
    /// without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// The compensation of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompensateSpec {
    /// The agent that compensates it.
    pub agent: AgentId,
    /// Its inputs; they may refer to the outputs of the step itself.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub inputs: Values,
}
