//! The progress of a request as a stream: the text of a model as it is written, and at the end the reply.

use std::time::Duration;

use axum::response::Response;
use futures::stream::{self, StreamExt};
use greenroom_client::{Progress, ProgressStream, TransportError};
use serde_json::json;
use tokio::time::timeout;

use super::problem::Problem;
use super::respond::failure;
use super::sse::{self, AtDrain, SseEvent};
use super::state::Bridge;

/// How long the first item is awaited: a refusal that arrives by then has a status of its own.
const FIRST_ITEM_WAIT: Duration = Duration::from_secs(1);

/// The response to a request with this progress.
///
/// # Errors
/// The problem of a request that is refused before anything of it was streamed.
pub(super) async fn respond(bridge: &Bridge, mut progress: ProgressStream) -> Result<Response, Problem> {
    let first = match timeout(FIRST_ITEM_WAIT, progress.next()).await {
        Ok(Some(Ok(Progress::Reply(mut reply)))) => match failure(&mut reply) {
            Some(cause) => return Err(Problem::of_reply(cause, *reply)),
            None => Some(Ok(Progress::Reply(reply))),
        },
        Ok(Some(Err(error))) => return Err(error.into()),
        Ok(Some(Ok(item))) => Some(Ok(item)),
        Ok(None) => return Err(TransportError::ConnectionLost.into()),
        Err(_elapsed) => None,
    };
    let items = stream::iter(first).chain(progress).map(|item| match item {
        Ok(item) => event_of(item),
        Err(error) => SseEvent::unnumbered("error", Problem::from(error).document()),
    });
    Ok(sse::respond(bridge, items.boxed(), AtDrain::Continues))
}

fn event_of(item: Progress) -> SseEvent {
    match item {
        Progress::Accepted { pod, run } => SseEvent::unnumbered("accepted", json!({ "pod": pod, "run": run })),
        Progress::Text(text) => SseEvent::unnumbered("delta", json!({ "text": text })),
        Progress::Restarted => SseEvent::unnumbered("restarted", json!({})),
        Progress::Reply(reply) => SseEvent::unnumbered("reply", json!(reply)),
    }
}
