//! What only Gemini does.

use greenroom_actors::model::{StopReason, ToolSpec};
use greenroom_protocol::Tokens;
use serde_json::json;

use super::Api;
use super::server::{Server, head};
use crate::model_server::Step;
use crate::models::test_calls::Call;

#[tokio::test]
async fn a_blocked_prompt_is_one_refusal() {
    for (usage, expected) in
        [(json!({ "promptTokenCount": 25 }), Some(Tokens { input: 25, output: 0 })), (json!(null), None)]
    {
        let feedback = json!({ "promptFeedback": { "blockReason": "PROHIBITED_CONTENT" }, "usageMetadata": usage });
        let server = Server::start(vec![vec![head(), Step::Send(format!("data: {feedback}\n\n"))]]).await;
        let answer = Call::new("gemini.gemini-2.5-flash", "", "hello").send(&*server.provider("gemini")).await;
        assert_eq!((answer.stop, answer.error), (Some(StopReason::Refusal), None));
        assert_eq!(answer.usage, expected);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn before_version_3_tools_and_a_schema_are_not_in_one_request() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"], "additionalProperties": false });
    for (model, has_tools, has_mime_type) in [
        ("gemini.gemini-2.5-flash", true, false),
        ("gemini.gemini-2.5-flash", false, true),
        ("gemini.gemini-3-pro", true, true),
    ] {
        let server = Server::start(vec![Api::Gemini.valid("{}")]).await;
        let mut call = Call::new(model, "", "hello").with_schema(schema.clone());
        if has_tools {
            let parameters = json!({ "type": "object", "properties": { "tags": { "type": "array" } } });
            call.tools = vec![ToolSpec { name: "t".into(), description: "T.".into(), parameters }];
        }
        call.send(&*server.provider("gemini")).await;
        let body = server.requests().remove(0).body;
        assert_eq!(body["generationConfig"].get("responseMimeType").is_some(), has_mime_type, "{model} {body}");
        assert_eq!(body.to_string().contains("It must match this JSON Schema"), !has_mime_type, "{model}");
        let tags = &body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]["properties"]["tags"];
        assert_eq!(tags.get("items").is_some(), has_tools, "{body}");
    }
}
