//! The requests that are sent: every field and header, for each API.

use greenroom_actors::model::{Message, Part, Role, StopReason, ToolCall, ToolSpec};
use greenroom_definitions::models::TokenCounts;
use greenroom_protocol::{ErrorCode, Tokens};
use serde_json::json;

use super::Api;
use super::server::{KEY, Server, head};
use crate::model_server::Step;
use crate::models::http::{ApiKey, ProviderSettings, Settings, open};
use crate::models::test_calls::{Call, CollectedAnswer};

fn call(api: Api) -> Call {
    let schema = json!({ "type": "object", "properties": { "summary": { "type": "string" } }, "required": ["summary"], "additionalProperties": false });
    let mut call = Call::new(&api.model(), "Be brief.", "Say {\"it\"}.").with_schema(schema);
    call.tokens_max = 321;
    call.tools = vec![ToolSpec {
        name: "calculator".into(),
        description: "Adds.".into(),
        parameters: json!({ "type": "object", "properties": {} }),
    }];
    call
}

#[tokio::test]
async fn a_valid_answer_is_streamed_with_its_exact_usage() {
    for api in Api::ALL {
        let events = vec![
            head(),
            Step::Send(api.text(&["{\"summary\":", "\"ünï\"}"])),
            Step::Send(api.end(api.complete_reason())),
        ];
        let server = Server::start(vec![events]).await;
        let answer = call(api).send(&*server.provider(api.name())).await;
        let usage = Tokens { input: 25, output: 7 };
        let expected = CollectedAnswer {
            text: "{\"summary\":\"ünï\"}".into(),
            usage: Some(usage),
            // The parts that each API reports beside the sums.
            counts: match api {
                Api::OpenAi | Api::Ollama => usage.into(),
                Api::Anthropic => TokenCounts { cache_read: 5, ..usage.into() },
                Api::Gemini => TokenCounts { reasoning: 4, ..usage.into() },
            },
            stop: Some(StopReason::Complete),
            ..CollectedAnswer::default()
        };
        assert_eq!(answer, expected, "{api:?}");
    }
}

