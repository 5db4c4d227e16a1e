//! The way back in. An actor that needs another one does not call it: it asks at the door, as itself,
//! and is authenticated, audited and judged like everybody else.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::Shared;
use greenroom_protocol::{Cause, ErrorCode, Metadata, Reply, Status, Values};
use greenroom_registry::journal::Receipt;
use greenroom_rego::Authenticated;
use tokio::sync::oneshot;

/// The top of the pipeline, as an actor sees it.
#[async_trait]
pub trait RequestPipeline: Send + Sync {
    /// Lets a request in that was spoken by a grant, and waits for its reply.
    async fn handle(&self, asked: Authenticated) -> Reply {
        self.handle_after(asked, CommitWaiter::ready()).await
    }

    /// As [`Door::enter`], for a request whose asker has written that it asks, and may not know yet that
    /// this is durable. It is recorded and judged meanwhile; nothing is done before the other is reached.
    async fn handle_after(&self, asked: Authenticated, other: CommitWaiter) -> Reply;
}

/// What an act waits for beside its own record: that what its asker wrote before is durable.
#[derive(Debug, Clone)]
pub struct CommitWaiter(Option<Shared<oneshot::Receiver<()>>>);

/// The other end of a [`Behind`]: dropped, what waits is never done.
#[derive(Debug)]
pub struct CommitSignal(oneshot::Sender<()>);

/// Both ends of what an act waits for.
#[must_use]
pub fn commit_signal() -> (CommitSignal, CommitWaiter) {
    let (ahead, behind) = oneshot::channel();
    (CommitSignal(ahead), CommitWaiter(Some(behind.shared())))
}

impl CommitSignal {
    /// Lets go on what waits, since the receipt proves that what was written is durable.
    pub fn committed(self, _receipt: &Receipt) {
        // Nobody may wait any more.
        let _ = self.0.send(());
    }
}

impl CommitWaiter {
    /// An act that waits for its own record only.
    #[must_use]
    pub const fn ready() -> Self {
        Self(None)
    }

    /// Waits until what was written before is durable.
    ///
    /// # Errors
    /// [`ErrorCode::StoreUnavailable`] if it never will be.
    pub async fn wait(self) -> Result<(), Cause> {
        let Some(behind) = self.0 else { return Ok(()) };
        match behind.await {
            Ok(()) => Ok(()),
            Err(_gone) => Err(Cause::new(ErrorCode::StoreUnavailable, "what comes before the act was not written")),
        }
    }
}

/// A door that is handed out before the pipeline behind it exists, and hung once.
#[derive(Clone, Default)]
pub struct PipelineHandle {
    pipeline: Arc<OnceLock<Arc<dyn RequestPipeline>>>,
}

/// The doorway has its door already.
#[derive(Debug, thiserror::Error)]
#[error("the doorway has its door already")]
pub struct AlreadyBound;

impl PipelineHandle {
    /// Hangs the door.
    ///
    /// # Errors
    /// [`HungTwice`] on a second call: a running platform never changes its way in.
    pub fn bind(&self, pipeline: Arc<dyn RequestPipeline>) -> Result<(), AlreadyBound> {
        self.pipeline.set(pipeline).map_err(|_| AlreadyBound)
    }

    /// Lets a request in.
    pub async fn enter(&self, asked: Authenticated) -> Reply {
        self.enter_behind(asked, CommitWaiter::ready()).await
    }

    /// Lets a request in whose act waits for what its asker has written.
    pub async fn enter_behind(&self, asked: Authenticated, other: CommitWaiter) -> Reply {
        match self.pipeline.get() {
            Some(pipeline) => pipeline.handle_after(asked, other).await,
            None => Reply {
                id: asked.id().to_string(),
                status: Status::Failed,
                outputs: Values::new(),
                error: Some(Cause::new(ErrorCode::Internal, "a request came before the pipeline was hung")),
                metadata: Metadata::default(),
            },
        }
    }
}
