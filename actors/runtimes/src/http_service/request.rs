//! The body and the headers of a request to a service.

use std::time::Duration;

use bytes::Bytes;
use greenroom_actors::execution::invocation::Invocation;
use greenroom_protocol::header::{TRACEPARENT, Traceparent};
use greenroom_protocol::{AgentId, Cause, ContentHash, ErrorCode, RunId, Timestamp, Values};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::host::Host;

/// Maximum bytes of the body of a request.
const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// What a service receives.
#[derive(Serialize)]
struct ServiceRequest<'a> {
    /// The agent.
    agent: &'a AgentId,
    /// The hash of its definition.
    version: ContentHash,
    /// Its validated inputs. A file is a reference to an artifact.
    inputs: &'a Values,
    /// The context of the run or the team.
    context: &'a Values,
    /// The run that the call belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunId>,
    /// The time until nothing waits for the response, which needs no common clock.
    deadline_ms: u64,
}

/// Writes the body.
///
/// # Errors
/// [`ErrorCode::PayloadTooLarge`]
pub(super) fn body(invocation: &Invocation, time_left: Duration) -> Result<Bytes, Cause> {
    let request = ServiceRequest {
        agent: invocation.agent.id(),
        version: invocation.agent.hash(),
        inputs: &invocation.invoke.inputs,
        context: &invocation.invoke.context,
        run: invocation.grant.run(),
        deadline_ms: u64::try_from(time_left.as_millis()).unwrap_or(u64::MAX),
    };
    let body = serde_json::to_vec(&request)
        .map_err(|error| Cause::new(ErrorCode::InvalidData, format!("the inputs cannot be written: {error}")))?;
    if body.len() > REQUEST_BYTES_MAX {
        let message =
            format!("the inputs and the context have {} bytes, at most {REQUEST_BYTES_MAX} are sent", body.len());
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    Ok(body.into())
}

/// The headers: those of the configuration, the idempotency key, the trace and the signature. The key is the same at
/// each attempt, and so is the id of the message that is derived from it.
pub(super) fn headers(invocation: &Invocation, host: &Host, now: Timestamp, body: &[u8]) -> HeaderMap {
    let key = invocation.key();
    let hash = ContentHash::from_content(key.as_str().as_bytes());
    let mut headers = host.credentials.headers().clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/problem+json"));
    let trace = Traceparent::for_call(invocation.grant.trace(), &key);
    // A key may have characters that no message id may have.
    let id = format!("msg_{hash}");
    let timestamp_s = now.as_micros().div_euclid(MICROS_PER_SECOND);
    let signature = host.key.as_ref().map(|signing_key| signing_key.sign(&id, timestamp_s, body));
    let texts = [
        ("idempotency-key", Some(key.to_string())),
        (TRACEPARENT, trace.map(|trace| trace.to_string())),
        ("webhook-timestamp", signature.as_ref().map(|_| timestamp_s.to_string())),
        ("webhook-id", signature.as_ref().map(|_| id.clone())),
        ("webhook-signature", signature),
    ];
    for (name, text) in texts {
        // Each of these is printable ASCII, which every header may have.
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}
