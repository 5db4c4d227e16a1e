//! The messages of a category's supervisor, which the handle sends and the supervisor handles.

use std::sync::Arc;

use greenroom_protocol::ContentHash;

use crate::agent::HostedAgent;
use crate::supervision::ChildMsg;

/// Messages of a category's supervisor.
pub(super) enum CategoryMsg {
    /// Activate this agent.
    Activate(Arc<HostedAgent>),
    /// A message of the child driver about an agent.
    Agent(ChildMsg<ContentHash>),
}

impl ractor::Message for CategoryMsg {}

impl From<ChildMsg<ContentHash>> for CategoryMsg {
    fn from(message: ChildMsg<ContentHash>) -> Self {
        Self::Agent(message)
    }
}
