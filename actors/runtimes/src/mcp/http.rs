//! A server at a URL, over the streamable HTTP transport.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::transport::streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpError};
use rmcp::transport::{DynamicTransportError, StreamableHttpClientTransport};

use super::process::MESSAGE_BYTES_MAX;

/// Longest time until a connection is established.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum idle connections.
const IDLE_CONNECTIONS_MAX: usize = 8;
/// Bytes of the body of a failure.
const FAILURE_BYTES_MAX: usize = 4 * 1024;
/// Requests of one server at the same time.
const REQUESTS_MAX: usize = 64;

/// The client of one server.
pub(super) struct HttpServer {
    client: reqwest::Client,
    config: StreamableHttpClientTransportConfig,
}

impl HttpServer {
    /// A client of the server at this URL, which sends these headers with each request.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if a header is none, or the client cannot be built.
    pub(super) fn new(url: &str, headers: &BTreeMap<String, String>) -> Result<Self, Cause> {
        let invalid = |message: String| Cause::new(ErrorCode::InvalidConfiguration, message);
        // The process may have installed a crypto provider already, which is used then.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .tcp_nodelay(true)
            // Compressed data may expand a thousandfold in one read.
            .no_gzip()
            // A redirect would carry the headers to another host.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| invalid(format!("the HTTP client cannot be built: {error}")))?;
        let mut custom = HashMap::new();
        for (name, value) in headers {
            let header = name.parse::<HeaderName>().map_err(|_| invalid(format!("`{name}` is no name of a header")))?;
            let mut text = HeaderValue::from_str(value)
                .map_err(|_| invalid(format!("the value of the header `{name}` has characters that no header has")))?;
            text.set_sensitive(true);
            custom.insert(header, text);
        }
        let config = StreamableHttpClientTransportConfig::with_uri(url)
            .custom_headers(custom)
            .max_concurrent_requests(REQUESTS_MAX)
            .max_sse_event_size(MESSAGE_BYTES_MAX)
            .max_json_response_size(MESSAGE_BYTES_MAX)
            .max_error_response_size(FAILURE_BYTES_MAX);
        Ok(Self { client, config })
    }

    /// A transport to the server.
    pub(super) fn open(&self) -> StreamableHttpClientTransport<reqwest::Client> {
        StreamableHttpClientTransport::with_client(self.client.clone(), self.config.clone())
    }
}

/// True if a response was longer than its bound.
pub(super) fn is_too_large(error: &DynamicTransportError) -> bool {
    let known = error.error.downcast_ref::<StreamableHttpError<reqwest::Error>>();
    matches!(known, Some(StreamableHttpError::ResponseBodyTooLarge { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_cannot_be_sent_is_a_problem_without_its_value() {
        let headers = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert!(HttpServer::new("http://127.0.0.1:1/mcp", &headers("Authorization", "Bearer x")).is_ok());
        for (name, value) in [("no header", "x"), ("Authorization", "planted\nsecret")] {
            let cause = HttpServer::new("http://127.0.0.1:1/mcp", &headers(name, value)).err().unwrap();
            assert_eq!(cause.code, ErrorCode::InvalidConfiguration);
            assert!(cause.message.contains(name) && !cause.message.contains("planted"), "{cause}");
        }
    }
}
