//! A server that speaks like OpenAI, Anthropic, Gemini or Ollama over a real socket, does what its
//! script says with each request, and keeps every request that it got.

mod dialect;

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use dialect::Dialect;

pub use dialect::{TOKENS_CACHED, TOKENS_TO_CACHE};

/// Bytes of a request that this server reads at most.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long what was written has to arrive before the connection is reset.
const RESET_AFTER: Duration = Duration::from_millis(100);
/// What the server counts for each whole answer.
pub const TOKENS_IN: u64 = 1_000;
/// What the server counts for each whole answer.
pub const TOKENS_OUT: u64 = 130;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub enum ServerBehavior {
    /// Answers with `{"text": …}` and counts.
    Good,
    /// As [`Play::Good`], with this pause before the first and before the last event.
    Slow(Duration),
    /// A status with further header lines, and a body that says nothing.
    Status(&'static str, &'static str),
    /// A status with this body.
    Body(&'static str, String),
    /// As [`Play::Good`], with these words.
    Say(String),
    /// Half an answer that ends for this reason, in the wire's own word.
    Stops(&'static str),
    /// A stream of these events, as they are.
    Events(String),
    /// The first half of an answer, then the connection is closed.
    Half,
    /// As [`Play::Half`], and the last event breaks off in its middle.
    HalfEvent,
    /// As [`Play::Half`], and the connection is reset.
    Reset,
    /// Pieces of an answer for as long as somebody reads.
    Endless,
    /// Takes the request and never says anything.
    Silence,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// Its place among all requests, from 0.
    pub number: usize,
    /// Its first line.
    pub line: String,
    /// Its headers, in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: Value,
}

impl RecordedRequest {
    /// The key under which it is the same effect as another.
    #[must_use]
    pub fn key(&self) -> &str {
        self.headers.get("idempotency-key").map_or("", String::as_str)
    }
}

/// What decides.
type Script = dyn Fn(&RecordedRequest) -> ServerBehavior + Send + Sync;

/// What all connections share.
struct ServerState {
    script: Box<Script>,
    asked: Mutex<Vec<RecordedRequest>>,
    answered: Mutex<BTreeMap<String, u32>>,
    open: AtomicUsize,
}

/// The server; it ends with the runtime of its test.
#[derive(Clone)]
pub struct ScriptServer {
    url: String,
    state: Arc<ServerState>,
}

impl ScriptServer {
    /// Plays what `script` says to each request.
    ///
    /// # Errors
    /// If there is no socket to be had.
    #[expect(clippy::disallowed_methods, reason = "a test's server ends with the test's runtime")]
    pub async fn start(
        script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let state = Arc::new(ServerState {
            script: Box::new(script),
            asked: Mutex::default(),
            answered: Mutex::default(),
            open: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    state.open.fetch_add(1, Ordering::AcqRel);
                    play(stream, &state).await;
                    state.open.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        Ok(Self { url, state })
    }

    /// Where it listens, as `OPENAI_BASE_URL` says it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every request so far, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<RecordedRequest> {
        self.state.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests there were so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.asked.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many connections are open now. One that is kept waiting by [`Play::Silence`] is open until its
    /// client closes it.
    #[must_use]
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Acquire)
    }

    /// How many whole answers went out, by the key of the effect.
    #[must_use]
    pub fn answered(&self) -> BTreeMap<String, u32> {
        self.state.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn play(mut stream: TcpStream, state: &ServerState) {
    let Some((line, headers, body)) = read(&mut stream).await else { return };
    let wire = Dialect::of(&line);
    let asked = {
        let mut all = state.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = RecordedRequest { number: all.len(), line, headers, body };
        all.push(asked.clone());
        asked
    };
    let whole = |text: &str, reason: &str| wire.begin() + &wire.piece(text) + &wire.end(reason);
    let first = || wire.head() + &wire.begin() + &wire.piece("{\"text\":");
    let good = || wire.piece("\"done\"}") + &wire.end(wire.done());
    let now = |text: String| vec![(Duration::ZERO, text)];
    let play = (state.script)(&asked);
    let is_whole = matches!(play, ServerBehavior::Good | ServerBehavior::Slow(_) | ServerBehavior::Say(_));
    let pieces = match &play {
        ServerBehavior::Good => now(first() + &good()),
        ServerBehavior::Slow(pause) => vec![(*pause, first()), (*pause, good())],
        ServerBehavior::Say(text) => now(wire.head() + &whole(text, wire.done())),
        ServerBehavior::Stops(reason) => now(wire.head() + &whole("{\"text\":", reason)),
        ServerBehavior::Status(line, headers) => now(refusal(line, headers, "{}")),
        ServerBehavior::Body(line, body) => now(refusal(line, "", body)),
        ServerBehavior::Events(events) => now(wire.head() + events),
        ServerBehavior::Half | ServerBehavior::Reset | ServerBehavior::Endless => now(first()),
        ServerBehavior::HalfEvent => now(first() + &cut(good())),
        ServerBehavior::Silence => return client_disconnected(&mut stream).await,
    };
    let last = pieces.len();
    for (number, (pause, text)) in (1..).zip(pieces) {
        if !pause.is_zero() {
            drop(timeout(pause, pending::<()>()).await);
        }
        if is_whole && number == last {
            // Counted before it is sent: what the client did with it can only be seen later.
            let mut answered = state.answered.lock().unwrap_or_else(PoisonError::into_inner);
            *answered.entry(asked.key().to_owned()).or_default() += 1;
        }
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
    match play {
        ServerBehavior::Endless => while stream.write_all(wire.piece(&"more ".repeat(512)).as_bytes()).await.is_ok() {},
        // What was written is read before the connection breaks.
        ServerBehavior::Reset => {
            drop(timeout(RESET_AFTER, pending::<()>()).await);
            drop(stream.set_zero_linger());
        }
        _ => drop(stream.shutdown().await),
    }
}

/// Waits until the client has closed its end.
async fn client_disconnected(stream: &mut TcpStream) {
    let mut nothing = [0; 64];
    while stream.read(&mut nothing).await.is_ok_and(|count| count > 0) {}
}

/// The first part of an event, which is no event.
fn cut(mut events: String) -> String {
    events.truncate(events.find('\n').unwrap_or_default() / 2);
    events
}

/// An answer with a status that is no success.
fn refusal(line: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

/// A whole answer whose text is this, for a script that wants its own words.
#[must_use]
pub fn answer(text: &str) -> ServerBehavior {
    ServerBehavior::Say(text.to_owned())
}

async fn read(stream: &mut TcpStream) -> Option<(String, BTreeMap<String, String>, Value)> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    let (line, headers, body_at) = loop {
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(chunk.get(..count)?);
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..at)?).into_owned();
            break (head.split("\r\n").next()?.to_owned(), headers(&head), at + 4);
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
    Some((line, headers, serde_json::from_slice(bytes.get(body_at..body_at + length)?).ok()?))
}

fn headers(head: &str) -> BTreeMap<String, String> {
    let lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
    lines.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect()
}
