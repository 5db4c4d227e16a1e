//! The real binary over the other providers' APIs: Anthropic as thoroughly as OpenAI, Gemini and Ollama through
//! a table of the configuration.

use std::time::Duration;

use greenroom_integration_tests::model_fixture::{MODEL_KEY, ModelFixture};
use greenroom_integration_tests::script_server::{
    RecordedRequest, ScriptServer, ServerBehavior, TOKENS_CACHED, TOKENS_IN, TOKENS_OUT, TOKENS_TO_CACHE,
};
use serde_json::{Value, json};

const AGENT: &str = "llm_agent";
/// A model of Anthropic with a price and without a fallback.
const CLAUDE: &str = "anthropic.claude-sonnet-4-0";
const CUSTOM_MODEL: &str = "custom.some-model";

/// The reply of a command, and the requests that the server received.
struct CallOutcome {
    code: i32,
    reply: Value,
    requests: Vec<RecordedRequest>,
}

impl CallOutcome {
    fn is_estimated(&self) -> bool {
        self.reply["metadata"]["estimated"] == true
    }

    /// Fails unless the call succeeded after this many requests, with the usage that the server reported.
    #[track_caller]
    fn expect_success(&self, requests: usize) {
        let metadata = &self.reply["metadata"];
        assert_eq!((self.code, &self.reply["outputs"]["text"]), (0, &json!("done")), "{:#}", self.reply);
        assert_eq!(metadata["tokens_used"], json!({ "input": TOKENS_IN, "output": TOKENS_OUT }), "{:#}", self.reply);
        assert_eq!(self.requests.len(), requests, "{:?}", self.requests);
    }

    /// Fails unless the call ended with this status, this code and exit code 1.
    #[track_caller]
    fn expect_failure(&self, status: &str, code: &str) {
        let Self { reply, .. } = self;
        assert_eq!(
            (reply["status"].as_str(), reply["error"]["code"].as_str()),
            (Some(status), Some(code)),
            "{reply:#}"
        );
        assert_eq!(self.code, 1, "{reply:#}");
    }
}

/// Runs the agent of this fixture with this model.
async fn call_agent(fixture: &ModelFixture, server: &ScriptServer, model: &str) -> CallOutcome {
    let words = ["run", "agent", AGENT, "--input", "text=hello", "--model", model];
    let ended = fixture.terminal.run(&words).await.expect("an end");
    CallOutcome { code: ended.code, reply: ended.json().expect("a reply"), requests: server.requests() }
}

/// Calls a server with Anthropic's API through an agent with a timeout of this many seconds.
async fn call_claude_within(
    timeout_s: u32,
    script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static,
) -> CallOutcome {
    let server = ScriptServer::start(script).await.expect("a server");
    let fixture = ModelFixture::with_anthropic(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, timeout_s, 1_000).expect("a file");
    call_agent(&fixture, &server, CLAUDE).await
}

async fn call_claude(script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static) -> CallOutcome {
    call_claude_within(60, script).await
}

/// Calls a server with this API, as configured in the file's table.
async fn call_custom_provider(
    api: &str,
    script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static,
) -> CallOutcome {
    let server = ScriptServer::start(script).await.expect("a server");
    let fixture = ModelFixture::with_custom_provider(server.url(), api).expect("a fixture");
    fixture.write_llm_agent(AGENT, 60, 1_000).expect("a file");
    call_agent(&fixture, &server, CUSTOM_MODEL).await
}

/// A script with this behavior for the first request only; later ones get a complete answer.
fn only_first(behavior: ServerBehavior) -> impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync {
    move |request| if request.number == 0 { behavior.clone() } else { ServerBehavior::Good }
}

