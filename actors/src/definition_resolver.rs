//! The trait that resolves definitions: the active catalogue, and the older versions that runs are pinned to.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_definitions::{Agent, Catalogue, Team, Workflow};
use greenroom_protocol::request::TeamRef;
use greenroom_protocol::{AgentId, Cause, ContentHash, TeamId, WorkflowId};

/// Resolves definitions.
#[async_trait]
pub trait DefinitionResolver: Send + Sync {
    /// The active catalogue. A caller that holds it is not affected by a reload.
    fn catalogue(&self) -> Arc<Catalogue>;

    /// The agent in the given version, else the newest one.
    ///
    /// # Errors
    /// `unknown_agent`; an error of the store.
    async fn agent(&self, id: &AgentId, version: Option<&ContentHash>) -> Result<Arc<Agent>, Cause>;

    /// The workflow in the given version, else the newest one.
    ///
    /// # Errors
    /// `unknown_workflow`; an error of the store.
    async fn workflow(&self, id: &WorkflowId, version: Option<&ContentHash>) -> Result<Arc<Workflow>, Cause>;

    /// The team in the given version, else the newest one; also a team that a request contained, once it is stored.
    ///
    /// # Errors
    /// `unknown_team`; an error of the store.
    async fn team(&self, id: &TeamId, version: Option<&ContentHash>) -> Result<Arc<Team>, Cause>;

    /// The team that a request names or contains. A team that another request contained cannot be named.
    ///
    /// # Errors
    /// `invalid_definition` for a team that the request contains; as [`DefinitionResolver::team`].
    async fn requested_team(&self, team: &TeamRef, version: Option<&ContentHash>) -> Result<Arc<Team>, Cause> {
        match team {
            TeamRef::Inline(team) => Ok(Arc::new(self.catalogue().inline_team(team)?)),
            TeamRef::Id(id) if version.is_none() => self.catalogue().require_team(id).cloned(),
            TeamRef::Id(id) => self.team(id, version).await,
        }
    }
}
