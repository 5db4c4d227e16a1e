//! Classes that are easier to reach with a word than with a socket.

use greenroom_actors::model::ModelError;
use serde_json::json;

use super::{Redactor, is_schema_rejection, told, words_of};

#[test]
fn words_are_found_wherever_a_provider_puts_them() {
    assert_eq!(words_of(&json!({ "error": { "type": "a", "code": "B", "message": "m" } })), ("a b".into(), "m".into()));
    assert_eq!(words_of(&json!({ "error": "plain" })).1, "plain");
    assert_eq!(words_of(&json!({ "message": "bare" })).1, "bare");
    assert_eq!(words_of(&json!(null)).1, "");
}

#[test]
fn words_are_cut_and_cleaned() {
    let body = json!({ "error": { "type": "server_error", "message": format!("sk-1 {}\n", "x".repeat(900)) } });
    let ModelError::Failed { message, .. } = told(&body, &Redactor::of("sk-1")) else { panic!("no failure") };
    assert!(message.starts_with("*** x") && message.chars().count() == 300 && !message.contains('\n'));
}

#[test]
fn a_limit_without_the_other_number_is_still_a_limit() {
    let body =
        json!({ "error": { "code": "context_length_exceeded", "message": "maximum context length is 8192 tokens" } });
    assert_eq!(told(&body, &Redactor::of("k")), ModelError::ContextOverflow { asked: None, limit: Some(8192) });
}

#[test]
fn only_a_refusal_of_the_shape_is_about_the_shape() {
    let rejected = |message: &str| ModelError::Rejected { status: 400, message: message.into() };
    assert!(is_schema_rejection(&rejected("Invalid parameter: 'response_format' of type 'json_schema'")));
    assert!(!is_schema_rejection(&rejected("messages: required")));
    assert!(!is_schema_rejection(&ModelError::Failed { status: Some(500), message: "response_format".into() }));
}
