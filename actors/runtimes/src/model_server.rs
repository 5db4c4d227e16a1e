//! The model server of every test: it answers over a real socket as a script decides for each request, and
//! records every request. It knows no API of a provider: a script writes the bytes.

mod http_request;

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use http_request::read_request;

pub use http_request::RecordedRequest;

/// One thing that the server does with a connection after it has read the request. After the last step it
/// closes the connection.
#[derive(Clone)]
pub enum Step {
    /// Writes.
    Send(String),
    /// Writes binary data.
    Bytes(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Calls a function, for a test that must observe how far the server is.
    Call(Arc<dyn Fn() + Send + Sync>),
    /// Writes the same text until the client closes the connection.
    Endless(String),
    /// Resets the connection.
    Reset,
    /// Sends nothing more, and waits until the client closes the connection.
    Silence,
}

/// Decides the steps for a request.
type Script = dyn Fn(&RecordedRequest) -> Vec<Step> + Send + Sync;

/// The state that all connections share.
struct ServerState {
    script: Box<Script>,
    requests: Mutex<Vec<RecordedRequest>>,
    open: AtomicUsize,
}

/// A handle of the server, which ends with the runtime of its test.
#[derive(Clone)]
pub struct ModelServer {
    url: String,
    state: Arc<ServerState>,
}

impl ModelServer {
    /// Starts a server on a free port of the loopback address.
    ///
    /// # Errors
    /// If no socket is available.
    #[expect(clippy::disallowed_methods, reason = "a test's server ends with the test's runtime")]
    pub async fn start(script: impl Fn(&RecordedRequest) -> Vec<Step> + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let state =
            Arc::new(ServerState { script: Box::new(script), requests: Mutex::default(), open: AtomicUsize::new(0) });
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

    /// Number of open connections. A connection with [`Step::Silence`] is open until its client closes it.
    #[must_use]
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Acquire)
    }
}

async fn serve(mut stream: TcpStream, state: &ServerState) {
    let Some(mut request) = read_request(&mut stream).await else { return };
    {
        let mut all = state.requests.lock().unwrap_or_else(PoisonError::into_inner);
        request.number = all.len();
        all.push(request.clone());
    }
    for step in (state.script)(&request) {
        match step {
            Step::Send(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Step::Bytes(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Step::Wait(duration) => drop(timeout(duration, pending::<()>()).await),
            Step::Call(function) => function(),
            Step::Endless(text) => while stream.write_all(text.as_bytes()).await.is_ok() {},
            Step::Reset => return drop(stream.set_zero_linger()),
            Step::Silence => return client_disconnected(&mut stream).await,
        }
    }
    drop(stream.shutdown().await);
}

/// Waits until the client has closed the connection.
async fn client_disconnected(stream: &mut TcpStream) {
    let mut nothing = [0; 64];
    while stream.read(&mut nothing).await.is_ok_and(|count| count > 0) {}
}

/// A response with an HTTP status, further header lines (each with its line end) and a JSON body.
#[must_use]
pub fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}
