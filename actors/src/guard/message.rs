//! The messages of the guard's supervisor, which the handle sends and the supervisor handles.

use std::sync::Arc;

use greenroom_rego::{Bundle, PolicySnapshot, SnapshotError};
use tokio::sync::oneshot;

use super::load_error::LoadError;
use crate::supervision::{ChildMsg, TaskOutcome};

/// Receives the result of a load.
pub(super) type LoadPort = oneshot::Sender<Result<Arc<str>, LoadError>>;

/// Messages of the guard's supervisor.
pub(super) enum GuardSupervisorMsg {
    /// Validate a bundle and activate it.
    Load(Box<Bundle>, LoadPort),
    /// The validation of the first bundle in the queue has ended.
    Validated(TaskOutcome<Result<Arc<PolicySnapshot>, SnapshotError>>),
    /// A message of the child driver about a worker.
    Worker(ChildMsg<usize>),
}

impl ractor::Message for GuardSupervisorMsg {}

impl From<ChildMsg<usize>> for GuardSupervisorMsg {
    fn from(message: ChildMsg<usize>) -> Self {
        Self::Worker(message)
    }
}
