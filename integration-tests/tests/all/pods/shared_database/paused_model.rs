//! The scripted model whose replies a test delays for as long as it needs, so that what must happen during a call does
//! not depend on how quick the machine is.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_actors::model::{Deltas, ModelCall, ModelError, ModelProvider};
use greenroom_runtimes::models::scripted::{Script, Scripted};
use tokio::sync::watch;

/// Clones share the script, its counts and whether replies are paused.
#[derive(Clone)]
pub(super) struct PausedModel {
    scripted: Scripted,
    is_paused: Arc<watch::Sender<bool>>,
}

/// As long as it exists, the model does not reply.
pub(in crate::pods) struct PausedReplies(Arc<watch::Sender<bool>>);

impl PausedModel {
    pub(super) fn new(script: Script) -> Self {
        Self { scripted: Scripted::new(script), is_paused: Arc::new(watch::Sender::new(false)) }
    }

    /// The number of calls so far, including those whose reply is still to come.
    pub(super) fn call_count(&self) -> u64 {
        self.scripted.stats().calls
    }

    pub(super) fn pause(&self) -> PausedReplies {
        self.is_paused.send_replace(true);
        PausedReplies(Arc::clone(&self.is_paused))
    }
}

impl Drop for PausedReplies {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

#[async_trait]
impl ModelProvider for PausedModel {
    fn name(&self) -> &str {
        self.scripted.name()
    }

    fn is_external(&self) -> bool {
        self.scripted.is_external()
    }

    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError> {
        let deltas = self.scripted.stream(call).await?;
        // The sender lives as long as this model.
        let _ = self.is_paused.subscribe().wait_for(|is_paused| !is_paused).await;
        Ok(deltas)
    }
}