#[tokio::test]
async fn openai_gets_every_field_and_header() {
    let server = Server::start(vec![Api::OpenAi.valid("{}")]).await;
    call(Api::OpenAi).send(&*server.provider("openai")).await;
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
async fn an_object_that_may_have_any_properties_is_not_sent_as_one_that_has_none() {
    let facts = json!({ "type": "object", "additionalProperties": true });
    let schema = json!({ "type": "object", "properties": { "facts": facts }, "required": ["facts"], "additionalProperties": false });
    for api in [Api::OpenAi, Api::Anthropic] {
        let server = Server::start(vec![api.valid("{}")]).await;
        let mut call = Call::new(&api.model(), "Be brief.", "Say it.").with_schema(schema.clone());
        call.tokens_max = 321;
        call.send(&*server.provider(api.name())).await;
        let body = server.requests().remove(0).body;
        if api == Api::OpenAi {
            let sent = &body["response_format"]["json_schema"];
            assert_eq!((&sent["strict"], &sent["schema"]), (&json!(false), &schema));
            assert_eq!(body["response_format"]["type"], "json_schema");
        } else {
            assert_eq!(body.get("output_config"), None, "{body}");
            assert!(body["system"].to_string().contains("It must match this JSON Schema"), "{body}");
        }
    }
}

#[tokio::test]
async fn anthropic_gets_every_field_and_header() {
    let server = Server::start(vec![Api::Anthropic.valid("{}")]).await;
    call(Api::Anthropic).send(&*server.provider("anthropic")).await;
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
    let server = Server::start(vec![Api::Gemini.valid("{}")]).await;
    let mut call = call(Api::Gemini);
    call.model.model = "gemini-3-test".to_owned();
    call.send(&*server.provider("gemini")).await;
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /v1/models/gemini-3-test:streamGenerateContent?alt=sse HTTP/1.1");
    assert_eq!(request.headers["x-goog-api-key"], KEY);
    let body = &request.body;
    assert_eq!(body["systemInstruction"]["parts"][0]["text"], "Be brief.");
    assert_eq!(body["contents"], json!([{ "role": "user", "parts": [{ "text": "Say {\"it\"}." }] }]));
    let expected = &body["generationConfig"];
    assert_eq!(expected["maxOutputTokens"], 321);
    assert_eq!(expected["responseMimeType"], "application/json");
    assert!(expected.to_string().contains("summary"), "{expected:#}");
    assert_eq!(body["tools"][0]["functionDeclarations"][0]["name"], "calculator");
}

#[tokio::test]
async fn ollama_gets_every_field_and_the_schema_in_the_prompt() {
    let server = Server::start(vec![Api::Ollama.valid("{}")]).await;
    call(Api::Ollama).send(&*server.provider("ollama")).await;
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
    for (api, events, reason) in [(Api::OpenAi, openai, "tool_calls"), (Api::Anthropic, anthropic, "tool_use")] {
        let server = Server::start(vec![
            vec![head(), Step::Send(events.to_owned()), Step::Send(api.end(reason))],
            api.valid("two"),
        ])
        .await;
        let provider = server.provider(api.name());
        let mut call = call(api);
        let answer = call.send(&*provider).await;
        assert_eq!(answer.tools, [("calculator".to_owned(), json!({ "expression": "1+1" }))], "{api:?} {answer:?}");
        assert_eq!((answer.stop, answer.usage), (Some(StopReason::Tools), Some(Tokens { input: 25, output: 7 })));
        let tool_call =
            ToolCall { id: "c1".into(), name: "calculator".into(), arguments: json!({ "expression": "1+1" }) };
        call.messages.push(Message { role: Role::Assistant, parts: vec![Part::ToolCall(tool_call)] });
        let result = Part::ToolResult { id: "c1".into(), content: "{\"error\":\"no\"}".into(), is_error: true };
        call.messages.push(Message { role: Role::User, parts: vec![result] });
        assert_eq!(call.send(&*provider).await.text, "two");
        let messages = server.requests()[1].body["messages"].clone();
        match api {
            Api::OpenAi => {
                assert_eq!(messages[2]["tool_calls"][0]["id"], "c1");
                assert_eq!(
                    messages[3],
                    json!({ "role": "tool", "tool_call_id": "c1", "content": "{\"error\":\"no\"}" })
                );
            }
            Api::Anthropic => {
                assert_eq!(messages[1]["content"][0]["type"], "tool_use");
                let result = &messages[2]["content"][0];
                assert_eq!((&result["tool_use_id"], &result["is_error"]), (&json!("c1"), &json!(true)));
            }
            Api::Gemini | Api::Ollama => unreachable!("not among the APIs of this test"),
        }
    }
}

#[test]
fn settings_are_validated_and_never_print_a_key() {
    let one = |name: &str, api: &str, url: Option<&str>| Settings {
        providers: vec![ProviderSettings {
            name: name.into(),
            api: api.into(),
            key: Some(ApiKey::new(KEY)),
            base_url: url.map(str::to_owned),
            internal: false,
        }],
        ..Settings::default()
    };
    for (name, api, url) in [
        ("a.b", "openai", None),
        ("", "openai", None),
        ("a", "telegraph", None),
        ("a", "openai", Some("ftp://x")),
        ("a", "openai", Some("http://u:p@x")),
    ] {
        assert_eq!(
            open(&one(name, api, url)).err().unwrap().code,
            ErrorCode::InvalidConfiguration,
            "{name} {api} {url:?}"
        );
    }
    assert!(!format!("{:?}", one("a", "openai", None)).contains(KEY));
    for (api, url) in [("anthropic", None), ("openai", Some("http://127.0.0.1:8000/v1")), ("ollama", None)] {
        let mut settings = one("a", api, url);
        assert!(open(&settings).unwrap()[0].is_external(), "{api} {url:?}");
        settings.providers[0].internal = true;
        assert!(!open(&settings).unwrap()[0].is_external(), "only the configuration decides: {api} {url:?}");
    }
}
