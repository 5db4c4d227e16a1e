//! Runs file operations on tokio's blocking threads.

use crate::error::StoreError;

/// Runs file operations where they may block, and waits for the result.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let result = tokio::task::spawn_blocking(work).await;
    result.map_err(|error| StoreError::Failed(format!("a file operation ended early: {error}")))?
}
