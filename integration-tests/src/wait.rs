//! Waits in tests: for a condition to become true, never for time to pass.

use std::future::Future;
use std::time::Duration;

/// Interval between two probes.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Waits until `probe` returns a value, at most `timeout`.
///
/// The timeout is not an expectation: it only ends a test that would hang. Choose it long enough that a
/// busy machine never reaches it.
///
/// # Errors
/// If the timeout is reached; the error names the condition.
pub async fn wait_until<T, F, L>(condition: &str, timeout: Duration, mut probe: L) -> anyhow::Result<T>
where
    F: Future<Output = Option<T>>,
    L: FnMut() -> F,
{
    let polling = async {
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(timeout, polling).await.map_err(|_| anyhow::anyhow!("waited {timeout:?} in vain: {condition}"))
}
