//! Classifications that need no server.

use greenroom_actors::model::ModelError;
use serde_json::json;

use super::{Redactor, from_event, is_schema_rejection, kind_and_message};

#[test]
fn the_message_is_found_in_each_providers_format() {
    assert_eq!(
        kind_and_message(&json!({ "error": { "type": "a", "code": "B", "message": "m" } })),
        ("a b".into(), "m".into())
    );
    assert_eq!(kind_and_message(&json!({ "error": "plain" })).1, "plain");
    assert_eq!(kind_and_message(&json!({ "message": "bare" })).1, "bare");
    assert_eq!(kind_and_message(&json!(null)).1, "");
}

#[test]
fn a_message_is_truncated_and_redacted() {
    let body = json!({ "error": { "type": "server_error", "message": format!("sk-1 {}\n", "x".repeat(900)) } });
    let ModelError::Failed { message, .. } = from_event(&body, &Redactor::for_key("sk-1")) else {
        panic!("no failure")
    };
    assert!(message.starts_with("*** x") && message.chars().count() == 300 && !message.contains('\n'));
}

#[test]
fn a_single_number_is_the_limit() {
    let body =
        json!({ "error": { "code": "context_length_exceeded", "message": "maximum context length is 8192 tokens" } });
    assert_eq!(
        from_event(&body, &Redactor::for_key("k")),
        ModelError::ContextOverflow { requested: None, limit: Some(8192) }
    );
}

#[test]
fn only_a_rejected_request_can_be_a_schema_rejection() {
    let rejected = |message: &str| ModelError::Rejected { status: 400, message: message.into() };
    assert!(is_schema_rejection(&rejected("Invalid parameter: 'response_format' of type 'json_schema'")));
    assert!(!is_schema_rejection(&rejected("messages: required")));
    assert!(!is_schema_rejection(&ModelError::Failed { status: Some(500), message: "response_format".into() }));
}
