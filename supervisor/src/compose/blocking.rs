//! Runs the parts of the composition that keep a core busy where they may block.

use greenroom_protocol::{Cause, ErrorCode};

/// Runs `work` on a blocking thread.
///
/// # Errors
/// [`ErrorCode::Internal`] if it panics.
pub(super) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Cause> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))
}
