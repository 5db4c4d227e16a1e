//! Tests of the headers of requests and replies.

use std::num::NonZeroU64;

use super::*;
use crate::id::TraceId;

fn read(pairs: &[(&str, &str)]) -> Result<RequestHeaders, Cause> {
    RequestHeaders::read(|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
}

#[test]
fn headers_survive_their_text() {
    let trace = Traceparent::new(TraceId::from_u128(7), NonZeroU64::MIN);
    for credential in [Credential::Bearer("t.o-k".into()), Credential::ApiKey("key".into())] {
        let headers = RequestHeaders {
            credential: Some(credential),
            idempotency_key: IdempotencyKey::new("order/17").ok(),
            trace: trace.clone(),
            deadline: Some(Deadline(Timestamp::from_micros(1_735_787_045_678_901))),
            timeout: Some(Duration::from_millis(1_500)),
            request_id: RequestId::new("mine").ok(),
            version: 2,
            wants_frames: true,
        };
        let pairs = headers.to_pairs().unwrap();
        let borrowed: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(borrowed.len(), 8);
        assert_eq!(read(&borrowed), Ok(headers));
    }
    assert_eq!(read(&[]), Ok(RequestHeaders::default()));
}

#[test]
fn a_deadline_is_rfc_3339_or_milliseconds() {
    let expected = Some(Deadline(Timestamp::from_micros(1_735_787_045_000_000)));
    for text in ["2025-01-02T03:04:05Z", "2025-01-02T04:04:05+01:00", "1735787045000", " 1735787045000 "] {
        assert_eq!(read(&[(DEADLINE, text)]).unwrap().deadline, expected, "{text}");
    }
    assert_eq!(read(&[(DEADLINE, "99999999999999999999")]).unwrap().deadline, Some(Deadline(Timestamp::MAX)));
}

#[test]
fn a_header_that_cannot_be_read_is_rejected_with_its_name() {
    let long = "x".repeat(HEADER_BYTES_MAX + 1);
    for (name, text) in [
        (IDEMPOTENCY_KEY, ""),
        (IDEMPOTENCY_KEY, "a b"),
        (IDEMPOTENCY_KEY, long.as_str()),
        (TRACEPARENT, "00-1-2-3"),
        (DEADLINE, "tomorrow"),
        (DEADLINE, "-1"),
        (DEADLINE, ""),
        (TIMEOUT, "-1"),
        (TIMEOUT, "+1"),
        (TIMEOUT, "1.5"),
        (TIMEOUT, "18446744073709551616"),
        (REQUEST_ID, "a/b"),
        (REQUEST_ID, "a*"),
        (VERSION, "one"),
        (VERSION, "65536"),
        (FRAMES, "yes"),
    ] {
        let cause = read(&[(name, text)]).unwrap_err();
        assert_eq!(cause.code, ErrorCode::InvalidRequest, "{name}");
        assert!(cause.message.contains(name) && cause.message.len() < 300, "{cause}");
    }
    for text in [None, Some("-1"), Some("x")] {
        assert_eq!(read_chunk(|_| text).unwrap_err().code, ErrorCode::InvalidRequest);
    }
    assert_eq!(read_chunk(|_| Some("7")), Ok(7));
}

#[test]
fn a_credential_of_another_scheme_is_unauthenticated_and_is_not_repeated() {
    for text in ["", "secret", "Basic secret", "Bearer", "Bearer  ", "Delegation secret", "delegation secret"] {
        let cause = read(&[(AUTHORIZATION, text)]).unwrap_err();
        assert_eq!(cause.code, ErrorCode::Unauthenticated, "{text}");
        assert!(!cause.message.contains("secret"), "{cause}");
    }
    let bearer = read(&[(AUTHORIZATION, "bearer  secret ")]).unwrap().credential;
    assert_eq!(bearer, Some(Credential::Bearer("secret".to_owned())));
    let pairs_of = |credential| RequestHeaders { credential: Some(credential), ..RequestHeaders::default() }.to_pairs();
    assert_eq!(pairs_of(Credential::Delegation("d".into())).unwrap_err().code, ErrorCode::Unauthenticated);
    for secret in ["", "a b", "a\r\nGreenroom-Frames: 1", "é"] {
        assert_eq!(pairs_of(Credential::Bearer(secret.into())).unwrap_err().code, ErrorCode::InvalidRequest);
    }
}

#[test]
fn an_error_is_in_the_headers_of_its_reply_on_one_line() {
    assert_eq!(reply_headers(None), [(VERSION, PROTOCOL_VERSION.to_string())]);
    let cause = Cause::new(ErrorCode::UnknownRun, format!("no run\r\nhas this id{}", "é".repeat(600)));
    let headers = reply_headers(Some(&cause));
    let [_, (CODE, code), (SERVICE_ERROR_CODE, number), (SERVICE_ERROR, message)] = headers.as_slice() else {
        panic!("{headers:?}")
    };
    assert_eq!((code.as_str(), number.as_str()), ("unknown_run", "404"));
    assert!(message.starts_with("no run  has this id") && message.len() <= HEADER_MESSAGE_BYTES_MAX, "{message}");
}
