//! The request pipeline, as actors see it. An actor does not call another actor: it issues a nested request as
//! itself, which is authenticated, audited and authorized like every request.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::Shared;
use greenroom_protocol::{Cause, ErrorCode, Metadata, Reply, Status, Values};
use greenroom_registry::journal::Receipt;
use greenroom_rego::Authenticated;
use tokio::sync::oneshot;

/// The pipeline, as an actor sees it.
#[async_trait]
pub trait RequestPipeline: Send + Sync {
    /// Handles a request that a grant has issued, and returns its reply.
    async fn handle(&self, request: Authenticated) -> Reply {
        self.handle_after(request, CommitWaiter::ready()).await
    }

    /// As [`RequestPipeline::handle`], for a request whose issuer has submitted a write that is not durable yet. The
    /// request is audited and authorized meanwhile; it is executed only after the commit.
    async fn handle_after(&self, request: Authenticated, commit: CommitWaiter) -> Reply;
}

/// Waits until the earlier write of the issuer is durable.
#[derive(Debug, Clone)]
pub struct CommitWaiter(Option<Shared<oneshot::Receiver<()>>>);

/// The other end of a [`CommitWaiter`]; if it is dropped, the waiting request fails.
#[derive(Debug)]
pub struct CommitSignal(oneshot::Sender<()>);

/// Creates both ends of a commit signal.
#[must_use]
pub fn commit_signal() -> (CommitSignal, CommitWaiter) {
    let (sender, receiver) = oneshot::channel();
    (CommitSignal(sender), CommitWaiter(Some(receiver.shared())))
}

impl CommitSignal {
    /// Releases the waiters, because the receipt proves that the write is durable.
    pub fn committed(self, _receipt: &Receipt) {
        // All waiters may have been dropped.
        let _ = self.0.send(());
    }
}

impl CommitWaiter {
    /// A waiter without an earlier write.
    #[must_use]
    pub const fn ready() -> Self {
        Self(None)
    }

    /// Waits until the earlier write is durable.
    ///
    /// # Errors
    /// [`ErrorCode::StoreUnavailable`] if the write has failed.
    pub async fn wait(self) -> Result<(), Cause> {
        let Some(receiver) = self.0 else { return Ok(()) };
        match receiver.await {
            Ok(()) => Ok(()),
            Err(_dropped) => Err(Cause::new(ErrorCode::StoreUnavailable, "the earlier write was not committed")),
        }
    }
}

/// The handle of the pipeline, which is created before the pipeline and bound once.
#[derive(Clone, Default)]
pub struct PipelineHandle {
    pipeline: Arc<OnceLock<Arc<dyn RequestPipeline>>>,
}

/// The handle is already bound.
#[derive(Debug, thiserror::Error)]
#[error("the pipeline handle is already bound")]
pub struct AlreadyBound;

impl PipelineHandle {
    /// Binds the pipeline.
    ///
    /// # Errors
    /// [`AlreadyBound`] on a second call: a running pod never changes its pipeline.
    pub fn bind(&self, pipeline: Arc<dyn RequestPipeline>) -> Result<(), AlreadyBound> {
        self.pipeline.set(pipeline).map_err(|_| AlreadyBound)
    }

    /// Handles a request.
    pub async fn handle(&self, request: Authenticated) -> Reply {
        self.handle_after(request, CommitWaiter::ready()).await
    }

    /// Handles a request that is executed after the commit of an earlier write.
    pub async fn handle_after(&self, request: Authenticated, commit: CommitWaiter) -> Reply {
        match self.pipeline.get() {
            Some(pipeline) => pipeline.handle_after(request, commit).await,
            None => Reply {
                id: request.id().to_string(),
                status: Status::Failed,
                outputs: Values::new(),
                error: Some(Cause::new(ErrorCode::Internal, "a request arrived before the pipeline was bound")),
                metadata: Metadata::default(),
            },
        }
    }
}
