//! `teams/*.yaml` as written.

use greenroom_protocol::{AgentId, TeamId, Values, WorkflowId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::workflow::RunLimits;

/// A team, as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamSpec {
    /// Its id, such as `reporting_team`.
    pub team_id: TeamId,
    /// Its display name.
    pub name: String,
    /// Its purpose.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its members, each by its id, with or without its `_NNN` ordinal.
    pub agents: Vec<AgentId>,
    /// The workflows that it may run; an empty list means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workflows: Vec<WorkflowId>,
    /// The initial values of its shared context, by name.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub shared_context: Values,
    /// Policies that every request to it must pass: names, or maps of a name and its parameter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::policy::list_schema")]
    pub policies: Vec<String>,
    /// Limits of one of its runs.
    #[serde(default, skip_serializing_if = "RunLimits::is_empty")]
    pub limits: RunLimits,
}
