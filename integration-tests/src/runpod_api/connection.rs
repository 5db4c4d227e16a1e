//! One connection of the RunPod of tests: HTTP/1.1, written by hand, because the reactions of a script break its rules.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{CallKind, Reaction, RecordedCall, State, client_calls, queue, rest};

/// The largest body.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Serves the requests of one connection.
pub(super) async fn serve(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    let connection = state.connections.fetch_add(1, Ordering::Relaxed);
    while let Some(call) = read_call(&mut stream, connection).await {
        let call = state.record(call);
        let mut reaction = (state.script)(&call);
        while let Reaction::After(delay, next) = reaction {
            sleep(delay).await;
            reaction = *next;
        }
        if matches!(reaction, Reaction::Default) {
            reaction = react(&state, &call).await;
        }
        let response = match reaction {
            Reaction::Json(status, Value::Null) => response(status, "application/json", "", ""),
            Reaction::Json(status, body) => response(status, "application/json", &body.to_string(), ""),
            Reaction::Text(status, media_type, body, headers) => response(status, media_type, &body, headers),
            Reaction::Reset => return drop(stream.get_ref().set_zero_linger()),
            Reaction::Half => {
                let whole = response(200, "application/json", r#"{"id":"half","input":{"ret":1}}"#, "");
                let half = whole.get(..whole.len() - 12).unwrap_or_default();
                let _ = stream.write_all(half.as_bytes()).await;
                return;
            }
            // The script has replaced the reaction, and the loop above its delay.
            Reaction::After(..) | Reaction::Default => return,
        };
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// What this RunPod does by itself.
async fn react(state: &State, call: &RecordedCall) -> Reaction {
    match call.kind {
        CallKind::Take => queue::take(state, call).await,
        CallKind::Stop => queue::stop(state).await,
        CallKind::Done => queue::done(state, call),
        CallKind::Stream => queue::part(state, call),
        CallKind::Ping => Reaction::Json(200, serde_json::json!({ "status": "pong" })),
        CallKind::Other if call.target.starts_with("/rest/v2/") => rest::react(state, call),
        CallKind::Other => client_calls::react(state, call).await,
    }
}

impl State {
    /// Numbers and records a request.
    fn record(&self, mut call: RecordedCall) -> RecordedCall {
        if self.is_recording {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            call.number = calls.len();
            calls.push(call.clone());
        }
        call
    }
}

async fn read_call(stream: &mut BufReader<TcpStream>, connection: usize) -> Option<RecordedCall> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(Some(0), |(_, n)| n.parse().ok())?;
    if length > BODY_BYTES_MAX {
        return None;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let kind = kind_of(&target);
    Some(RecordedCall { number: 0, connection, kind, method, target, headers, body, at: Instant::now() })
}

fn kind_of(target: &str) -> CallKind {
    match target.split('/').nth(3).unwrap_or_default() {
        "job-take" | "job-take-batch" => CallKind::Take,
        "job-done" => CallKind::Done,
        "job-stream" => CallKind::Stream,
        "ping" => CallKind::Ping,
        "job-stop" => CallKind::Stop,
        _ => CallKind::Other,
    }
}

fn response(status: u16, media_type: &str, body: &str, headers: &str) -> String {
    // A response without content has no length.
    let content = match (status, body) {
        (204, _) => String::new(),
        (_, body) => format!("content-type: {media_type}\r\ncontent-length: {}\r\n", body.len()),
    };
    let body = if status == 204 { "" } else { body };
    format!("HTTP/1.1 {status} Status\r\n{content}{headers}\r\n{body}")
}
