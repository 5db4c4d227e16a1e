//! From an answer that is read piece by piece to the stream of its deltas, the same for every API.

use std::collections::VecDeque;

use futures::StreamExt;
use greenroom_actors::model::{Delta, Deltas, ModelError};

/// The deltas that were read and are not in the stream yet.
pub(super) type PendingDeltas = VecDeque<Result<Delta, ModelError>>;

/// Reads one answer.
pub(super) trait AnswerReader: Send + 'static {
    /// Reads until there is a delta, an error or the end. It returns at once if one is pending or the answer has ended.
    fn read(&mut self) -> impl Future<Output = ()> + Send;

    /// What was read.
    fn pending(&mut self) -> &mut PendingDeltas;
}

/// Waits for the first delta of the answer, so that a failure that the server reports at once is an error of the call.
///
/// # Errors
/// [`ModelError`] if no answer begins.
pub(super) async fn open(mut reader: impl AnswerReader) -> Result<Deltas, ModelError> {
    reader.read().await;
    if let Some(Err(error)) = reader.pending().pop_front_if(|first| first.is_err()) {
        return Err(error);
    }
    Ok(futures::stream::unfold(reader, |mut reader| async move {
        reader.read().await;
        let delta = reader.pending().pop_front()?;
        Some((delta, reader))
    })
    .boxed())
}
