//! What a request has beside its body, over every link: the headers, with a name and, if it has an effect, an idempotency
//! key; and how long its caller waits.

use std::num::NonZeroU64;
use std::time::Duration;

use greenroom_protocol::header::Traceparent;
use greenroom_protocol::limits::{REQUEST_TIMEOUT, REQUEST_TIMEOUT_MAX};
use greenroom_protocol::{Cause, Credential, Envelope, ErrorCode, RequestHeaders, TraceId};

use super::exchange::takes_key;
use super::random::{generate_key, generate_request_id, now, random_u64};
use crate::transport::TransportError;

/// The headers of a request; `credential` is that of requests without one.
///
/// # Errors
/// [`TransportError::Rejected`] if the trace cannot be a header.
pub(crate) fn request_headers(
    envelope: &Envelope,
    credential: Option<&Credential>,
) -> Result<RequestHeaders, TransportError> {
    let key = envelope.idempotency_key.clone();
    let trace = envelope.trace.clone().map(traceparent).transpose().map_err(TransportError::Rejected)?;
    Ok(RequestHeaders {
        credential: envelope.credential.as_ref().or(credential).cloned(),
        idempotency_key: key.or_else(|| takes_key(&envelope.request).then(generate_key).flatten()),
        trace,
        request_id: Some(envelope.id.clone().unwrap_or_else(generate_request_id)),
        wants_frames: true,
        ..RequestHeaders::default()
    })
}

/// How long the caller of a request waits from now.
pub(crate) fn time_to_wait(envelope: &Envelope) -> Duration {
    let until_deadline = envelope.deadline.map(|deadline| deadline.remaining(now()));
    let bounds = until_deadline.into_iter().chain(envelope.timeout_ms.map(Duration::from_millis));
    bounds.min().unwrap_or(REQUEST_TIMEOUT).min(REQUEST_TIMEOUT_MAX)
}

/// The trace of a request, with a span of its own.
fn traceparent(trace: TraceId) -> Result<Traceparent, Cause> {
    let message = format!("the trace `{trace}` is no trace id of W3C Trace Context: 32 lower-case hex digits");
    let span = random_u64().try_into().unwrap_or(NonZeroU64::MIN);
    Traceparent::new(trace, span).ok_or_else(|| Cause::new(ErrorCode::InvalidRequest, message))
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::request::Query;
    use greenroom_protocol::{Deadline, Request};

    use super::*;

    fn envelope() -> Envelope {
        Envelope::new(Request::Query(Query::Agents))
    }

    #[test]
    fn a_caller_waits_until_the_earlier_one_of_its_bounds() {
        assert_eq!(time_to_wait(&envelope()), REQUEST_TIMEOUT);
        let hour = Duration::from_secs(3_600);
        let deadline = Some(Deadline::after(now(), hour));
        let waits_for = time_to_wait(&Envelope { deadline, ..envelope() });
        assert!(waits_for <= hour && waits_for > hour / 2, "{waits_for:?}");
        let both = Envelope { deadline, timeout_ms: Some(1_500), ..envelope() };
        assert_eq!(time_to_wait(&both), Duration::from_millis(1_500));
        assert_eq!(time_to_wait(&Envelope { timeout_ms: Some(u64::MAX), ..envelope() }), REQUEST_TIMEOUT_MAX);
        let passed = Some(Deadline(now().saturating_sub(hour)));
        assert_eq!(time_to_wait(&Envelope { deadline: passed, ..envelope() }), Duration::ZERO);
    }

    #[test]
    fn a_trace_that_no_header_can_have_is_refused() {
        assert_eq!(traceparent(TraceId::from_u128(7)).unwrap().trace(), &TraceId::from_u128(7));
        let refused = traceparent(TraceId::new("my-trace").unwrap()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }
}
