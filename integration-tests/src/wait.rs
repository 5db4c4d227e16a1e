//! Waiting in a test: for something to become true, never for time to pass.

use std::future::Future;
use std::time::Duration;

/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Waits until `look` finds something, at most `bound`.
///
/// The bound is not an expectation: it only ends a test that would hang. Choose it long enough that a
/// busy machine never reaches it.
///
/// # Errors
/// What was waited for, once the bound is reached.
pub async fn until<T, F, L>(what: &str, bound: Duration, mut look: L) -> anyhow::Result<T>
where
    F: Future<Output = Option<T>>,
    L: FnMut() -> F,
{
    let watching = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(bound, watching).await.map_err(|_| anyhow::anyhow!("waited {bound:?} in vain: {what}"))
}