#[tokio::test]
async fn anthropic_gets_every_field_and_header_and_is_counted_with_its_cache() {
    let outcome = call_claude(|_| ServerBehavior::Good).await;
    outcome.expect_success(1);
    assert!(!outcome.is_estimated() && TOKENS_CACHED + TOKENS_TO_CACHE < TOKENS_IN);
    // Dollars a million: 3 for input, 0.30 of it from the cache, 3.75 of it to the cache, 15 for output.
    let fresh = TOKENS_IN - TOKENS_CACHED - TOKENS_TO_CACHE;
    let micros = fresh * 3 + TOKENS_CACHED * 3 / 10 + TOKENS_TO_CACHE * 375 / 100 + TOKENS_OUT * 15;
    assert_eq!(outcome.reply["metadata"]["cost_micro_usd"], micros, "{:#}", outcome.reply);
    assert_eq!(outcome.reply["metadata"].get("price"), None, "the model's own price: {:#}", outcome.reply);
    assert_eq!(outcome.reply["metadata"]["model"], CLAUDE);
    let request = outcome.requests.first().expect("a request");
    assert_eq!(request.line, "POST /v1/messages HTTP/1.1");
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    assert_eq!((header("x-api-key"), header("authorization")), (MODEL_KEY, ""));
    assert_eq!((header("anthropic-version"), header("content-type")), ("2023-06-01", "application/json"));
    assert!(!request.key().is_empty() && header("user-agent").starts_with("greenroom/"), "{:?}", request.headers);
    let body = &request.body;
    assert_eq!((&body["model"], &body["stream"]), (&json!("claude-sonnet-4-0"), &json!(true)));
    assert_eq!(body["max_tokens"], 1_000);
    assert_eq!(body["system"][0]["cache_control"], json!({ "type": "ephemeral" }), "{body:#}");
    assert!(body["system"][0]["text"].as_str().is_some_and(|text| text.contains("You answer.")), "{body:#}");
    assert_eq!(body["messages"], json!([{ "role": "user", "content": "hello" }]), "{body:#}");
    let format = &body["output_config"]["format"];
    assert_eq!((&format["type"], &format["schema"]["required"]), (&json!("json_schema"), &json!(["text"])), "{body:#}");
}

