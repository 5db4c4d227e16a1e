//! The seam behind which definitions stand: the catalogue in force, and the older versions that runs
//! are still pinned to.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_definitions::{Agent, Catalogue, Workflow};
use greenroom_protocol::{AgentId, Cause, ContentHash, WorkflowId};

/// Finds definitions.
#[async_trait]
pub trait DefinitionResolver: Send + Sync {
    /// The catalogue in force. Who holds it goes on with it undisturbed by a swap.
    fn catalogue(&self) -> Arc<Catalogue>;

    /// The agent: the version that is asked for, else the newest one.
    ///
    /// # Errors
    /// `unknown_agent`; what the store says.
    async fn agent(&self, id: &AgentId, version: Option<&ContentHash>) -> Result<Arc<Agent>, Cause>;

    /// The workflow: the version that is asked for, else the newest one.
    ///
    /// # Errors
    /// `unknown_workflow`; what the store says.
    async fn workflow(&self, id: &WorkflowId, version: Option<&ContentHash>) -> Result<Arc<Workflow>, Cause>;
}
