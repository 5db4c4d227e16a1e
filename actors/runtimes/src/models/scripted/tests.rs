//! Calls get the replies of the script.

use std::time::Duration;

use greenroom_actors::model::{ModelError, StopReason};
use greenroom_protocol::{ErrorCode, Tokens};
use serde_json::json;

use super::{Script, Scripted, ScriptedReply};
use crate::models::test_calls::Call;

#[tokio::test(start_paused = true)]
async fn replies_are_taken_in_order_until_they_are_used_up() {
    let script = Script::from_json(
        r#"{"calls": [
            {"contains": "second", "reply": "refusal"},
            {"times": 1, "reply": {"overloaded": {"retry_after_ms": 1500}}},
            {"times": 1, "reply": {"broken": "{\"a\""}},
            {"model": "b", "reply": {"failed": {"status": 500}}},
            {"delay_ms": 5000, "reply": {"text": {"pieces": ["he", "llo"], "gap_ms": 10}}, "usage": {"input": 3, "output": 2}}
        ]}"#,
    )
    .unwrap();
    let provider = Scripted::new(script);
    let call = Call::new("scripted.a", "", "first");
    let overloaded = ModelError::Overloaded { status: 429, retry_after: Some(Duration::from_millis(1500)) };
    assert_eq!(call.send(&provider).await.error, Some(overloaded));
    let broken = call.send(&provider).await;
    assert_eq!(broken.text, "{\"a\"");
    assert!(matches!(broken.error, Some(ModelError::MalformedResponse { .. })));
    let before = tokio::time::Instant::now();
    let answer = call.send(&provider).await;
    assert_eq!((answer.text.as_str(), answer.stop), ("hello", Some(StopReason::Complete)));
    assert!(before.elapsed() >= Duration::from_millis(5010));
    assert_eq!(Call::new("scripted.a", "the second", "x").send(&provider).await.stop, Some(StopReason::Refusal));
    assert!(matches!(Call::new("scripted.b", "", "x").send(&provider).await.error, Some(ModelError::Failed { .. })));
    let stats = provider.stats();
    assert_eq!((stats.calls, stats.tokens), (5, Tokens { input: 3, output: 2 }));
}

#[tokio::test]
async fn a_blank_answer_matches_the_schema() {
    let provider = Scripted::new(Script::always(Duration::ZERO, ScriptedReply::Blank, None));
    let schema = json!({ "type": "object", "properties": {
        "text": { "type": "string", "minLength": 2 }, "list": { "type": "array", "minItems": 1, "items": { "type": "integer" } },
        "kind": { "enum": ["a", "b"] } } });
    let answer = Call::new("scripted.a", "", "x").with_schema(schema).send(&provider).await;
    let text: greenroom_protocol::Json = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(text, json!({ "kind": "a", "list": [0], "text": ".." }));
    assert_eq!(answer.usage, None);
}

#[tokio::test(start_paused = true)]
async fn silence_never_ends_and_a_call_without_a_reply_is_rejected() {
    let provider = Scripted::new(Script::always(Duration::ZERO, ScriptedReply::Silence, None));
    let call = Call::new("scripted.a", "", "x");
    assert!(tokio::time::timeout(Duration::from_secs(3600), call.send(&provider)).await.is_err());
    assert!(matches!(call.send(&Scripted::new(Script::default())).await.error, Some(ModelError::Rejected { .. })));
    assert_eq!(Script::from_json("{\"unknown\": []}").unwrap_err().code, ErrorCode::InvalidConfiguration);
}
