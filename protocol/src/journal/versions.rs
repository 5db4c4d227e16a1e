//! The versions of definitions to which a run is pinned, and the agent among them that a step names.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hash::ContentHash;
use crate::id::{AgentId, TeamId, WorkflowId};

/// The versions of the definitions of inner runs, which are pinned when the outermost run starts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct InnerVersions {
    /// The workflows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub workflows: BTreeMap<WorkflowId, ContentHash>,
    /// The teams.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub teams: BTreeMap<TeamId, ContentHash>,
    /// The agents of these workflows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub agents: BTreeMap<AgentId, ContentHash>,
}

impl InnerVersions {
    /// Returns the agent that a step of an inner run names and its pinned version, as [`RunStarted::agent`].
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<(&AgentId, ContentHash)> {
        find_agent(&self.agents, id)
    }

    /// True if the run can start no other run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workflows.is_empty() && self.teams.is_empty() && self.agents.is_empty()
    }
}

/// The agent with this id, or the first one whose id is this one plus `_NNN`.
pub(super) fn find_agent<'v>(
    versions: &'v BTreeMap<AgentId, ContentHash>,
    id: &AgentId,
) -> Option<(&'v AgentId, ContentHash)> {
    let ordinal = |pinned: &AgentId| {
        let rest = pinned.as_str().strip_prefix(id.as_str())?.strip_prefix('_')?;
        (!rest.is_empty() && rest.bytes().all(|digit| digit.is_ascii_digit())).then_some(())
    };
    let exact = versions.get_key_value(id);
    let pinned = exact.or_else(|| versions.iter().find(|(id, _)| ordinal(id).is_some()));
    pinned.map(|(id, hash)| (id, *hash))
}
