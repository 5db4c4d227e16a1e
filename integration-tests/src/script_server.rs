//! A server that speaks like OpenAI over a real socket, does what its script says with each request,
//! and keeps every request that it got.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Bytes of a request that this server reads at most.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What the server counts for each whole answer.
pub const TOKENS_IN: u64 = 1_000;
/// What the server counts for each whole answer.
pub const TOKENS_OUT: u64 = 130;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub enum Play {
    /// Answers with `{"text": …}` and counts.
    Good,
    /// As [`Play::Good`], with this pause before the first and before the last event.
    Slow(Duration),
    /// A status with further header lines, and a body that says nothing.
    Status(&'static str, &'static str),
    /// A status with this body.
    Body(&'static str, String),
    /// A stream of these events, as they are.
    Events(String),
    /// The first half of an answer, then the connection is closed.
    Half,
    /// Takes the request and never says anything.
    Silence,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its place among all requests, from 0.
    pub number: usize,
    /// Its headers, in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: Value,
}

impl Asked {
    /// The key under which it is the same effect as another.
    #[must_use]
    pub fn key(&self) -> &str {
        self.headers.get("idempotency-key").map_or("", String::as_str)
    }
}

/// What decides.
type Script = dyn Fn(&Asked) -> Play + Send + Sync;

/// What all connections share.
struct Stage {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    answered: Mutex<BTreeMap<String, u32>>,
}

/// The server; it ends with the runtime of its test.
#[derive(Clone)]
pub struct ScriptServer {
    url: String,
    stage: Arc<Stage>,
}

impl ScriptServer {
    /// Plays what `script` says to each request.
    ///
    /// # Errors
    /// If there is no socket to be had.
    #[expect(clippy::disallowed_methods, reason = "a test's server ends with the test's runtime")]
    pub async fn start(script: impl Fn(&Asked) -> Play + Send + Sync + 'static) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let stage = Arc::new(Stage { script: Box::new(script), asked: Mutex::default(), answered: Mutex::default() });
        let played = Arc::clone(&stage);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stage = Arc::clone(&played);
                tokio::spawn(async move { play(stream, &stage).await });
            }
        });
        Ok(Self { url, stage })
    }

    /// Where it listens, as `OPENAI_BASE_URL` says it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every request so far, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.stage.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests there were so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.stage.asked.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many whole answers went out, by the key of the effect.
    #[must_use]
    pub fn answered(&self) -> BTreeMap<String, u32> {
        self.stage.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn play(mut stream: TcpStream, stage: &Stage) {
    let Some((headers, body)) = read(&mut stream).await else { return };
    let asked = {
        let mut all = stage.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = Asked { number: all.len(), headers, body };
        all.push(asked.clone());
        asked
    };
    let first = format!("{}{}", head(), piece("{\"text\":"));
    let last = format!("{}{}", piece("\"done\"}"), end());
    let pieces = match (stage.script)(&asked) {
        Play::Good => vec![(Duration::ZERO, format!("{first}{last}"))],
        Play::Slow(pause) => vec![(pause, first), (pause, last)],
        Play::Status(line, headers) => vec![(Duration::ZERO, refusal(line, headers, "{}"))],
        Play::Body(line, body) => vec![(Duration::ZERO, refusal(line, "", &body))],
        Play::Events(events) => vec![(Duration::ZERO, format!("{}{events}", head()))],
        Play::Half => vec![(Duration::ZERO, first)],
        Play::Silence => return pending().await,
    };
    let is_whole = pieces.iter().any(|(_, text)| text.ends_with(END_MARK));
    for (pause, text) in pieces {
        if !pause.is_zero() {
            drop(timeout(pause, pending::<()>()).await);
        }
        if text.ends_with(END_MARK) && is_whole {
            // Counted before it is sent: what the client did with it can only be seen later.
            let mut answered = stage.answered.lock().unwrap_or_else(PoisonError::into_inner);
            *answered.entry(asked.key().to_owned()).or_default() += 1;
        }
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
    drop(stream.shutdown().await);
}

/// An answer with a status that is no success.
fn refusal(line: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

/// The end of a stream of events.
const END_MARK: &str = "data: [DONE]\n\n";

fn head() -> &'static str {
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
}

/// One event with a piece of the answer.
fn piece(text: &str) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }))
}

/// The events of an end, with the server's own count.
fn end() -> String {
    let stop = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT } });
    format!("data: {stop}\n\ndata: {usage}\n\n{END_MARK}")
}

/// A whole answer whose text is this, for a script that wants its own words.
#[must_use]
pub fn answer(text: &str) -> Play {
    Play::Events(format!("{}{}", piece(text), end()))
}

async fn read(stream: &mut TcpStream) -> Option<(BTreeMap<String, String>, Value)> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    let (headers, body_at) = loop {
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(chunk.get(..count)?);
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break (headers(bytes.get(..at)?), at + 4);
        }
        if bytes.len() > REQUEST_BYTES_MAX {
            return None;
        }
    };
    let length: usize = headers.get("content-length")?.parse().ok().filter(|length| *length <= REQUEST_BYTES_MAX)?;
    while bytes.len() < body_at + length {
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(chunk.get(..count)?);
    }
    Some((headers, serde_json::from_slice(bytes.get(body_at..body_at + length)?).ok()?))
}

fn headers(head: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(head);
    let lines = text.split("\r\n").filter_map(|line| line.split_once(": "));
    lines.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect()
}
