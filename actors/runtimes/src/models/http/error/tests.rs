//! Classifications that need no server.

use std::time::Duration;

use greenroom_actors::model::{CallPhase, ModelError};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use serde_json::json;

use super::{Redactor, Reported, from_event, from_response, is_blank};

fn event(body: &serde_json::Value) -> ModelError {
    from_event(body, &Redactor::for_key("sk-1"))
}

#[test]
fn the_report_is_found_in_each_servers_format() {
    let report = Reported::parse(&json!({ "error": { "type": "a", "code": "B", "message": "m" } }));
    assert_eq!((report.kind.as_str(), report.message.as_str()), ("a b ", "m"));
    for (body, message) in [
        (json!({ "error": "plain" }), "plain"),
        (json!({ "message": "bare" }), "bare"),
        (json!({ "object": "error", "message": "of vLLM", "code": 400 }), "of vLLM"),
        (json!({ "detail": "of FastAPI" }), "of FastAPI"),
        (json!([{ "error": { "code": 400, "message": "of Google", "status": "INVALID_ARGUMENT" } }]), "of Google"),
        (json!({ "error": null, "message": "beside an empty member" }), "beside an empty member"),
        (json!(null), ""),
    ] {
        assert_eq!(Reported::parse(&body).message, message, "{body}");
    }
}

#[test]
fn a_message_is_truncated_and_redacted() {
    let body = json!({ "error": { "type": "server_error", "message": format!("sk-1 {}\n", "x".repeat(900)) } });
    let ModelError::Failed { message, .. } = event(&body) else { panic!("no failure") };
    assert!(message.starts_with("*** x") && message.chars().count() == 300 && !message.contains('\n'));
}

#[test]
fn an_error_event_has_its_class() {
    let overflow = json!({ "error": { "code": 400, "type": "exceed_context_size_error", "n_ctx": 4096,
        "n_prompt_tokens": 5210, "message": "the request exceeds the available context size, try increasing it" } });
    let expected = ModelError::ContextOverflow { requested: Some(5_210), limit: Some(4_096) };
    assert_eq!(event(&overflow), expected);
    let sentence = json!({ "error": { "code": "context_length_exceeded",
        "message": "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (5000 in the messages, 4000 in the completion)." } });
    let expected = ModelError::ContextOverflow { requested: Some(9_000), limit: Some(8_192) };
    assert_eq!(event(&sentence), expected);
    let overloaded = json!({ "error": { "code": 429, "message": "busy", "status": "RESOURCE_EXHAUSTED" } });
    assert_eq!(event(&overloaded), ModelError::Overloaded { status: 429, retry_after: None });
    let rejected = json!({ "object": "error", "type": "BadRequestError", "code": 400, "message": "no" });
    assert_eq!(event(&rejected), ModelError::Rejected { status: 400, message: "no".into() });
    let slow = json!({ "error": { "code": 504, "message": "slow", "status": "DEADLINE_EXCEEDED" } });
    assert_eq!(event(&slow), ModelError::TimedOut { phase: CallPhase::FirstToken });
    let quota =
        json!({ "error": { "code": "insufficient_quota", "type": "insufficient_quota", "message": "no money" } });
    assert_eq!(event(&quota), ModelError::Rejected { status: 429, message: "no money".into() });
    let failed = json!({ "error": { "message": "boom" } });
    assert_eq!(event(&failed), ModelError::Failed { status: None, message: "boom".into() });
}

#[test]
fn the_delay_of_a_retry_is_read_from_the_body_if_no_header_states_it() {
    let body = json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "busy", "details": [
        { "@type": "type.googleapis.com/google.rpc.QuotaFailure" },
        { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s" },
    ] } });
    let after = |millis| ModelError::Overloaded { status: 429, retry_after: Some(Duration::from_millis(millis)) };
    assert_eq!(event(&body), after(34_500));
    let respond = |headers: &HeaderMap| {
        let status = StatusCode::TOO_MANY_REQUESTS;
        from_response(status, &body.to_string(), headers, &Redactor::for_key("sk-1"))
    };
    assert_eq!(respond(&HeaderMap::new()), after(34_500));
    let header = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("2"))]);
    assert_eq!(respond(&header), after(2_000), "the header comes first");
    let broken = json!({ "error": { "code": 429, "details": [{ "retryDelay": "soon" }] } });
    assert_eq!(event(&broken), ModelError::Overloaded { status: 429, retry_after: None });
}

#[test]
fn an_empty_member_is_no_error() {
    for blank in [json!(null), json!(""), json!({}), json!([]), json!(false), json!({ "message": "", "code": 0 })] {
        assert!(is_blank(&blank), "{blank}");
    }
    for error in [json!("boom"), json!({ "message": "boom" }), json!(true), json!(500), json!([{ "code": 1 }])] {
        assert!(!is_blank(&error), "{error}");
    }
}
