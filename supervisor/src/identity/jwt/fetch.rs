//! Fetches the keys that an issuer publishes, over TLS, without redirects, within a bounded time and size.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::{Cause, ErrorCode};
use reqwest::{Client, Url};
use serde::Deserialize;

use super::signature::Jwk;
use crate::identity::observer::IdentityObserver;

/// Longest time of one fetch, from the connection to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(4);
/// Bytes of a set of keys.
const KEYS_BYTES_MAX: usize = 256 * 1024;

/// Fetches the keys that an issuer publishes.
#[async_trait]
pub(crate) trait FetchKeys: Send + Sync {
    /// Returns the keys.
    ///
    /// # Errors
    /// What has failed, for the log.
    async fn fetch(&self) -> Result<Vec<Jwk>, String>;
}

/// A set of keys at an address (RFC 7517).
pub(crate) struct HttpKeys {
    client: Client,
    url: Url,
}

#[derive(Deserialize)]
struct Jwks {
    /// A key that cannot be read must not hide the others.
    keys: Vec<serde_json::Value>,
}

impl HttpKeys {
    /// The keys at this address.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if the client of HTTP cannot be built.
    pub(crate) fn new(url: Url) -> Result<Self, Cause> {
        // The process may have installed a crypto provider already, which is used then.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = Client::builder()
            .timeout(FETCH_TIMEOUT)
            .no_gzip()
            // A redirect would let another host choose the keys.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.map_err(|error| {
            Cause::new(ErrorCode::InvalidConfiguration, format!("the HTTP client cannot be built: {error}"))
        })?;
        Ok(Self { client, url })
    }
}

#[async_trait]
impl FetchKeys for HttpKeys {
    async fn fetch(&self) -> Result<Vec<Jwk>, String> {
        let failed = |error: reqwest::Error| error.without_url().to_string();
        let mut response = self.client.get(self.url.clone()).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(format!("the server responded with status {}", response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len().saturating_add(chunk.len()) > KEYS_BYTES_MAX {
                return Err(format!("the response has more than {KEYS_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        let set: Jwks = serde_json::from_slice(&body).map_err(|error| format!("this is no set of keys: {error}"))?;
        Ok(set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect())
    }
}

/// Reports each fetch of other keys.
pub(crate) struct ObservedKeys {
    keys: HttpKeys,
    observer: Arc<dyn IdentityObserver>,
}

impl ObservedKeys {
    /// These keys, with this observer.
    pub(crate) fn new(keys: HttpKeys, observer: Arc<dyn IdentityObserver>) -> Self {
        Self { keys, observer }
    }
}

#[async_trait]
impl FetchKeys for ObservedKeys {
    async fn fetch(&self) -> Result<Vec<Jwk>, String> {
        let fetched = self.keys.fetch().await;
        self.observer.on_keys_fetched(fetched.is_ok());
        fetched
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"JZ1JMuRzB_AYjptR5VcF1pGs9hI9iwdWmsu8vAofMlk"}"#;

    fn response(status: &str, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
    }

    /// Fetches from a server that has this response to its one request.
    async fn fetch(response: &str) -> Result<Vec<Jwk>, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys?token=hunter2", listener.local_addr().unwrap());
        let keys = HttpKeys::new(Url::parse(&url).unwrap()).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            // The client closes the connection before a response that is too large has ended.
            let _ = stream.write_all(response.as_bytes()).await;
        };
        let ((), fetched) = tokio::join!(serve, keys.fetch());
        fetched
    }

    #[tokio::test]
    async fn a_set_of_keys_is_read_and_a_key_that_cannot_be_read_hides_no_other() {
        let body = format!(r#"{{"keys":[7,{{"kid":"no type"}},{KEY}]}}"#);
        let keys = fetch(&response("200 OK", "", &body)).await.unwrap();
        assert_eq!(keys.iter().map(|key| key.kid.as_deref()).collect::<Vec<_>>(), [Some("a")]);
    }

    #[tokio::test]
    async fn what_is_no_set_of_keys_is_a_problem_without_the_query_of_the_address() {
        let large = format!(r#"{{"keys":[],"note":"{}"}}"#, "x".repeat(KEYS_BYTES_MAX));
        for (response, problem) in [
            (response("500 Internal Server Error", "", ""), "status 500"),
            (response("302 Found", "Location: http://127.0.0.1:1/keys\r\n", ""), "status 302"),
            (response("200 OK", "", "hello"), "no set of keys"),
            (response("200 OK", "", &large), "more than"),
            (String::new(), ""),
        ] {
            let found = fetch(&response).await.unwrap_err();
            assert!(found.contains(problem) && !found.contains("hunter2"), "{found}");
        }
    }
}
