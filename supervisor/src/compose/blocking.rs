//! Runs what keeps a core busy, or waits for a file, where it may block.

use greenroom_protocol::{Cause, ErrorCode};

/// Runs `work` on a blocking thread.
///
/// # Errors
/// [`ErrorCode::Internal`] if it panics.
pub(crate) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Cause> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))
}

/// Drives a future on a blocking thread, for one that stays on one thread, such as the assembly of a pod.
///
/// # Errors
/// [`ErrorCode::Internal`] if it panics.
pub(crate) async fn drive_on_thread<T: Send + 'static, F: Future<Output = T>>(
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<T, Cause> {
    let runtime = tokio::runtime::Handle::current();
    run_blocking(move || runtime.block_on(work())).await
}
