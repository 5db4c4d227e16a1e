//! The runs as the dispatcher invokes them.

use async_trait::async_trait;
use greenroom_protocol::request::{ResumeRun, SignalRun, StartRun};
use greenroom_protocol::{Reply, RunId};
use greenroom_registry::core::PendingAuditEntry;
use greenroom_registry::runs::Fence;
use greenroom_rego::Permitted;

use super::handle::RunsHandle;
use crate::dispatcher::{RunHost, RunTicket};

#[async_trait]
impl RunHost for RunsHandle {
    async fn start(
        &self,
        permit: Permitted<StartRun>,
        audit_entry: &mut PendingAuditEntry,
        ticket: Option<RunTicket>,
    ) -> Reply {
        Self::start(self, permit, audit_entry, ticket).await
    }

    async fn resume(&self, permit: Permitted<ResumeRun>) -> Reply {
        Self::resume(self, permit).await
    }

    async fn signal(&self, permit: Permitted<SignalRun>) -> Reply {
        Self::signal(self, permit).await
    }

    fn fence(&self, root: &RunId) -> Option<Fence> {
        self.owned_trees().fence(root)
    }
}
