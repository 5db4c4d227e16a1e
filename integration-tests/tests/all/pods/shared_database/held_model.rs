//! The scripted model whose replies a test holds back for as long as it needs, so that what must happen during a call does
//! not depend on how quick the machine is.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_actors::model::{Deltas, ModelCall, ModelError, ModelProvider};
use greenroom_runtimes::models::scripted::{Script, Scripted};
use tokio::sync::watch;

/// Clones share the script, its counts and what is held.
#[derive(Clone)]
pub(super) struct HeldModel {
    scripted: Scripted,
    is_held: Arc<watch::Sender<bool>>,
}

/// As long as it exists, the model does not reply.
pub(in crate::pods) struct HeldReplies(Arc<watch::Sender<bool>>);

impl HeldModel {
    pub(super) fn new(script: Script) -> Self {
        Self { scripted: Scripted::new(script), is_held: Arc::new(watch::Sender::new(false)) }
    }

    /// The number of calls so far, including those whose reply is held.
    pub(super) fn call_count(&self) -> u64 {
        self.scripted.call_count()
    }

    pub(super) fn hold(&self) -> HeldReplies {
        self.is_held.send_replace(true);
        HeldReplies(Arc::clone(&self.is_held))
    }
}

impl Drop for HeldReplies {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

#[async_trait]
impl ModelProvider for HeldModel {
    fn name(&self) -> &str {
        self.scripted.name()
    }

    fn is_external(&self) -> bool {
        self.scripted.is_external()
    }

    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError> {
        let deltas = self.scripted.stream(call).await?;
        // The sender lives as long as this model.
        let _ = self.is_held.subscribe().wait_for(|is_held| !is_held).await;
        Ok(deltas)
    }
}
