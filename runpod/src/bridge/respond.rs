//! Responses that are no problems: JSON, and the reply of a pod.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use greenroom_protocol::limits::PROTOCOL_VERSION;
use greenroom_protocol::{Cause, ErrorCode, Reply, Status};
use serde::Serialize;

use super::problem::Problem;

/// The protocol version of the bridge.
const VERSION: HeaderName = HeaderName::from_static("greenroom-version");
/// The preference that a response follows.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The result.
    Result,
    /// The acceptance of a run, because the body of the request says so.
    Acceptance,
    /// The acceptance of a run, because of the header `Prefer`.
    PreferredAcceptance,
}

/// A response with a JSON document.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(document).map_err(|error| {
        Problem::new(Cause::new(ErrorCode::Internal, format!("the reply cannot be written: {error}")))
    })?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(VERSION, HeaderValue::from(PROTOCOL_VERSION));
    Ok(response)
}

/// The response to a request with this reply.
///
/// # Errors
/// The problem of a reply that is no success.
pub(super) fn reply(mut reply: Reply, awaits: Awaits) -> Result<Response, Problem> {
    if let Some(cause) = failure(&mut reply) {
        return Err(Problem::of_reply(cause, reply));
    }
    if awaits == Awaits::Result {
        return json(StatusCode::OK, &reply);
    }
    let location = HeaderValue::try_from(format!("/v1/runs/{}", reply.id));
    let mut response = json(StatusCode::ACCEPTED, &reply)?;
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    if awaits == Awaits::PreferredAcceptance {
        response.headers_mut().insert(PREFERENCE_APPLIED, HeaderValue::from_static("respond-async"));
    }
    Ok(response)
}

/// The cause of a reply that is no success.
pub(super) fn failure(reply: &mut Reply) -> Option<Cause> {
    match (&reply.error, reply.status) {
        (Some(cause), _) => Some(cause.clone()),
        (None, Status::Success) => None,
        (None, status @ (Status::Failed | Status::Denied | Status::Cancelled | Status::TimedOut)) => {
            let message = format!("the reply is {} and has no cause", status.as_str());
            let cause = Cause::new(ErrorCode::Internal, message);
            reply.error = Some(cause.clone());
            Some(cause)
        }
    }
}
