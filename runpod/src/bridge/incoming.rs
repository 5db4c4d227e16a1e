//! A request as its handler receives it: the parts of its path, its headers and its query, each read once and strictly.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Method};
use greenroom_protocol::{Cause, RequestHeaders, header};
use url::form_urlencoded;

use super::prefer::Preferences;
use super::problem::Problem;
use super::state::Bridge;

/// Headers that a request has once at most: each decides who sends it, or what it does.
const SINGLE: [&str; 8] = [
    header::AUTHORIZATION,
    header::IDEMPOTENCY_KEY,
    header::TRACEPARENT,
    header::DEADLINE,
    header::TIMEOUT,
    header::REQUEST_ID,
    header::VERSION,
    "Last-Event-ID",
];
/// The media type of a stream of events.
const EVENT_STREAM: &str = "text/event-stream";

/// A request, and its body that is not read yet.
pub(super) struct Incoming {
    pub(super) head: Head,
    pub(super) body: Body,
}

/// Everything of a request but its body.
pub(super) struct Head {
    pub(super) bridge: Arc<Bridge>,
    pub(super) headers: HeaderMap,
    /// The variable parts of the path, in their order.
    params: Vec<String>,
    query: String,
}

impl FromRequest<Arc<Bridge>> for Incoming {
    type Rejection = Problem;

    async fn from_request(request: Request, bridge: &Arc<Bridge>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let params = RawPathParams::from_request_parts(&mut parts, bridge).await;
        let params = params.map_err(|_| Problem::invalid("the path has a part that is not UTF-8"))?;
        let params = params.iter().map(|(_, value)| value.to_owned()).collect();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        // The body of a request that has none is not read.
        let body = if parts.method == Method::POST { body } else { Body::empty() };
        let head = Head { bridge: Arc::clone(bridge), headers: parts.headers, params, query };
        head.check_headers()?;
        Ok(Self { head, body })
    }
}

impl Head {
    /// The variable part of the path with this index, as an id.
    ///
    /// # Errors
    /// 400 if it is none.
    pub(super) fn id<T: FromStr<Err: Display>>(&self, index: usize) -> Result<T, Problem> {
        let text = self.params.get(index).map(String::as_str).unwrap_or_default();
        text.parse::<T>().map_err(|error| Problem::invalid(format!("the path has an id that is invalid: {error}")))
    }

    /// The headers that requests have on every ingress. The shorter one of the header for the timeout and of the
    /// preference for it counts.
    ///
    /// # Errors
    /// 401 if the credential is of another scheme; 400 if another header cannot be read.
    pub(super) fn request_headers(&self) -> Result<RequestHeaders, Problem> {
        let headers = RequestHeaders::read(|name| self.text(name))?;
        let wait = self.preferences().wait;
        let timeout = headers.timeout.into_iter().chain(wait).min();
        // Frames are of NATS: here, a caller requests a stream by the header `Accept`.
        Ok(RequestHeaders { timeout, wants_frames: false, ..headers })
    }

    /// The preferences of the caller.
    pub(super) fn preferences(&self) -> Preferences {
        Preferences::read(&self.headers)
    }

    /// True if the caller accepts a stream of events.
    pub(super) fn accepts_events(&self) -> bool {
        let texts = self.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut types = texts.flat_map(|text| text.split(','));
        types.any(|text| text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(EVENT_STREAM))
    }

    /// The text of a header.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The values of the query, whose names are known.
    ///
    /// # Errors
    /// 400 if a name is unknown, or occurs twice.
    pub(super) fn query(&self, known: &[&str]) -> Result<BTreeMap<String, String>, Problem> {
        let mut values = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(self.query.as_bytes()) {
            if !known.contains(&&*name) {
                let known = if known.is_empty() { "none".to_owned() } else { format!("`{}`", known.join("`, `")) };
                let message = format!("the query has an unknown name; those of this route: {known}");
                return Err(Problem::invalid(message));
            }
            let message = format!("the query has `{name}` twice");
            if values.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(Problem::invalid(message));
            }
        }
        Ok(values)
    }

    fn check_headers(&self) -> Result<(), Cause> {
        for name in SINGLE {
            let mut values = self.headers.get_all(name).iter();
            let first = values.next();
            let is_text = first.is_none_or(|value| value.to_str().is_ok());
            if values.next().is_some() || !is_text {
                let message = format!("the header `{name}` occurs once, with printable ASCII characters");
                return Err(Problem::invalid_cause(message));
            }
        }
        Ok(())
    }
}
