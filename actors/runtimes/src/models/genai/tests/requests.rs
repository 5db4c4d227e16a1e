//! What is sent: every field and header, on each wire.

use greenroom_actors::model::{Message, Part, Role, StopReason, ToolCall, ToolSpec};
use greenroom_protocol::{ErrorCode, Tokens};
use serde_json::json;

use super::Wire;
use super::server::{KEY, Server, Step, head, status};
use crate::models::genai::{ApiKey, ProviderSettings, Settings, open};
use crate::models::test_calls::{Call, CollectedAnswer};

fn call(wire: Wire) -> Call {
    let schema = json!({ "type": "object", "properties": { "summary": { "type": "string" } }, "required": ["summary"], "additionalProperties": false });
    let mut call = Call::of(&wire.model(), "Be brief.", "Say {\"it\"}.").wants(schema);
    call.tokens_max = 321;
    call.tools = vec![ToolSpec {
        name: "calculator".into(),
        description: "Adds.".into(),
        parameters: json!({ "type": "object", "properties": {} }),
    }];
    call
}

#[tokio::test]
async fn a_good_answer_is_streamed_and_counted_exactly() {
    for wire in Wire::ALL {
        let events =
            vec![head(), Step::Send(wire.text(&["{\"summary\":", "\"ünï\"}"])), Step::Send(wire.end(wire.done()))];
        let server = Server::start(vec![events]).await;
        let answer = call(wire).make(&*server.provider(wire.name())).await;
        let wanted = CollectedAnswer {
            text: "{\"summary\":\"ünï\"}".into(),
            usage: Some(Tokens { input: 25, output: 7 }),
            stop: Some(StopReason::Complete),
            ..CollectedAnswer::default()
        };
        assert_eq!(answer, wanted, "{wire:?}");
    }
}

#[tokio::test]
async fn openai_gets_every_field_and_header() {
    let server = Server::start(vec![Wire::OpenAi.good("{}")]).await;
    call(Wire::OpenAi).make(&*server.provider("openai")).await;
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["idempotency-key"], "run_1/step");
    assert!(request.headers["user-agent"].starts_with("greenroom/"));
    let body = &request.body;
    assert_eq!(
        (&body["model"], &body["stream"], &body["max_tokens"]),
        (&json!("test-model"), &json!(true), &json!(321))
    );
    assert_eq!(body["stream_options"], json!({ "include_usage": true }));
    assert_eq!(
        body["messages"],
        json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Say {\"it\"}." }])
    );
    assert_eq!(body["response_format"]["type"], "json_schema");
    assert_eq!(body["response_format"]["json_schema"]["strict"], true);
    assert_eq!(body["response_format"]["json_schema"]["schema"]["required"], json!(["summary"]));
    assert_eq!(body["tools"][0]["function"]["name"], "calculator");
}

