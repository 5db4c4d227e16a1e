//! The trait that resolves definitions: the active catalogue, and the older versions that runs are pinned to.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_definitions::{Agent, Catalogue, Team, Workflow};
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

    /// The team in the given version, else the newest one.
    ///
    /// # Errors
    /// `unknown_team`; an error of the store.
    async fn team(&self, id: &TeamId, version: Option<&ContentHash>) -> Result<Arc<Team>, Cause>;
}
