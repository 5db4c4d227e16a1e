//! Counts the messages that were received and not admitted yet. A drain closes admission control once there are none, so
//! that no message that has reached the pod before is rejected.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How many messages are not admitted yet.
#[derive(Debug, Clone, Default)]
pub(super) struct StartingMessages(Arc<watch::Sender<usize>>);

/// One of them, until it is dropped: once its request was admitted or rejected.
#[derive(Debug)]
pub(super) struct Starting(Arc<watch::Sender<usize>>);

impl StartingMessages {
    /// Counts a message.
    pub(super) fn begin(&self) -> Starting {
        self.0.send_modify(|count| *count += 1);
        Starting(Arc::clone(&self.0))
    }

    /// Waits until there are none, at most for `timeout`.
    pub(super) async fn wait_none(&self, timeout: Duration) {
        let mut count = self.0.subscribe();
        let none = count.wait_for(|count| *count == 0);
        if tokio::time::timeout(timeout, none).await.is_err() {
            tracing::warn!("messages of NATS are not admitted in time for the drain");
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_the_messages_that_are_not_admitted() {
        let messages = StartingMessages::default();
        let (first, second) = (messages.begin(), messages.begin());
        drop(first);
        let mut waiting = Box::pin(messages.wait_none(Duration::from_secs(60)));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(second);
        assert!(futures::poll!(&mut waiting).is_ready());
    }
}
