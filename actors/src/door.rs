//! The way back in. An actor that needs another one does not call it: it asks at the door, as itself,
//! and is authenticated, audited and judged like everybody else.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use greenroom_protocol::{Cause, Code, Metadata, Reply, Status, Values};
use greenroom_rego::Authenticated;

/// The top of the pipeline, as an actor sees it.
#[async_trait]
pub trait Door: Send + Sync {
    /// Lets a request in that was spoken by a grant, and waits for its reply.
    async fn enter(&self, asked: Authenticated) -> Reply;
}

/// A door that is handed out before the pipeline behind it exists, and hung once.
#[derive(Clone, Default)]
pub struct Doorway {
    door: Arc<OnceLock<Arc<dyn Door>>>,
}

/// The doorway has its door already.
#[derive(Debug, thiserror::Error)]
#[error("the doorway has its door already")]
pub struct HungTwice;

impl Doorway {
    /// Hangs the door.
    ///
    /// # Errors
    /// [`HungTwice`] on a second call: a running platform never changes its way in.
    pub fn hang(&self, door: Arc<dyn Door>) -> Result<(), HungTwice> {
        self.door.set(door).map_err(|_| HungTwice)
    }

    /// Lets a request in.
    pub async fn enter(&self, asked: Authenticated) -> Reply {
        match self.door.get() {
            Some(door) => door.enter(asked).await,
            None => Reply {
                id: asked.id().to_string(),
                status: Status::Failed,
                outputs: Values::new(),
                error: Some(Cause::new(Code::Internal, "a request came before the pipeline was hung")),
                metadata: Metadata::default(),
            },
        }
    }
}
