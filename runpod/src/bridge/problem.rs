//! A refusal as RFC 9457 writes it. The status is that of the error code, which `protocol` decides for every ingress;
//! `docs/http.md` describes the members.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use greenroom_client::{Error, TransportError};
use greenroom_protocol::header::reply_headers;
use greenroom_protocol::{Cause, ErrorCode, Json, Reply};
use serde_json::Map;

/// The media type of a problem.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// The schemes of `Authorization`.
const SCHEMES: HeaderValue = HeaderValue::from_static("Bearer, ApiKey");
/// The delay before a retry if the cause names none.
const RETRY_AFTER_S: u64 = 1;

/// A refusal, or the failure of a request.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    cause: Box<Cause>,
    /// The whole reply, if a pod has replied: it has the usage, and the outputs so far.
    reply: Option<Box<Reply>>,
}

impl Problem {
    /// The problem of a cause.
    pub(super) fn new(cause: Cause) -> Self {
        let status = StatusCode::from_u16(cause.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, cause: Box::new(cause), reply: None }
    }

    /// An invalid request.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Self::invalid_cause(message))
    }

    /// The cause of an invalid request.
    pub(super) fn invalid_cause(message: impl Into<String>) -> Cause {
        Cause::new(ErrorCode::InvalidRequest, message)
    }

    /// As [`Problem::invalid`], with a status that HTTP has for exactly this.
    pub(super) fn invalid_as(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, ..Self::invalid(message) }
    }

    /// The problem of a reply, which is no success.
    pub(super) fn of_reply(cause: Cause, reply: Reply) -> Self {
        Self { reply: Some(Box::new(reply)), ..Self::new(cause) }
    }

    /// The same problem with another status.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The problem as JSON.
    pub(super) fn document(&self) -> Json {
        let Self { status, cause, reply } = self;
        let mut members = Map::new();
        let mut insert = |name: &str, value: Json| members.insert(name.to_owned(), value);
        insert("type", format!("urn:greenroom:error:{}", cause.code).into());
        insert("title", cause.code.meaning().into());
        insert("status", status.as_u16().into());
        insert("detail", cause.message.as_str().into());
        insert("code", cause.code.as_str().into());
        if !cause.details.is_null() {
            insert("details", cause.details.clone());
        }
        if let Some(delay) = cause.retry_after_ms {
            insert("retry_after_ms", delay.into());
        }
        if let Some(reply) = reply {
            if !reply.id.is_empty() {
                insert("instance", format!("urn:greenroom:request:{}", reply.id).into());
            }
            // A reply is always JSON.
            insert("reply", serde_json::to_value(reply).unwrap_or_default());
        }
        Json::Object(members)
    }

    /// Whole seconds until a retry may succeed, for the statuses that HTTP has such a delay for.
    fn retry_after(&self) -> Option<u64> {
        let has_delay = matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        has_delay.then(|| self.cause.retry_after_ms.map_or(RETRY_AFTER_S, |millis| millis.div_ceil(1_000).max(1)))
    }
}

impl From<Cause> for Problem {
    fn from(cause: Cause) -> Self {
        Self::new(cause)
    }
}

impl From<TransportError> for Problem {
    fn from(error: TransportError) -> Self {
        Self::new(Cause::from(error))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(cause) => Self::new(cause),
            Error::Transport(error) => Self::from(error),
            Error::Decode(error) => Self::new(Cause::new(ErrorCode::Internal, error.to_string())),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.document().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, SCHEMES);
        }
        for (name, value) in reply_headers(Some(&self.cause)) {
            // The headers of NATS say again what the status and the body have.
            if name.starts_with("Greenroom-")
                && let (Ok(name), Ok(value)) = (name.parse::<axum::http::HeaderName>(), HeaderValue::try_from(value))
            {
                headers.insert(name, value);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use greenroom_protocol::{Metadata, Status, Values, WrittenVersion};

    use super::*;

    #[test]
    fn a_problem_has_the_status_of_its_code_and_the_delay_before_a_retry() {
        let cause = Cause::new(ErrorCode::Overloaded, "full").with_retry_after(Duration::from_millis(1_200));
        let response = Problem::new(cause).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["greenroom-code"], "overloaded");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let without_delay = Problem::new(Cause::new(ErrorCode::ShuttingDown, "ends")).into_response();
        assert_eq!(without_delay.headers()["retry-after"], "1");
        let denied = Problem::new(Cause::new(ErrorCode::PolicyDenied, "no")).into_response();
        assert!(denied.headers().get("retry-after").is_none());
    }

    #[test]
    fn a_problem_of_a_reply_has_the_whole_reply() {
        let cause = Cause::new(ErrorCode::StepFailed, "a step failed");
        let (outputs, metadata) = (Values::new(), Metadata::default());
        let (status, error) = (Status::Failed, Some(cause.clone()));
        let reply =
            Reply { id: "run_1".into(), status, outputs, error, metadata, protocol_version: WrittenVersion::OWN };
        let document = Problem::of_reply(cause, reply).document();
        assert_eq!((&document["code"], &document["status"]), (&"step_failed".into(), &500.into()));
        assert_eq!(document["instance"], "urn:greenroom:request:run_1");
        assert_eq!(document["reply"]["status"], "failed");
    }

    #[test]
    fn a_caller_without_an_identity_sees_the_schemes() {
        let response = Problem::new(Cause::new(ErrorCode::Unauthenticated, "who")).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()["www-authenticate"], "Bearer, ApiKey");
    }
}
