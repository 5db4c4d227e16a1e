//! The HTTP clients of this crate: HTTP/1.1 with timeouts, without redirects, and with bounded responses.

use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest delay that a server may request.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// What the program calls itself.
pub(crate) const USER_AGENT: &str = concat!("greenroom/", env!("CARGO_PKG_VERSION"), " (RunPod worker; rust)");

/// Creates a client without open connections. A redirect would carry the key to another host, and it is not known
/// whether RunPod accepts HTTP/2 from workers.
pub(crate) fn new_client() -> Result<Client, Cause> {
    // The process may have installed a crypto provider already, which is used then.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .http1_only()
        .tcp_nodelay(true)
        .no_gzip()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(USER_AGENT)
        .build();
    client.map_err(|error| {
        Cause::new(ErrorCode::InvalidConfiguration, format!("the HTTP client cannot be built: {error}"))
    })
}

/// A response that was read completely.
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// True for a body whose type is JSON.
    pub(crate) fn is_json(&self) -> bool {
        let content_type = self.headers.get(reqwest::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        content_type.is_some_and(|text| text.to_ascii_lowercase().contains("json"))
    }

    /// The delay that the server requests, in whole seconds; a date is ignored.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
    }
}

/// Reads a response of at most this many bytes.
///
/// # Errors
/// A message without the address, if the connection ends early or the response is larger.
pub(crate) async fn read_response(mut response: Response, bytes_max: usize) -> Result<Received, String> {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error))? {
        if body.len().saturating_add(chunk.len()) > bytes_max {
            return Err(format!("the response has more than {bytes_max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Received { status, headers, body })
}

/// What is wrong with a connection, without its address: a query may have a secret.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    let kind = if error.is_timeout() {
        "the server did not respond in time"
    } else if error.is_connect() {
        "the server cannot be reached"
    } else if error.is_builder() {
        "the request is invalid"
    } else {
        "the connection ended"
    };
    let mut source = error.source();
    while let Some(inner) = source.and_then(|source| source.source()) {
        source = Some(inner);
    }
    source.map_or_else(|| kind.to_owned(), |source| format!("{kind}: {source}"))
}
