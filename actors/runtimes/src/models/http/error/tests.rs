//! Classifications that need no server.

use std::time::Duration;

use greenroom_actors::model::{CallPhase, ModelError};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use serde_json::json;

use super::{Redactor, Reported, from_event, from_response, is_blank, presentable};

fn event(body: &serde_json::Value) -> ModelError {
    from_event(body)
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
fn a_message_is_truncated_and_redacted_when_it_is_presented() {
    let words = format!("sk-12345 {}\n", "x".repeat(900));
    let error = event(&json!({ "error": { "type": "server_error", "message": words } }));
    assert_eq!(
        error,
        ModelError::Failed { status: None, message: words },
        "a rejected part is recognized in all of it"
    );
    let ModelError::Failed { message, .. } = presentable(error, &Redactor::for_key("sk-12345")) else {
        panic!("no failure")
    };
    assert!(message.starts_with("*** x") && message.chars().count() == 300 && !message.contains('\n'));
}

/// The error of a response with this status and body.
fn response(status: u16, body: &str) -> ModelError {
    from_response(StatusCode::from_u16(status).unwrap(), body, &HeaderMap::new())
}

#[test]
fn the_words_of_a_body_are_found_in_whatever_form() {
    let fastapi = json!({ "detail": [
        { "loc": ["body", "response_format", "type"], "msg": "not permitted", "input": { "message": "x" } },
        { "loc": ["body", 0], "msg": "wrong" },
    ] });
    let param = json!({ "error": { "message": "Unsupported parameter", "param": "response_format" } });
    let long = format!("{{\"error\": \"{}", "x".repeat(400));
    for (body, message) in [
        (fastapi.to_string().as_str(), "body.response_format.type: not permitted; body.0: wrong"),
        (&param.to_string(), "Unsupported parameter (response_format)"),
        ("unknown field: stream_options\n", "unknown field: stream_options"),
        ("{\"errors\": [{\"message\": \"a\"}, {\"message\": \"b\"}]}", "a; b"),
        ("{\"message\": \"bare\"}", "bare"),
        ("{\"error\": \"Bad Request\", \"message\": \"no model\"}", "Bad Request: no model"),
        ("{\"error\": {\"message\": {\"detail\": \"inner\"}}}", "inner"),
        ("{\"error\": {\"code\": \"model_not_found\"}}", "model_not_found"),
        ("<html><head><title>404 Not Found</title></head></html>", "the server sent a page (HTML): 404 Not Found"),
        ("<HTML><H1 class=a>Forbidden zone</H1></HTML>", "the server sent a page (HTML): Forbidden zone"),
        ("<!DOCTYPE html><p>x", "the server sent a page (HTML) and no message"),
        ("<Error>no such bucket</Error>", "<Error>no such bucket</Error>"),
        ("", "the server sent no message"),
        ("{}", "the server sent no message"),
        (&long, &long),
    ] {
        let expected = ModelError::Rejected { status: 400, message: message.to_owned() };
        assert_eq!(response(400, body), expected, "{body}");
        let expected = ModelError::Failed { status: Some(502), message: format!("status 502: {message}") };
        assert_eq!(response(502, body), expected, "{body}");
    }
}

#[test]
fn a_call_without_money_is_no_overload() {
    for (kind, message) in [
        ("billing_error", "Your account has a problem"),
        ("insufficient_balance", "no"),
        ("error", "Your credit balance is too low to access the API"),
        ("error", "Insufficient Balance"),
    ] {
        let body = json!({ "error": { "type": kind, "message": message } });
        let expected = ModelError::Rejected { status: 429, message: message.to_owned() };
        assert_eq!((response(429, &body.to_string()), event(&body)), (expected.clone(), expected), "{body}");
    }
    let google = json!({ "error": { "code": 429, "message": "You exceeded your current quota, please check your plan and billing details." } });
    assert_eq!(response(429, &google.to_string()), ModelError::Overloaded { status: 429, retry_after: None });
}

#[test]
fn a_key_that_is_not_accepted_is_no_failure_of_the_server() {
    for error in [json!({ "code": "invalid_api_key" }), json!({ "type": "unauthorized" }), json!({ "code": "401" })] {
        assert_eq!(event(&json!({ "error": error })), ModelError::Unauthorized { status: 401 }, "{error}");
    }
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
        from_response(status, &body.to_string(), headers)
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
