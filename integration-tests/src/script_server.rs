//! The model server with the APIs of OpenAI, Anthropic, Gemini and Ollama: a script decides its behavior for
//! each request.

mod dialect;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use greenroom_runtimes::model_server::{ModelServer, Step, response};

use dialect::Dialect;

pub use dialect::{TOKENS_CACHED, TOKENS_TO_CACHE};
pub use greenroom_runtimes::model_server::RecordedRequest;

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

/// Number of complete answers sent, by idempotency key.
type AnswersSent = Arc<Mutex<BTreeMap<String, u32>>>;

/// A handle of the server, which ends with the runtime of its test.
#[derive(Clone)]
pub struct ScriptServer {
    server: ModelServer,
    answers_sent: AnswersSent,
}

impl ScriptServer {
    /// Starts a server that behaves as `script` decides for each request.
    ///
    /// # Errors
    /// If no socket is available.
    pub async fn start(
        script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let answers_sent = AnswersSent::default();
        let counted = Arc::clone(&answers_sent);
        let server = ModelServer::start(move |request| steps(request, script(request), &counted)).await?;
        Ok(Self { server, answers_sent })
    }

    /// The base URL, as a value of `OPENAI_BASE_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// All requests so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.server.requests()
    }

    /// Number of requests so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.server.count()
    }

    /// Number of open connections. A connection with [`ServerBehavior::Silence`] is open until its client
    /// closes it.
    #[must_use]
    pub fn open(&self) -> usize {
        self.server.open()
    }

    /// Number of complete answers sent, by idempotency key.
    #[must_use]
    pub fn answers_sent(&self) -> BTreeMap<String, u32> {
        self.answers_sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The steps of one behavior in the API of the request.
fn steps(request: &RecordedRequest, behavior: ServerBehavior, answers_sent: &AnswersSent) -> Vec<Step> {
    let dialect = Dialect::from_request_line(&request.line);
    let complete = |text: &str, reason: &str| dialect.begin() + &dialect.piece(text) + &dialect.end(reason);
    let first_half = || dialect.head() + &dialect.begin() + &dialect.piece("{\"text\":");
    let rest = || dialect.piece("\"done\"}") + &dialect.end(dialect.stop_reason());
    // Counted before sending, because a test may observe the client's reaction at once.
    let count = || {
        let (key, answers_sent) = (request.key().to_owned(), Arc::clone(answers_sent));
        Step::Call(Arc::new(move || {
            *answers_sent.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default() += 1;
        }))
    };
    match behavior {
        ServerBehavior::Good => vec![count(), Step::Send(first_half() + &rest())],
        ServerBehavior::Slow(delay) => {
            let first = [Step::Wait(delay), Step::Send(first_half())];
            first.into_iter().chain([Step::Wait(delay), count(), Step::Send(rest())]).collect()
        }
        ServerBehavior::Text(text) => {
            vec![count(), Step::Send(dialect.head() + &complete(&text, dialect.stop_reason()))]
        }
        ServerBehavior::Stops(reason) => vec![Step::Send(dialect.head() + &complete("{\"text\":", reason))],
        ServerBehavior::Status(line, headers) => vec![Step::Send(response(line, headers, "{}"))],
        ServerBehavior::Body(line, body) => vec![Step::Send(response(line, "", &body))],
        ServerBehavior::Events(events) => vec![Step::Send(dialect.head() + &events)],
        ServerBehavior::Bytes(bytes, size) => {
            let pieces = bytes.chunks(size.max(1)).map(|piece| Step::Bytes(piece.to_vec()));
            [Step::Send(dialect.head())].into_iter().chain(pieces).collect()
        }
        ServerBehavior::Half => vec![Step::Send(first_half())],
        ServerBehavior::HalfEvent => vec![Step::Send(first_half() + &cut(rest()))],
        // The delay lets the client read the written bytes before the reset.
        ServerBehavior::Reset => vec![Step::Send(first_half()), Step::Wait(RESET_AFTER), Step::Reset],
        ServerBehavior::Endless => {
            vec![Step::Send(first_half()), Step::Endless(dialect.piece(&"more ".repeat(512)))]
        }
        ServerBehavior::Silence => vec![Step::Silence],
    }
}

/// Cuts the first event in the middle.
fn cut(mut events: String) -> String {
    events.truncate(events.find('\n').unwrap_or_default() / 2);
    events
}
