//! The real binary over the other wires: Anthropic as thoroughly as OpenAI, Gemini and Ollama by a table
//! of the configuration.

use std::time::Duration;

use greenroom_integration_tests::model_fixture::{MODEL_KEY, ModelFixture};
use greenroom_integration_tests::script_server::{
    RecordedRequest, ScriptServer, ServerBehavior, TOKENS_CACHED, TOKENS_IN, TOKENS_OUT, TOKENS_TO_CACHE,
};
use serde_json::{Value, json};

const AGENT: &str = "asking_agent";
/// A model of Anthropic that has a price and no fallback.
const CLAUDE: &str = "anthropic.claude-sonnet-4-0";
const HOUSE: &str = "house.some-model";

/// A command's answer, and what the server saw of it.
struct Seen {
    code: i32,
    reply: Value,
    asked: Vec<RecordedRequest>,
}

impl Seen {
    fn is_estimated(&self) -> bool {
        self.reply["metadata"]["estimated"] == true
    }

    /// It succeeded after this many requests of one effect, and counts what the server counted.
    #[track_caller]
    fn expect_success(&self, requests: usize) {
        let metadata = &self.reply["metadata"];
        assert_eq!((self.code, &self.reply["outputs"]["text"]), (0, &json!("done")), "{:#}", self.reply);
        assert_eq!(metadata["tokens_used"], json!({ "input": TOKENS_IN, "output": TOKENS_OUT }), "{:#}", self.reply);
        assert_eq!(self.asked.len(), requests, "{:?}", self.asked);
    }

    /// It ended so, with this code, and exit code 1.
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

/// Lets the agent of this stand ask this model.
async fn run(stand: &ModelFixture, server: &ScriptServer, model: &str) -> Seen {
    let words = ["run", "agent", AGENT, "--input", "text=hello", "--model", model];
    let ended = stand.terminal.run(&words).await.expect("an end");
    Seen { code: ended.code, reply: ended.json().expect("a reply"), asked: server.asked() }
}

/// Asks a server that speaks like Anthropic, by an agent that may take this many seconds.
async fn claude_for(
    timeout_s: u32,
    script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static,
) -> Seen {
    let server = ScriptServer::start(script).await.expect("a server");
    let stand = ModelFixture::asking_anthropic(server.url()).expect("a stand");
    stand.asking_agent(AGENT, timeout_s, 1_000).expect("a file");
    run(&stand, &server, CLAUDE).await
}

async fn claude(script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static) -> Seen {
    claude_for(60, script).await
}

/// Asks a server that speaks this wire, as the file's table says.
async fn pod(wire: &str, script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static) -> Seen {
    let server = ScriptServer::start(script).await.expect("a server");
    let stand = ModelFixture::with_custom_provider(server.url(), wire).expect("a stand");
    stand.asking_agent(AGENT, 60, 1_000).expect("a file");
    run(&stand, &server, HOUSE).await
}

/// The scripted answer comes only from the second request on.
fn first(play: ServerBehavior) -> impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync {
    move |asked| if asked.number == 0 { play.clone() } else { ServerBehavior::Good }
}

#[tokio::test]
async fn anthropic_gets_every_field_and_header_and_is_counted_with_its_cache() {
    let seen = claude(|_| ServerBehavior::Good).await;
    seen.expect_success(1);
    assert!(!seen.is_estimated() && TOKENS_CACHED + TOKENS_TO_CACHE < TOKENS_IN);
    assert_eq!(seen.reply["metadata"]["cost_usd"].as_f64(), Some(0.004_950), "3 and 15 dollars a million");
    assert_eq!(seen.reply["metadata"].get("price"), None, "the model's own price: {:#}", seen.reply);
    assert_eq!(seen.reply["metadata"]["model"], CLAUDE);
    let request = seen.asked.first().expect("a request");
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
async fn anthropic_asks_for_a_tool_and_gets_its_result() {
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
    let asks: String = events.iter().map(line).collect();
    let server = ScriptServer::start(first(ServerBehavior::Events(asks))).await.expect("a server");
    let stand = ModelFixture::asking_anthropic(server.url()).expect("a stand");
    stand.asking_agent_with(AGENT, 60, 1_000, "tools: [\"native:calculator\"]\n").expect("a file");
    let seen = run(&stand, &server, CLAUDE).await;
    assert_eq!((seen.code, seen.asked.len()), (0, 2), "{:#}", seen.reply);
    let twice = json!({ "input": 2 * TOKENS_IN, "output": 2 * TOKENS_OUT });
    assert_eq!(seen.reply["metadata"]["tokens_used"], twice);
    assert_eq!(seen.asked[0].body["tools"][0]["name"], "calculator");
    let messages = &seen.asked[1].body["messages"];
    assert_eq!(messages[1]["content"][0]["type"], "tool_use", "{messages:#}");
    let result = &messages[2]["content"][0];
    assert_eq!((&result["type"], &result["tool_use_id"]), (&json!("tool_result"), &json!("toolu_1")), "{messages:#}");
    assert!(result["content"].to_string().contains("42"), "{messages:#}");
}

#[tokio::test]
async fn what_anthropic_does_once_is_made_up_for() {
    let busy = |line, headers| ServerBehavior::Status(line, headers);
    // What, whether nobody knows what it took, and what it takes at least.
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
    for (play, requests, estimated, took_ms) in cases {
        let name = format!("{play:?}");
        let seen = claude(first(play)).await;
        seen.expect_success(requests);
        assert_eq!(seen.is_estimated(), estimated, "{name}: {:#}", seen.reply);
        assert!(seen.reply["metadata"]["duration_ms"].as_u64() >= Some(took_ms), "{name}: {:#}", seen.reply);
        let key = seen.asked[0].key();
        assert!(seen.asked.iter().all(|asked| asked.key() == key), "{name}: one effect has one key");
    }
}

#[tokio::test]
async fn what_anthropic_cannot_do_has_its_code() {
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
    for (play, code, estimated) in cases {
        let name = format!("{play:?}");
        let seen = claude(move |_| play.clone()).await;
        seen.expect_failure("failed", code);
        assert_eq!(seen.is_estimated(), estimated, "{name}: {:#}", seen.reply);
    }
    let seen = claude_for(1, |_| ServerBehavior::Silence).await;
    seen.expect_failure("timed_out", "timed_out");
    assert!(seen.is_estimated(), "{:#}", seen.reply);
}

#[tokio::test]
async fn gemini_and_ollama_answer_by_a_table_of_the_configuration() {
    for (wire, line) in [
        ("gemini", "POST /v1/models/some-model:streamGenerateContent?alt=sse HTTP/1.1"),
        ("ollama", "POST /v1/api/chat HTTP/1.1"),
    ] {
        let seen = pod(wire, |_| ServerBehavior::Good).await;
        seen.expect_success(1);
        assert_eq!(seen.reply["metadata"]["model"], HOUSE, "{wire}");
        let request = &seen.asked[0];
        assert_eq!(request.line, line);
        let key = request.headers.get("x-goog-api-key").map(String::as_str);
        assert_eq!(key, (wire == "gemini").then_some(MODEL_KEY), "{wire}");
        assert!(request.body.to_string().contains("hello"), "{wire}");

        let seen = pod(wire, first(ServerBehavior::Status("429 Too Many Requests", "retry-after: 1\r\n"))).await;
        seen.expect_success(2);
        assert!(!seen.is_estimated(), "{wire}");
        let seen = pod(wire, first(ServerBehavior::Half)).await;
        seen.expect_success(2);
        assert!(seen.is_estimated(), "half an answer is none: {wire}: {:#}", seen.reply);
    }
}