#[tokio::test]
async fn anthropic_gets_every_field_and_header() {
    let server = Server::start(vec![Wire::Anthropic.good("{}")]).await;
    call(Wire::Anthropic).make(&*server.provider("anthropic")).await;
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /v1/messages HTTP/1.1");
    assert_eq!(request.headers["x-api-key"], KEY);
    assert_eq!(request.headers["anthropic-version"], "2023-06-01");
    assert_eq!(request.headers["idempotency-key"], "run_1/step");
    let body = &request.body;
    assert_eq!(
        (&body["model"], &body["stream"], &body["max_tokens"]),
        (&json!("test-model"), &json!(true), &json!(321))
    );
    assert_eq!(
        body["system"],
        json!([{ "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } }])
    );
    assert_eq!(body["messages"], json!([{ "role": "user", "content": "Say {\"it\"}." }]));
    assert_eq!(body["output_config"]["format"]["type"], "json_schema");
    assert_eq!(body["tools"][0]["name"], "calculator");
    assert_eq!(body["tools"][0]["input_schema"]["type"], "object");
}

#[tokio::test]
async fn gemini_gets_every_field_and_header() {
    let server = Server::start(vec![Wire::Gemini.good("{}")]).await;
    call(Wire::Gemini).make(&*server.provider("gemini")).await;
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /v1/models/test-model:streamGenerateContent?alt=sse HTTP/1.1");
    assert_eq!(request.headers["x-goog-api-key"], KEY);
    let body = &request.body;
    assert_eq!(body["systemInstruction"]["parts"][0]["text"], "Be brief.");
    assert_eq!(body["contents"], json!([{ "role": "user", "parts": [{ "text": "Say {\"it\"}." }] }]));
    let wanted = &body["generationConfig"];
    assert_eq!(wanted["maxOutputTokens"], 321);
    assert_eq!(wanted["responseMimeType"], "application/json");
    assert!(wanted.to_string().contains("summary"), "{wanted:#}");
    assert_eq!(body["tools"][0]["functionDeclarations"][0]["name"], "calculator");
}

#[tokio::test]
async fn ollama_gets_every_field_and_the_schema_in_words() {
    let server = Server::start(vec![Wire::Ollama.good("{}")]).await;
    call(Wire::Ollama).make(&*server.provider("ollama")).await;
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /v1/api/chat HTTP/1.1");
    assert_eq!(request.headers["idempotency-key"], "run_1/step");
    let body = &request.body;
    assert_eq!((&body["model"], &body["stream"]), (&json!("test-model"), &json!(true)));
    assert_eq!(body["options"]["num_predict"], 321);
    let system = body["messages"][0]["content"].as_str().unwrap();
    assert!(system.starts_with("Be brief.") && system.contains("\"summary\""), "{system}");
    assert_eq!(body["messages"][1], json!({ "role": "user", "content": "Say {\"it\"}." }));
    assert_eq!(body["tools"][0]["function"]["name"], "calculator");
}

#[tokio::test]
async fn tools_are_called_and_their_results_sent_back() {
    let openai = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"function\":{\"name\":\"calculator\",\"arguments\":\"{\\\"expr\"}}]}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"ession\\\":\\\"1+1\\\"}\"}}]}}]}\n\n";
    let anthropic = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n\
        event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"c1\",\"name\":\"calculator\",\"input\":{}}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"expression\\\":\\\"1+1\\\"}\"}}\n\n";
    for (wire, events, reason) in [(Wire::OpenAi, openai, "tool_calls"), (Wire::Anthropic, anthropic, "tool_use")] {
        let server = Server::start(vec![
            vec![head(), Step::Send(events.to_owned()), Step::Send(wire.end(reason))],
            wire.good("two"),
        ])
        .await;
        let provider = server.provider(wire.name());
        let mut call = call(wire);
        let answer = call.make(&*provider).await;
        assert_eq!(answer.tools, [("calculator".to_owned(), json!({ "expression": "1+1" }))], "{wire:?} {answer:?}");
        assert_eq!((answer.stop, answer.usage), (Some(StopReason::Tools), Some(Tokens { input: 25, output: 7 })));
        let asked = ToolCall { id: "c1".into(), name: "calculator".into(), arguments: json!({ "expression": "1+1" }) };
        call.messages.push(Message { role: Role::Assistant, parts: vec![Part::ToolCall(asked)] });
        let result = Part::ToolResult { id: "c1".into(), content: "{\"error\":\"no\"}".into(), is_error: true };
        call.messages.push(Message { role: Role::User, parts: vec![result] });
        assert_eq!(call.make(&*provider).await.text, "two");
        let messages = server.requests()[1].body["messages"].clone();
        match wire {
            Wire::OpenAi => {
                assert_eq!(messages[2]["tool_calls"][0]["id"], "c1");
                assert_eq!(
                    messages[3],
                    json!({ "role": "tool", "tool_call_id": "c1", "content": "{\"error\":\"no\"}" })
                );
            }
            Wire::Anthropic => {
                assert_eq!(messages[1]["content"][0]["type"], "tool_use");
                let result = &messages[2]["content"][0];
                assert_eq!((&result["tool_use_id"], &result["is_error"]), (&json!("c1"), &json!(true)));
            }
            Wire::Gemini | Wire::Ollama => unreachable!("not among the wires of this test"),
        }
    }
}

#[tokio::test]
async fn a_model_without_structured_output_is_told_the_schema_in_words() {
    for (wire, field) in [(Wire::OpenAi, "response_format"), (Wire::Anthropic, "output_config")] {
        let body = format!(
            "{{\"error\":{{\"type\":\"invalid_request_error\",\"message\":\"{field}: not supported by this model\"}}}}"
        );
        let server = Server::start(vec![status("400 Bad Request", "", &body), wire.good("{}")]).await;
        let provider = server.provider(wire.name());
        assert_eq!(call(wire).make(&*provider).await.text, "{}", "{wire:?}");
        assert_eq!(call(wire).make(&*provider).await.text, "{}");
        let requests = server.requests();
        assert_eq!(requests.len(), 3, "it is asked once and then remembered");
        assert!(
            requests[0].body.get(field).is_some()
                && requests[1].body.get(field).is_none()
                && requests[2].body.get(field).is_none()
        );
        assert!(requests[1].body.to_string().contains("It must match this JSON Schema"));
    }
}

#[test]
fn settings_are_checked_and_never_show_a_key() {
    let one = |name: &str, wire: &str, url: Option<&str>| Settings {
        providers: vec![ProviderSettings {
            name: name.into(),
            api: wire.into(),
            key: Some(ApiKey::new(KEY)),
            base_url: url.map(str::to_owned),
        }],
        ..Settings::default()
    };
    for (name, wire, url) in [
        ("a.b", "openai", None),
        ("", "openai", None),
        ("a", "telegraph", None),
        ("a", "openai", Some("ftp://x")),
        ("a", "openai", Some("http://u:p@x")),
    ] {
        assert_eq!(
            open(&one(name, wire, url)).err().unwrap().code,
            ErrorCode::InvalidConfiguration,
            "{name} {wire} {url:?}"
        );
    }
    assert!(!format!("{:?}", one("a", "openai", None)).contains(KEY));
    let external = |wire: &str, url| open(&one("a", wire, url)).unwrap()[0].is_external();
    assert!(
        external("anthropic", None) && external("gemini", None) && external("openai", Some("https://example.org/v1"))
    );
    assert!(
        !external("openai", Some("http://127.0.0.1:8000/v1"))
            && !external("ollama", None)
            && !external("openai", Some("http://[::1]/"))
    );
}
