//! `workflows/*.yaml` as written: a workflow and its steps before they are compiled to a plan.

use std::collections::BTreeMap;

use greenroom_protocol::{AgentId, Json, MicroUsd, StepId, TeamId, Values, WorkflowId};
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
    /// What people call it.
    pub name: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The version that its author gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What a run takes. Where nothing is declared, a run takes anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Field>,
    /// The steps.
    pub steps: Vec<StepSpec>,
    /// What a run gives back, by name: `${…}` references.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Json>,
    /// A `${…}` reference; it is given back as `final_output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_output: Option<Json>,
    /// Rules that every request to run it must pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// What one run may use.
    #[serde(default, skip_serializing_if = "RunLimits::is_empty")]
    pub limits: RunLimits,
    /// How long one run may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// What one run may use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunLimits {
    /// Tokens of all its calls together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// US dollars of all its calls together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
}

impl RunLimits {
    /// True if nothing is limited.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.max_tokens.is_none() && self.max_cost_usd.is_none()
    }

    /// What all calls may cost together.
    #[must_use]
    pub fn cost_max(&self) -> Option<MicroUsd> {
        self.max_cost_usd.and_then(MicroUsd::from_usd)
    }
}

/// One step, as written. It names an agent, a workflow, a team (with a workflow), or only an approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Its id, unique in the workflow.
    pub id: StepId,
    /// The agent that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The workflow that is run as this step, or that the team runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowId>,
    /// The team that is formed for this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<TeamId>,
    /// Steps that must be done before. A `${steps.…}` reference implies one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<StepId>,
    /// Its inputs, by name: values, and `${…}` references anywhere in them.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub inputs: Values,
    /// The names under which its outputs appear in the run's outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Steps that may run at the same time: a claim that is checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parallel_with: Vec<StepId>,
    /// A CEL condition over `inputs`, `context` and `steps`; the step is skipped where it is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Do it once for each item of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEachSpec>,
    /// How often it is tried again; without it, as its agent says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How long one attempt may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Wait for a person before it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalSpec>,
    /// How it is undone, if a later step fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<CompensateSpec>,
}

/// What happens to a `for_each` step when one of its items fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The step fails, and its other items are stopped.
    #[default]
    Fail,
    /// The item's results are null, and the others go on.
    Continue,
    /// The step fails, and what its other items did is undone.
    Compensate,
}

/// Do a step once for each item of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForEachSpec {
    /// The list: a `${…}` reference, or a list. Inside the step, `${item}` is the item.
    pub items: Json,
    /// Items at one time.
    #[serde(default = "ForEachSpec::concurrency_default")]
    pub max_concurrency: u32,
    /// What happens when an item fails.
    #[serde(default)]
    pub on_error: OnError,
}

impl ForEachSpec {
    pub(crate) const fn concurrency_default() -> u32 {
        4
    }
}

/// Wait for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalSpec {
    /// What the person is asked; `${…}` references are filled in.
    pub prompt: String,
}

/// How a step is undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompensateSpec {
    /// The agent that undoes it.
    pub agent: AgentId,
    /// Its inputs; they may refer to the outputs of the step itself.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub inputs: Values,
}
