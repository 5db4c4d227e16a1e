//! The transport over HTTP: `Client::connect` with `http://HOST:8000`, the address of a bridge. It sends what the transport
//! over NATS sends, under the same rules: a request is sent again with the same name and the same idempotency key when the
//! bridge cannot be reached, when the connection is lost, and when the code of its reply says that a repetition may
//! succeed; all of that until its deadline. A watch outlives connections and bridges.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use greenroom_protocol::event::{EventNumber, WatchedRun};
use greenroom_protocol::limits::REQUEST_TIMEOUT;
use greenroom_protocol::subject::DEFAULT_PREFIX;
use greenroom_protocol::{ArtifactRef, Cause, Credential, Envelope, ErrorCode, Reply, RequestHeaders, Subjects};
use reqwest::Url;
use tokio::time::{sleep, timeout};

mod bridge;
mod events;
mod problem;
mod route;

use self::bridge::Bridge;
use crate::client::Client;
use crate::error::Error;
use crate::framed::backoff::Backoff;
use crate::framed::exchange::Exchange;
use crate::framed::link::{Link, Message};
use crate::framed::outgoing::{request_headers, time_to_wait};
use crate::framed::watch::RunWatch;
use crate::transport::{Events, Observations, ProgressStream, Transport, TransportError, Upload, Watch, events_of};

/// How a client connects to a bridge.
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing by themselves"]
pub struct HttpOptions {
    credential: Option<Credential>,
    connect_timeout: Option<Duration>,
}

impl HttpOptions {
    /// Authenticates to the pods by this credential, unless a client has its own.
    pub fn credential(mut self, credential: Credential) -> Self {
        self.credential = Some(credential);
        self
    }

    /// Sets the longest time of one attempt to connect; ten seconds by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }
}

impl Client {
    /// A client over HTTP, through the bridge at this address. Nothing is sent before the first request.
    ///
    /// # Errors
    /// [`Error::Refused`] if the address is no URL of HTTP, or has a user, a query or a fragment.
    pub fn connect_http(address: &str, options: HttpOptions) -> Result<Self, Error> {
        let HttpOptions { credential, connect_timeout } = options;
        let refused = |reason: &str| {
            let message = format!("this is no address of a bridge such as `http://127.0.0.1:8000`: {reason}");
            Error::Refused(Cause::new(ErrorCode::InvalidRequest, message))
        };
        let base = Url::parse(address).map_err(|error| refused(&error.to_string()))?;
        let has_more = !base.username().is_empty() || base.password().is_some();
        if has_more || base.query().is_some() || base.fragment().is_some() {
            return Err(refused("it has a user, a query or a fragment"));
        }
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(refused("its scheme is not `http` or `https`"));
        }
        let subjects = Subjects::new(DEFAULT_PREFIX).map_err(Error::Refused)?;
        let bridge = Arc::new(Bridge::new(base, subjects.clone(), connect_timeout).map_err(Error::Refused)?);
        Ok(Self::new(Arc::new(HttpTransport { bridge, subjects, credential })))
    }
}

/// Sends requests over HTTP.
struct HttpTransport {
    bridge: Arc<Bridge>,
    /// The subjects of NATS, which name the routes of the bridge.
    subjects: Subjects,
    /// The credential of requests without one.
    credential: Option<Credential>,
}

impl HttpTransport {
    fn prepare(&self, envelope: &Envelope) -> Result<Exchange, TransportError> {
        let headers = request_headers(envelope, self.credential.as_ref())?;
        let (subject, body) = self.subjects.of_request(&envelope.request).map_err(TransportError::Rejected)?;
        let is_repeatable = envelope.request.is_read() || headers.idempotency_key.is_some();
        let link: Arc<dyn Link> = self.bridge.clone();
        let message = Message { subject, headers, body: body.into() };
        Ok(Exchange::new(link, message, is_repeatable, time_to_wait(envelope)))
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
        self.prepare(&envelope)?.reply().await
    }

    fn watch(&self, run: &WatchedRun, after: EventNumber) -> Events {
        events_of(self.observe(&Watch { run: run.clone(), after, credential: None }))
    }

    fn stream(self: Arc<Self>, envelope: Envelope) -> ProgressStream {
        match self.prepare(&envelope) {
            Ok(exchange) => exchange.into_stream(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn upload(&self, upload: Upload) -> Result<ArtifactRef, TransportError> {
        let Upload { name, media_type, content, credential } = upload;
        let credential = credential.or_else(|| self.credential.clone());
        let headers = RequestHeaders { credential, ..RequestHeaders::default() };
        let content = bytes::Bytes::from(content);
        let uploading = async {
            let mut backoff = Backoff::default();
            loop {
                let requested = match self.bridge.upload(&headers, &name, &media_type, content.clone()).await {
                    // Content that was stored already has the same reference.
                    Err(TransportError::Unreachable { .. } | TransportError::ConnectionLost) => None,
                    Err(TransportError::Rejected(cause)) if cause.code.is_retryable() => {
                        cause.retry_after_ms.map(Duration::from_millis)
                    }
                    result => return result,
                };
                sleep(backoff.next_delay(requested)).await;
            }
        };
        timeout(REQUEST_TIMEOUT, uploading).await.map_err(|_elapsed| {
            TransportError::Rejected(Cause::new(ErrorCode::TimedOut, "the content was not uploaded in time"))
        })?
    }

    fn observe(&self, watch: &Watch) -> Observations {
        let Watch { run, after, credential } = watch;
        let WatchedRun::Id(run) = run else {
            let message = "over HTTP, a run is watched by its id, which the acceptance of its request has";
            let cause = Cause::new(ErrorCode::InvalidRequest, message);
            return stream::iter([Err(TransportError::Rejected(cause))]).boxed();
        };
        let credential = credential.clone().or_else(|| self.credential.clone());
        let headers = RequestHeaders { credential, ..RequestHeaders::default() };
        RunWatch::new(self.bridge.clone(), self.subjects.clone(), headers, run.clone(), *after).into_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_and_its_password_not_repeated() {
        for address in ["http://", "http://u:hunter2@h", "http://h/?x=1", "http://h/#x", "https://"] {
            let error = Client::connect(address).await.err().unwrap();
            assert_eq!(error.code(), Some(ErrorCode::InvalidRequest), "{address}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(Client::connect("http://127.0.0.1:8000").await.is_ok());
        assert!(Client::connect("https://greenroom.example/behind/a/proxy/").await.is_ok());
    }
}
