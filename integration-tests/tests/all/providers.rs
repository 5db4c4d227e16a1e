//! The real binary with a model server that is good, slow, failing once, or malformed: the call succeeds where
//! it can, otherwise it fails with a code, and its cost agrees with the usage that the server reports.

use std::time::Duration;

use greenroom_integration_tests::model_fixture::{MODEL_KEY, ModelFixture};
use greenroom_integration_tests::script_server::{
    RecordedRequest, ScriptServer, ServerBehavior, TOKENS_IN, TOKENS_OUT,
};
use greenroom_integration_tests::terminal::CommandOutput;
use serde_json::{Value, json};

const AGENT: &str = "llm_agent";

/// The output and reply of a command, and the requests that the server received.
struct CallOutcome {
    output: CommandOutput,
    reply: Value,
    requests: Vec<RecordedRequest>,
}

/// Runs the agent with a server that behaves as `script` decides.
async fn call_model(script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static) -> CallOutcome {
    call_model_within(60, script).await
}

/// Like [`call_model`], through an agent with a timeout of this many seconds.
async fn call_model_within(
    timeout_s: u32,
    script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static,
) -> CallOutcome {
    let server = ScriptServer::start(script).await.expect("a server");
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, timeout_s, 1_000).expect("a file");
    let output = fixture.terminal.run(&["run", "agent", AGENT, "--input", "text=hello"]).await.expect("an end");
    let reply = output.json().expect("a reply");
    CallOutcome { output, reply, requests: server.requests() }
}

/// Fails unless the call succeeded after this many requests, with the usage that the server reported.
#[track_caller]
fn expect_success(outcome: &CallOutcome, requests: usize) {
    let CallOutcome { output, reply, requests: received } = outcome;
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!((reply["status"].as_str(), reply["outputs"]["text"].as_str()), (Some("success"), Some("done")));
    assert_eq!(reply["metadata"]["tokens_used"], json!({ "input": TOKENS_IN, "output": TOKENS_OUT }));
    assert_eq!(reply["metadata"]["model"], "openai.scripted-model");
    assert_eq!(received.len(), requests, "{received:?}");
    let first_key = received.first().map(RecordedRequest::key);
    assert!(received.iter().all(|request| Some(request.key()) == first_key), "one effect has one key: {received:?}");
}

/// Fails unless the call ended with this status, this code and exit code 1.
#[track_caller]
fn expect_failure(outcome: &CallOutcome, status: &str, code: &str) {
    let CallOutcome { output, reply, .. } = outcome;
    assert_eq!((reply["status"].as_str(), reply["error"]["code"].as_str()), (Some(status), Some(code)), "{reply:#}");
    assert_eq!(output.code, 1, "{output:?}");
}

/// True if a part of the cost is estimated.
fn is_estimated(outcome: &CallOutcome) -> bool {
    outcome.reply["metadata"]["estimated"] == true
}

/// A script with this behavior for the first request only; later ones get a complete answer.
fn only_first(behavior: ServerBehavior) -> impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync {
    move |request| if request.number == 0 { behavior.clone() } else { ServerBehavior::Good }
}

#[tokio::test]
async fn a_complete_answer_has_the_usage_that_the_server_reports() {
    let outcome = call_model(|_| ServerBehavior::Good).await;
    expect_success(&outcome, 1);
    assert!(!is_estimated(&outcome), "{:#}", outcome.reply);
    let request = outcome.requests.first().expect("a request");
    assert_eq!(request.headers.get("authorization").map(String::as_str), Some(format!("Bearer {MODEL_KEY}").as_str()));
    assert_eq!((request.body["model"].as_str(), &request.body["stream"]), (Some("scripted-model"), &json!(true)));
    // A model without a price takes that of its tier: 3 and 15 dollars per million tokens.
    assert_eq!((TOKENS_IN * 3, TOKENS_OUT * 15), (3_000, 1_950));
    assert_eq!(outcome.reply["metadata"]["cost_usd"].as_f64(), Some(0.004_950));
}

#[tokio::test]
async fn a_slow_answer_is_awaited() {
    let outcome = call_model(|_| ServerBehavior::Slow(Duration::from_millis(400))).await;
    expect_success(&outcome, 1);
    assert!(outcome.reply["metadata"]["duration_ms"].as_u64() >= Some(800), "{:#}", outcome.reply);
}