#[tokio::test]
async fn anthropic_calls_a_tool_and_receives_its_result() {
    let events = [
        json!({ "type": "message_start", "message": { "usage": { "input_tokens": TOKENS_IN, "output_tokens": 1 } } }),
        json!({ "type": "content_block_start", "index": 0,
            "content_block": { "type": "tool_use", "id": "toolu_1", "name": "calculator", "input": {} } }),
        json!({ "type": "content_block_delta", "index": 0,
            "delta": { "type": "input_json_delta", "partial_json": "{\"expression\":" } }),
        json!({ "type": "content_block_delta", "index": 0,
            "delta": { "type": "input_json_delta", "partial_json": "\"6*7\"}" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" }, "usage": { "output_tokens": TOKENS_OUT } }),
        json!({ "type": "message_stop" }),
    ];
    let line = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type"));
    let tool_call: String = events.iter().map(line).collect();
    let server = ScriptServer::start(only_first(ServerBehavior::Events(tool_call))).await.expect("a server");
    let fixture = ModelFixture::with_anthropic(server.url()).expect("a fixture");
    fixture.write_llm_agent_with(AGENT, 60, 1_000, "tools: [\"native:calculator\"]\n").expect("a file");
    let outcome = call_agent(&fixture, &server, CLAUDE).await;
    assert_eq!((outcome.code, outcome.requests.len()), (0, 2), "{:#}", outcome.reply);
    let twice = json!({ "input": 2 * TOKENS_IN, "output": 2 * TOKENS_OUT });
    assert_eq!(outcome.reply["metadata"]["tokens_used"], twice);
    assert_eq!(outcome.requests[0].body["tools"][0]["name"], "calculator");
    let messages = &outcome.requests[1].body["messages"];
    assert_eq!(messages[1]["content"][0]["type"], "tool_use", "{messages:#}");
    let result = &messages[2]["content"][0];
    assert_eq!((&result["type"], &result["tool_use_id"]), (&json!("tool_result"), &json!("toolu_1")), "{messages:#}");
    assert!(result["content"].to_string().contains("42"), "{messages:#}");
}

#[tokio::test]
async fn a_single_failure_of_anthropic_is_retried() {
    let busy = |line, headers| ServerBehavior::Status(line, headers);
    // The first behavior, the number of requests, whether usage is estimated, and the minimum duration.
    let cases = [
        (ServerBehavior::Slow(Duration::from_millis(200)), 1, false, 400),
        (busy("429 Too Many Requests", "retry-after: 1\r\n"), 2, false, 1_000),
        (busy("429 Too Many Requests", ""), 2, false, 500),
        (busy("529 Overloaded", ""), 2, false, 500),
        (busy("500 Internal Server Error", ""), 2, true, 200),
        (ServerBehavior::Half, 2, true, 200),
        (ServerBehavior::HalfEvent, 2, true, 200),
        (ServerBehavior::Reset, 2, true, 200),
    ];
    for (behavior, requests, estimated, min_ms) in cases {
        let name = format!("{behavior:?}");
        let outcome = call_claude(only_first(behavior)).await;
        outcome.expect_success(requests);
        assert_eq!(outcome.is_estimated(), estimated, "{name}: {:#}", outcome.reply);
        assert!(outcome.reply["metadata"]["duration_ms"].as_u64() >= Some(min_ms), "{name}: {:#}", outcome.reply);
        let key = outcome.requests[0].key();
        assert!(outcome.requests.iter().all(|request| request.key() == key), "{name}: one effect has one key");
    }
}

#[tokio::test]
async fn each_failure_of_anthropic_has_its_code() {
    let event = |document: Value| ServerBehavior::Events(format!("event: content_block_delta\ndata: {document}\n\n"));
    let wrong = json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": 7 } });
    let cases = [
        (ServerBehavior::Status("529 Overloaded", "retry-after: 0\r\n"), "model_overloaded", false),
        (ServerBehavior::Events("data: <html>not an event</html>\n\n".to_owned()), "model_failed", true),
        (event(wrong), "model_failed", true),
        (ServerBehavior::Stops("refusal"), "model_refused", false),
        (ServerBehavior::Stops("max_tokens"), "output_truncated", false),
        (ServerBehavior::Endless, "model_failed", true),
    ];
    for (behavior, code, estimated) in cases {
        let name = format!("{behavior:?}");
        let outcome = call_claude(move |_| behavior.clone()).await;
        outcome.expect_failure("failed", code);
        assert_eq!(outcome.is_estimated(), estimated, "{name}: {:#}", outcome.reply);
    }
    let outcome = call_claude_within(1, |_| ServerBehavior::Silence).await;
    outcome.expect_failure("timed_out", "timed_out");
    assert!(outcome.is_estimated(), "{:#}", outcome.reply);
}

#[tokio::test]
async fn gemini_and_ollama_are_called_through_a_table_of_the_configuration() {
    for (api, line) in [
        ("gemini", "POST /v1/models/some-model:streamGenerateContent?alt=sse HTTP/1.1"),
        ("ollama", "POST /v1/api/chat HTTP/1.1"),
    ] {
        let outcome = call_custom_provider(api, |_| ServerBehavior::Good).await;
        outcome.expect_success(1);
        assert_eq!(outcome.reply["metadata"]["model"], CUSTOM_MODEL, "{api}");
        let request = &outcome.requests[0];
        assert_eq!(request.line, line);
        let key = request.headers.get("x-goog-api-key").map(String::as_str);
        assert_eq!(key, (api == "gemini").then_some(MODEL_KEY), "{api}");
        assert!(request.body.to_string().contains("hello"), "{api}");

        let outcome = call_custom_provider(
            api,
            only_first(ServerBehavior::Status("429 Too Many Requests", "retry-after: 1\r\n")),
        )
        .await;
        outcome.expect_success(2);
        assert!(!outcome.is_estimated(), "{api}");
        let outcome = call_custom_provider(api, only_first(ServerBehavior::Half)).await;
        outcome.expect_success(2);
        assert!(outcome.is_estimated(), "half an answer is incomplete: {api}: {:#}", outcome.reply);
    }
}

#[tokio::test]
async fn a_model_that_no_file_describes_is_charged_at_the_assumed_price_of_the_standard_tier() {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await.expect("a server");
    let fixture = ModelFixture::with_custom_provider(server.url(), "gemini").expect("a fixture");
    fixture.write_llm_agent(AGENT, 60, 1_000).expect("a file");
    let outcome = call_agent(&fixture, &server, CUSTOM_MODEL).await;
    outcome.expect_success(1);
    let metadata = &outcome.reply["metadata"];
    assert_eq!((&metadata["price"], &metadata["model"]), (&json!("assumed"), &json!(CUSTOM_MODEL)), "{metadata:#}");
    assert!(metadata["cost_micro_usd"].as_u64() > Some(0), "{metadata:#}");
    let costs = fixture.terminal.run(&["costs"]).await.expect("an end").expect_success().expect("the costs");
    assert_eq!(costs["total_micro_usd"], metadata["cost_micro_usd"], "{costs:#}");
    let row = &costs["costs"][0];
    assert_eq!((&row["calls_assumed"], &row["assumed_micro_usd"]), (&json!(1), &costs["total_micro_usd"]), "{costs:#}");
}
