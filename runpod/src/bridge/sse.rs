//! Streams of server-sent events: how an event is written, the comments that keep a quiet stream open, and its end when the
//! bridge drains.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use greenroom_protocol::Json;
use greenroom_protocol::event::EventNumber;
use tokio::sync::watch;
use tokio::time::sleep;

use super::counters::OpenTicket;
use super::state::Bridge;

/// A comment is written after this time without an event: proxies close a connection that is silent for longer.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How long a reader waits before it connects again.
const RETRY_MILLIS: u64 = 1_000;

/// When a stream ends before its last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtDrain {
    /// At the drain: its reader connects to another bridge, and misses nothing.
    Ends,
    /// Never: a drain waits for it.
    Continues,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SseEvent {
    /// Its number, which a reader sends when it connects again.
    pub(super) id: Option<EventNumber>,
    /// Its type.
    pub(super) name: String,
    /// Its data.
    pub(super) data: Json,
}

impl SseEvent {
    /// An event without a number.
    pub(super) fn unnumbered(name: &str, data: Json) -> Self {
        Self { id: None, name: name.to_owned(), data }
    }

    /// The event as it is written. JSON has no line breaks.
    fn encode(&self) -> Bytes {
        let id = self.id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        format!("{id}event: {}\ndata: {}\n\n", self.name, self.data).into()
    }
}

/// A stream that is written.
struct Writer {
    events: BoxStream<'static, SseEvent>,
    /// `None` if a drain waits for the stream.
    draining: Option<watch::Receiver<bool>>,
    is_opened: bool,
    _ticket: OpenTicket,
}

impl Writer {
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.is_opened, true) {
            // The first bytes show the reader that the stream is open.
            return Some(format!("retry: {RETRY_MILLIS}\n\n").into());
        }
        let Self { events, draining, .. } = self;
        tokio::select! {
            biased;
            event = events.next() => event.map(|event| event.encode()),
            () = wait_draining(draining) => None,
            () = sleep(HEARTBEAT_INTERVAL) => Some(Bytes::from_static(b": working\n\n")),
        }
    }
}

async fn wait_draining(draining: &mut Option<watch::Receiver<bool>>) {
    match draining {
        // A bridge that is dropped drains, too.
        Some(draining) => drop(draining.wait_for(|is_draining| *is_draining).await),
        None => std::future::pending().await,
    }
}

/// The response with these events.
pub(super) fn respond(bridge: &Bridge, events: BoxStream<'static, SseEvent>, at_drain: AtDrain) -> Response {
    let ticket = bridge.counters.open_stream();
    let draining = (at_drain == AtDrain::Ends).then(|| bridge.watch_draining());
    let writer = Writer { events, draining, is_opened: false, _ticket: ticket };
    let chunks = stream::unfold(writer, |mut writer| async move {
        let chunk = writer.next().await?;
        Some((chunk, writer))
    });
    let mut response = Response::new(Body::from_stream(bridge.streams.open(chunks.boxed())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies of this kind collect a response before they send it.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_has_one_line_of_data_whatever_its_texts_contain() {
        let event =
            SseEvent { id: Some(EventNumber::new(7, 1)), name: "delta".into(), data: json!({ "text": "a\nb\r\n\n" }) };
        assert_eq!(event.encode(), "id: 7.1\nevent: delta\ndata: {\"text\":\"a\\nb\\r\\n\\n\"}\n\n");
        let unnumbered = SseEvent::unnumbered("restarted", json!({}));
        assert_eq!(unnumbered.encode(), "event: restarted\ndata: {}\n\n");
    }
}
