//! The script is played as it is written.

use std::time::Duration;

use greenroom_actors::model::{ModelError, StopReason};
use greenroom_protocol::{ErrorCode, Tokens};
use serde_json::json;

use super::{Script, Scripted, ScriptedReply};
use crate::models::test_calls::Call;

#[tokio::test(start_paused = true)]
async fn scenes_are_played_in_order_and_used_up() {
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
    let call = Call::of("scripted.a", "", "first");
    let overloaded = ModelError::Overloaded { status: 429, retry_after: Some(Duration::from_millis(1500)) };
    assert_eq!(call.make(&provider).await.error, Some(overloaded));
    let broken = call.make(&provider).await;
    assert_eq!(broken.text, "{\"a\"");
    assert!(matches!(broken.error, Some(ModelError::MalformedResponse { .. })));
    let before = tokio::time::Instant::now();
    let answer = call.make(&provider).await;
    assert_eq!((answer.text.as_str(), answer.stop), ("hello", Some(StopReason::Complete)));
    assert!(before.elapsed() >= Duration::from_millis(5010));
    assert_eq!(Call::of("scripted.a", "the second", "x").make(&provider).await.stop, Some(StopReason::Refusal));
    assert!(matches!(Call::of("scripted.b", "", "x").make(&provider).await.error, Some(ModelError::Failed { .. })));
    let played = provider.stats();
    assert_eq!((played.calls, played.tokens), (5, Tokens { input: 3, output: 2 }));
    assert_eq!(played.by_key.values().copied().collect::<Vec<_>>(), [5]);
}

#[tokio::test]
async fn a_blank_answer_has_the_shape_that_was_asked_for() {
    let provider = Scripted::new(Script::always(Duration::ZERO, ScriptedReply::Blank, None));
    let schema = json!({ "type": "object", "properties": {
        "text": { "type": "string", "minLength": 2 }, "list": { "type": "array", "minItems": 1, "items": { "type": "integer" } },
        "kind": { "enum": ["a", "b"] } } });
    let answer = Call::of("scripted.a", "", "x").wants(schema).make(&provider).await;
    let text: greenroom_protocol::Json = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(text, json!({ "kind": "a", "list": [0], "text": ".." }));
    assert_eq!(answer.usage, None);
}

#[tokio::test(start_paused = true)]
async fn silence_never_ends_and_a_call_without_a_scene_is_refused() {
    let provider = Scripted::new(Script::always(Duration::ZERO, ScriptedReply::Silence, None));
    let call = Call::of("scripted.a", "", "x");
    assert!(tokio::time::timeout(Duration::from_secs(3600), call.make(&provider)).await.is_err());
    assert!(matches!(call.make(&Scripted::new(Script::default())).await.error, Some(ModelError::Rejected { .. })));
    assert_eq!(Script::from_json("{\"scene\": []}").unwrap_err().code, ErrorCode::InvalidConfiguration);
}
