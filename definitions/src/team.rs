//! A team: agents that share a context while they run a workflow together.

use std::sync::Arc;

use greenroom_protocol::{AgentId, Cause, ContentHash, TeamId, Values, WorkflowId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::{body_of, from_stored};
use crate::workflow::RunLimits;

/// A team, as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamSpec {
    /// Its id, such as `reporting_team`.
    pub team_id: TeamId,
    /// What people call it.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its members, each by its id, with or without its `_NNN` ordinal.
    pub agents: Vec<AgentId>,
    /// The workflows that it may run; none means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workflows: Vec<WorkflowId>,
    /// What its shared context holds at the start, by name.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub shared_context: Values,
    /// Rules that every request to it must pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// What one of its runs may use.
    #[serde(default, skip_serializing_if = "RunLimits::is_empty")]
    pub limits: RunLimits,
}

/// A team of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Team {
    spec: TeamSpec,
    body: Arc<str>,
    hash: ContentHash,
}

impl Team {
    /// Takes a team as written.
    #[must_use]
    pub fn new(spec: TeamSpec) -> Self {
        let (body, hash) = body_of(&spec);
        Self { spec, body, hash }
    }

    /// Rebuilds a team from the body that the registry kept.
    ///
    /// # Errors
    /// `internal`, if the body is not one that [`Team::body`] gave.
    pub fn from_body(body: &str) -> Result<Self, Cause> {
        Ok(Self::new(from_stored(body, "team")?))
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &TeamId {
        &self.spec.team_id
    }

    /// The team as written.
    #[must_use]
    pub const fn spec(&self) -> &TeamSpec {
        &self.spec
    }

    /// The canonical JSON that is hashed and kept.
    #[must_use]
    pub const fn body(&self) -> &Arc<str> {
        &self.body
    }

    /// The hash of the body: its version.
    #[must_use]
    pub const fn hash(&self) -> ContentHash {
        self.hash
    }
}
