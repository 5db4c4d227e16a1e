//! Sends one request to a server that a definition or the configuration names, and reads its bounded response.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, LOCATION};
use reqwest::{Method, StatusCode};
use url::{Host, Url};

use super::address::AddressClass;
use super::failure::OutboundError;
use super::observer::{CallKind, CallOutcome, OutboundObserver};
use super::resolver::CheckedResolver;
use super::response::OutboundResponse;

/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum idle connections per host.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// Timeout of an idle connection.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of one response that a server may send over HTTP/2 before they are read.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Maximum bytes of the headers of a response over HTTP/2; HTTP/1 has the bounds of hyper.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// Redirects that one request follows.
const REDIRECTS_MAX: usize = 3;

/// The clients of services and tools, which share their connections.
#[derive(Clone)]
pub struct Outbound {
    clients: Arc<Clients>,
    observer: Arc<dyn OutboundObserver>,
}

/// A client is created by the first request that needs it: most pods call no service, and to read the certificates of the
/// system takes longer than the rest of a start.
#[derive(Default)]
struct Clients {
    /// Connects to public addresses only.
    public: OnceLock<Result<reqwest::Client, String>>,
    /// Connects to the networks of the operator, too.
    private: OnceLock<Result<reqwest::Client, String>>,
}

/// One request.
pub(crate) struct OutboundRequest {
    pub(crate) kind: CallKind,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    /// True if the configuration allows the host to be in a network of the operator, and to have no TLS.
    pub(crate) allows_private: bool,
    /// The time from the first byte that is sent to the last one that is read.
    pub(crate) timeout: Duration,
    /// Maximum bytes of the body of the response.
    pub(crate) bytes_max: usize,
}

impl Outbound {
    /// Clients whose requests are observed.
    #[must_use]
    pub fn new(observer: Arc<dyn OutboundObserver>) -> Self {
        Self { clients: Arc::default(), observer }
    }

    fn client(&self, allows_private: bool) -> Result<&reqwest::Client, OutboundError> {
        let client = if allows_private { &self.clients.private } else { &self.clients.public };
        let client = client.get_or_init(|| build_client(allows_private).map_err(|error| error.to_string()));
        client.as_ref().map_err(|problem| OutboundError::NoClient(problem.clone()))
    }

    /// Sends a request, and reads its response.
    ///
    /// # Errors
    /// [`OutboundError`]; an error status is a response.
    pub(crate) async fn send(&self, request: OutboundRequest) -> Result<OutboundResponse, OutboundError> {
        let (kind, timeout, started) = (request.kind, request.timeout, Instant::now());
        let sending = Box::pin(self.try_send(request));
        let result = tokio::time::timeout(timeout, sending).await.unwrap_or(Err(OutboundError::TimedOut(timeout)));
        let outcome = match &result {
            Ok(response) if response.status.as_u16() < 400 => CallOutcome::Success,
            Ok(_) => CallOutcome::Rejected,
            Err(error) => error.outcome(),
        };
        self.observer.on_call(kind, outcome, started.elapsed());
        result
    }

    async fn try_send(&self, mut request: OutboundRequest) -> Result<OutboundResponse, OutboundError> {
        for _ in 0..=REDIRECTS_MAX {
            check_url(&request.url, request.allows_private)?;
            let client = self.client(request.allows_private)?;
            let mut sent = client.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
            if let Some(body) = &request.body {
                sent = sent.body(body.clone());
            }
            let response = sent.send().await.map_err(|error| OutboundError::from_transport(&error))?;
            let target = redirect_target(&request, response.status(), response.headers())?;
            let Some(target) = target else { return read(response, request.bytes_max).await };
            request.url = target;
        }
        Err(OutboundError::Redirect(format!("it redirects more than {REDIRECTS_MAX} times")))
    }
}

fn build_client(allows_private: bool) -> Result<reqwest::Client, reqwest::Error> {
    // The process may have installed a crypto provider already, which is used then.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    reqwest::Client::builder()
        .dns_resolver(CheckedResolver { allows_private })
        .no_proxy()
        // Each redirect is checked like the first address.
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
        .tcp_nodelay(true)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        // Compressed data may expand a thousandfold in one read.
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Checks where a request would be sent, as far as the URL shows it. The parser has normalized every form of an address:
/// the host `0x7f.1` has the address 127.0.0.1 here.
fn check_url(url: &Url, allows_private: bool) -> Result<(), OutboundError> {
    match url.scheme() {
        "https" => {}
        "http" if allows_private => {}
        "http" => return Err(OutboundError::Insecure),
        _ => return Err(OutboundError::InvalidUrl("it is no address of a web server")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(OutboundError::InvalidUrl("it has a user or a password"));
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
        // Its addresses are checked when they are resolved.
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err(OutboundError::InvalidUrl("it has no host")),
    };
    let class = AddressClass::from_address(address);
    if class.is_allowed(allows_private) { Ok(()) } else { Err(OutboundError::Refused(class)) }
}

/// Where a response redirects the request; `None` if it is no redirect.
///
/// # Errors
/// [`OutboundError::Redirect`] for one that would carry the request to another host, or would not repeat it.
fn redirect_target(
    request: &OutboundRequest,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<Url>, OutboundError> {
    let refused = |reason: &str| Err(OutboundError::Redirect(reason.to_owned()));
    let repeats = match status.as_u16() {
        307 | 308 => true,
        301..=303 => false,
        _ => return Ok(None),
    };
    // The others let a client send a GET without the body.
    if !repeats && request.method != Method::GET && request.method != Method::HEAD {
        return refused("it redirects the request with a status that does not repeat its body");
    }
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let Some(target) = location.and_then(|location| request.url.join(location).ok()) else {
        return refused("it redirects to no address");
    };
    let origin = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    if origin(&target) != origin(&request.url) {
        return refused("it redirects to another host");
    }
    Ok(Some(target))
}

async fn read(mut response: reqwest::Response, bytes_max: usize) -> Result<OutboundResponse, OutboundError> {
    let (status, headers) = (response.status(), response.headers().clone());
    let encoding = headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
    if encoding.is_some_and(|encoding| encoding != b"identity") {
        return Err(OutboundError::Unreadable("it is compressed, although no compression was offered".to_owned()));
    }
    let too_large = || OutboundError::Unreadable(format!("it has more than {bytes_max} bytes"));
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| usize::try_from(announced).map_or(true, |announced| announced > bytes_max)) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| OutboundError::from_transport(&error))? {
        if chunk.len() > bytes_max - body.len() {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(OutboundResponse { status, headers, body })
}

#[cfg(test)]
mod tests;
