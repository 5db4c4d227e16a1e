//! A model server with the APIs of OpenAI, Anthropic, Gemini and Ollama over a real socket: a script decides
//! its behavior for each request, and it records every request.

mod dialect;
#[path = "../../actors/runtimes/src/models/genai/tests/http_request.rs"]
mod http_request;

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
use http_request::{HttpRequest, read_request};

pub use dialect::{TOKENS_CACHED, TOKENS_TO_CACHE};

/// Time for the written bytes to arrive before the connection is reset.
const RESET_AFTER: Duration = Duration::from_millis(100);
/// Input tokens that the server reports for each complete answer.
pub const TOKENS_IN: u64 = 1_000;
/// Output tokens that the server reports for each complete answer.
pub const TOKENS_OUT: u64 = 130;

/// The behavior of the server for one request.
#[derive(Debug, Clone)]
pub enum ServerBehavior {
    /// A complete answer `{"text": "done"}` with its usage.
    Good,
    /// Like [`Self::Good`], with this delay before the first and before the last event.
    Slow(Duration),
    /// An HTTP status with further header lines, and an empty JSON body.
    Status(&'static str, &'static str),
    /// An HTTP status with this body.
    Body(&'static str, String),
    /// Like [`Self::Good`], with this text.
    Text(String),
    /// An incomplete answer that ends with this stop reason of the API.
    Stops(&'static str),
    /// A stream of these events, unchanged.
    Events(String),
    /// A stream of these bytes, in pieces of at most this size.
    Bytes(Vec<u8>, usize),
    /// The first half of an answer; then the server closes the connection.
    Half,
    /// Like [`Self::Half`], with a last event that is cut off.
    HalfEvent,
    /// Like [`Self::Half`], and the server resets the connection.
    Reset,
    /// Pieces of an answer for as long as the client reads.
    Endless,
    /// Reads the request and sends nothing.
    Silence,
}

/// A request as the server received it.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// Its index among all requests, from 0.
    pub number: usize,
    /// The request line.
    pub line: String,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Value,
}

impl RecordedRequest {
    /// The idempotency key: requests with the same key are one effect.
    #[must_use]
    pub fn key(&self) -> &str {
        self.headers.get("idempotency-key").map_or("", String::as_str)
    }
}

/// Decides the behavior for a request.
type Script = dyn Fn(&RecordedRequest) -> ServerBehavior + Send + Sync;

/// The state that all connections share.
struct ServerState {
    script: Box<Script>,
    requests: Mutex<Vec<RecordedRequest>>,
    answers_sent: Mutex<BTreeMap<String, u32>>,
    open: AtomicUsize,
}

/// A handle of the server, which ends with the runtime of its test.
#[derive(Clone)]
pub struct ScriptServer {
    url: String,
    state: Arc<ServerState>,
}

impl ScriptServer {
    /// Starts a server that behaves as `script` decides for each request.
    ///
    /// # Errors
    /// If no socket is available.
    #[expect(clippy::disallowed_methods, reason = "a test's server ends with the test's runtime")]
    pub async fn start(
        script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let state = Arc::new(ServerState {
            script: Box::new(script),
            requests: Mutex::default(),
            answers_sent: Mutex::default(),
            open: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    state.open.fetch_add(1, Ordering::AcqRel);
                    serve(stream, &state).await;
                    state.open.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        Ok(Self { url, state })
    }

    /// The base URL, as a value of `OPENAI_BASE_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All requests so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Number of requests so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.requests.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Number of open connections. A connection with [`ServerBehavior::Silence`] is open until its client
    /// closes it.
    #[must_use]
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Acquire)
    }

    /// Number of complete answers sent, by idempotency key.
    #[must_use]
    pub fn answers_sent(&self) -> BTreeMap<String, u32> {
        self.state.answers_sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(mut stream: TcpStream, state: &ServerState) {
    let Some(HttpRequest { line, headers, body }) = read_request(&mut stream).await else { return };
    let dialect = Dialect::from_request_line(&line);
    let request = {
        let mut all = state.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let request = RecordedRequest { number: all.len(), line, headers, body };
        all.push(request.clone());
        request
    };
    let complete = |text: &str, reason: &str| dialect.begin() + &dialect.piece(text) + &dialect.end(reason);
    let first_half = || dialect.head() + &dialect.begin() + &dialect.piece("{\"text\":");
    let rest = || dialect.piece("\"done\"}") + &dialect.end(dialect.stop_reason());
    let immediately = |text: String| vec![(Duration::ZERO, text.into_bytes())];
    let behavior = (state.script)(&request);
    let is_complete_answer =
        matches!(behavior, ServerBehavior::Good | ServerBehavior::Slow(_) | ServerBehavior::Text(_));
    let chunks = match &behavior {
        ServerBehavior::Good => immediately(first_half() + &rest()),
        ServerBehavior::Slow(pause) => vec![(*pause, first_half().into_bytes()), (*pause, rest().into_bytes())],
        ServerBehavior::Text(text) => immediately(dialect.head() + &complete(text, dialect.stop_reason())),
        ServerBehavior::Stops(reason) => immediately(dialect.head() + &complete("{\"text\":", reason)),
        ServerBehavior::Status(line, headers) => immediately(refusal(line, headers, "{}")),
        ServerBehavior::Body(line, body) => immediately(refusal(line, "", body)),
        ServerBehavior::Events(events) => immediately(dialect.head() + events),
        ServerBehavior::Bytes(bytes, size) => {
            let pieces = bytes.chunks((*size).max(1)).map(|piece| (Duration::ZERO, piece.to_vec()));
            immediately(dialect.head()).into_iter().chain(pieces).collect()
        }
        ServerBehavior::Half | ServerBehavior::Reset | ServerBehavior::Endless => immediately(first_half()),
        ServerBehavior::HalfEvent => immediately(first_half() + &cut(rest())),
        ServerBehavior::Silence => return client_disconnected(&mut stream).await,
    };
    let last = chunks.len();
    for (number, (pause, bytes)) in (1..).zip(chunks) {
        if !pause.is_zero() {
            drop(timeout(pause, pending::<()>()).await);
        }
        if is_complete_answer && number == last {
            // Counted before sending, because a test may observe the client's reaction at once.
            let mut answers_sent = state.answers_sent.lock().unwrap_or_else(PoisonError::into_inner);
            *answers_sent.entry(request.key().to_owned()).or_default() += 1;
        }
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
    match behavior {
        ServerBehavior::Endless => {
            while stream.write_all(dialect.piece(&"more ".repeat(512)).as_bytes()).await.is_ok() {}
        }
        // The delay lets the client read the written bytes before the reset.
        ServerBehavior::Reset => {
            drop(timeout(RESET_AFTER, pending::<()>()).await);
            drop(stream.set_zero_linger());
        }
        _ => drop(stream.shutdown().await),
    }
}

/// Waits until the client has closed the connection.
async fn client_disconnected(stream: &mut TcpStream) {
    let mut nothing = [0; 64];
    while stream.read(&mut nothing).await.is_ok_and(|count| count > 0) {}
}

/// Cuts the first event in the middle.
fn cut(mut events: String) -> String {
    events.truncate(events.find('\n').unwrap_or_default() / 2);
    events
}

/// A response with an HTTP error status.
fn refusal(line: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}