#[tokio::test]
async fn an_overloaded_server_is_retried_after_the_time_that_it_gives() {
    let outcome = call_model(only_first(ServerBehavior::Status("429 Too Many Requests", "retry-after: 1\r\n"))).await;
    expect_success(&outcome, 2);
    assert!(outcome.reply["metadata"]["duration_ms"].as_u64() >= Some(1_000), "{:#}", outcome.reply);
    assert!(!is_estimated(&outcome), "a rejected request costs nothing: {:#}", outcome.reply);
}

#[tokio::test]
async fn a_failed_attempt_is_retried_and_settled_as_estimated() {
    let outcome = call_model(only_first(ServerBehavior::Status("500 Internal Server Error", ""))).await;
    expect_success(&outcome, 2);
    assert!(is_estimated(&outcome), "the usage of a failed attempt is unknown: {:#}", outcome.reply);
}

#[tokio::test]
async fn an_incomplete_stream_is_retried_and_settled_as_estimated() {
    let outcome = call_model(only_first(ServerBehavior::Half)).await;
    expect_success(&outcome, 2);
    assert!(is_estimated(&outcome), "{:#}", outcome.reply);
}

#[tokio::test]
async fn a_server_that_is_always_overloaded_fails_with_its_code() {
    let outcome = call_model(|_| ServerBehavior::Status("429 Too Many Requests", "retry-after: 0\r\n")).await;
    expect_failure(&outcome, "failed", "model_overloaded");
    assert_eq!(outcome.reply["metadata"]["tokens_used"], json!({ "input": 0, "output": 0 }));
    assert_eq!(outcome.reply["metadata"]["cost_usd"].as_f64(), Some(0.0), "{:#}", outcome.reply);
}

#[tokio::test]
async fn a_malformed_response_fails_with_a_code_and_is_settled_as_estimated() {
    let garbage = "data: <html>not an event</html>\n\n".to_owned();
    let wrong = format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": { "content": 7 } }] }));
    for events in [garbage, wrong] {
        let outcome = call_model(move |_| ServerBehavior::Events(events.clone())).await;
        expect_failure(&outcome, "failed", "model_failed");
        assert!(is_estimated(&outcome), "{:#}", outcome.reply);
        assert_eq!(outcome.reply["metadata"]["tokens_used"], json!({ "input": 0, "output": 0 }));
    }
}

#[tokio::test]
async fn a_stream_that_is_always_incomplete_fails_with_a_code() {
    let outcome = call_model(|_| ServerBehavior::Half).await;
    expect_failure(&outcome, "failed", "model_failed");
    assert!(is_estimated(&outcome), "{:#}", outcome.reply);
}

#[tokio::test]
async fn a_silent_server_ends_as_timed_out() {
    let outcome = call_model_within(1, |_| ServerBehavior::Silence).await;
    expect_failure(&outcome, "timed_out", "timed_out");
    assert!(is_estimated(&outcome), "{:#}", outcome.reply);
}

#[tokio::test]
async fn invalid_outputs_are_repaired_and_every_answer_is_counted() {
    let outcome = call_model(|request| {
        if request.number == 0 { ServerBehavior::Text("{\"other\":1}".to_owned()) } else { ServerBehavior::Good }
    })
    .await;
    assert_eq!(outcome.output.code, 0, "{:?}", outcome.output);
    let twice = json!({ "input": 2 * TOKENS_IN, "output": 2 * TOKENS_OUT });
    assert_eq!(outcome.reply["metadata"]["tokens_used"], twice);
    let keys: Vec<&str> = outcome.requests.iter().map(RecordedRequest::key).collect();
    assert!(
        matches!(keys.as_slice(), [first, second] if first != second),
        "a repair is another model request: {keys:?}"
    );
}

#[tokio::test]
async fn an_unreachable_server_fails_with_a_code_and_costs_nothing() {
    let fixture = ModelFixture::with_openai("http://127.0.0.1:1/v1").expect("a fixture");
    fixture.write_llm_agent(AGENT, 60, 1_000).expect("a file");
    let output = fixture.terminal.run(&["run", "agent", AGENT, "--input", "text=hello"]).await.expect("an end");
    let reply = output.json().expect("a reply");
    assert_eq!((output.code, reply["error"]["code"].as_str()), (1, Some("model_failed")), "{reply:#}");
    assert_eq!(reply["metadata"]["tokens_used"], json!({ "input": 0, "output": 0 }), "{reply:#}");
    assert_eq!(reply["metadata"]["cost_usd"].as_f64(), Some(0.0), "no byte was sent: {reply:#}");
    assert_eq!(reply["metadata"].get("estimated"), None, "{reply:#}");
}
