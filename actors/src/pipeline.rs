//! The request pipeline, as actors see it. An actor does not call another actor: it issues a nested request as
//! itself, which is authenticated, audited and authorized like every request.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::Shared;
use greenroom_protocol::{Cause, ErrorCode, Metadata, Reply, Status, Values, WrittenVersion};
use greenroom_registry::journal::Receipt;
use greenroom_registry::ledger::Settled;
use greenroom_rego::Authenticated;
use tokio::sync::oneshot;

use crate::execution::stream::DeltaSink;

/// The pipeline, as an actor sees it.
#[async_trait]
pub trait RequestPipeline: Send + Sync {
    /// Handles a request that a grant has issued, and returns its reply.
    async fn handle(&self, request: Authenticated) -> Reply {
        self.handle_within(request, CallScope::default()).await
    }

    /// As [`RequestPipeline::handle`], within the scope of the issuer's call. The request is audited and authorized
    /// while an earlier write of the issuer is not durable yet; it is executed only after that commit.
    async fn handle_within(&self, request: Authenticated, scope: CallScope) -> Reply;
}

/// What a nested request shares with its issuer.
#[derive(Debug, Clone, Default)]
pub struct CallScope {
    /// The earlier write of the issuer.
    pub commit: CommitWaiter,
    /// Receives the settlements of what the request has cost, which belong into the unit of its issuer.
    pub settlements: Settlements,
    /// Receives the answer of a model to the request, while the model writes it.
    pub sink: Option<DeltaSink>,
}

/// The settlements of the calls of one request, until the unit that records its end takes them. What is never taken
/// is booked by itself.
#[derive(Debug, Clone, Default)]
pub struct Settlements(Arc<Mutex<Vec<Settled>>>);

impl Settlements {
    /// Adds a settlement.
    pub fn add(&self, settled: Settled) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(settled);
    }

    /// Takes all settlements, for a unit.
    #[must_use]
    pub fn take(&self) -> Vec<Settled> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Waits until the earlier write of the issuer is durable.
#[derive(Debug, Clone, Default)]
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

/// The handle of the pipeline, which is created before the pipeline and bound once. It does not own the pipeline, which
/// owns the actors that have the handle: a pod that has ended is freed.
#[derive(Clone, Default)]
pub struct PipelineHandle {
    pipeline: Arc<OnceLock<Weak<dyn RequestPipeline>>>,
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
    pub fn bind(&self, pipeline: &Arc<dyn RequestPipeline>) -> Result<(), AlreadyBound> {
        self.pipeline.set(Arc::downgrade(pipeline)).map_err(|_| AlreadyBound)
    }

    /// Handles a request.
    pub async fn handle(&self, request: Authenticated) -> Reply {
        self.handle_within(request, CallScope::default()).await
    }

    /// Handles a request within the scope of its issuer's call.
    pub async fn handle_within(&self, request: Authenticated, scope: CallScope) -> Reply {
        match self.pipeline.get().and_then(Weak::upgrade) {
            Some(pipeline) => pipeline.handle_within(request, scope).await,
            None => Reply {
                id: request.id().to_string(),
                status: Status::Failed,
                outputs: Values::new(),
                error: Some(Cause::new(ErrorCode::ShuttingDown, "the pod has not started yet, or has ended")),
                metadata: Metadata::default(),
                protocol_version: WrittenVersion::OWN,
            },
        }
    }
}
