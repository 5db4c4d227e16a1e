//! The real binary against a server that answers well, slowly, once not at all, or nonsense: it
//! succeeds where it can, else it says why with a code, and the money is the server's own count.

use std::time::Duration;

use greenroom_integration_tests::model_fixture::{MODEL_KEY, ModelFixture};
use greenroom_integration_tests::script_server::{
    RecordedRequest, ScriptServer, ServerBehavior, TOKENS_IN, TOKENS_OUT, answer,
};
use greenroom_integration_tests::terminal::CommandOutput;
use serde_json::{Value, json};

const AGENT: &str = "asking_agent";

/// A command's answer, and what the server saw of it.
struct Seen {
    ended: CommandOutput,
    reply: Value,
    asked: Vec<RecordedRequest>,
}

/// Lets the agent ask a server that plays so.
async fn ask(script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static) -> Seen {
    ask_for(60, script).await
}

/// As [`ask`], by an agent that may take this many seconds.
async fn ask_for(timeout_s: u32, script: impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync + 'static) -> Seen {
    let server = ScriptServer::start(script).await.expect("a server");
    let stand = ModelFixture::asking(server.url()).expect("a stand");
    stand.asking_agent(AGENT, timeout_s, 1_000).expect("a file");
    let ended = stand.terminal.run(&["run", "agent", AGENT, "--input", "text=hello"]).await.expect("an end");
    let reply = ended.json().expect("a reply");
    Seen { ended, reply, asked: server.asked() }
}

/// It succeeded after this many requests, and the reply counts what the server counted.
#[track_caller]
fn expect_success(seen: &Seen, requests: usize) {
    let Seen { ended, reply, asked } = seen;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!((reply["status"].as_str(), reply["outputs"]["text"].as_str()), (Some("success"), Some("done")));
    assert_eq!(reply["metadata"]["tokens_used"], json!({ "input": TOKENS_IN, "output": TOKENS_OUT }));
    assert_eq!(reply["metadata"]["model"], "openai.scripted-model");
    assert_eq!(asked.len(), requests, "{asked:?}");
    let first = asked.first().map(RecordedRequest::key);
    assert!(asked.iter().all(|request| Some(request.key()) == first), "one effect has one key: {asked:?}");
}

/// It ended so, with this code, and exit code 1.
#[track_caller]
fn expect_failure(seen: &Seen, status: &str, code: &str) {
    let Seen { ended, reply, .. } = seen;
    assert_eq!((reply["status"].as_str(), reply["error"]["code"].as_str()), (Some(status), Some(code)), "{reply:#}");
    assert_eq!(ended.code, 1, "{ended:?}");
}

/// A part of the cost is a reservation.
fn is_estimated(seen: &Seen) -> bool {
    seen.reply["metadata"]["estimated"] == true
}

/// The scripted answer comes only from the second request on.
fn first(play: ServerBehavior) -> impl Fn(&RecordedRequest) -> ServerBehavior + Send + Sync {
    move |asked| if asked.number == 0 { play.clone() } else { ServerBehavior::Good }
}

#[tokio::test]
async fn a_good_answer_is_counted_as_the_server_counts() {
    let seen = ask(|_| ServerBehavior::Good).await;
    expect_success(&seen, 1);
    assert!(!is_estimated(&seen), "{:#}", seen.reply);
    let request = seen.asked.first().expect("a request");
    assert_eq!(request.headers.get("authorization").map(String::as_str), Some(format!("Bearer {MODEL_KEY}").as_str()));
    assert_eq!((request.body["model"].as_str(), &request.body["stream"]), (Some("scripted-model"), &json!(true)));
    // The standard tier's price stands in for a model that has none: 3 and 15 dollars a million.
    assert_eq!((TOKENS_IN * 3, TOKENS_OUT * 15), (3_000, 1_950));
    assert_eq!(seen.reply["metadata"]["cost_usd"].as_f64(), Some(0.004_950));
}

#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    let seen = ask(|_| ServerBehavior::Slow(Duration::from_millis(400))).await;
    expect_success(&seen, 1);
    assert!(seen.reply["metadata"]["duration_ms"].as_u64() >= Some(800), "{:#}", seen.reply);
}

#[tokio::test]
async fn a_server_that_is_busy_once_is_asked_again_when_it_says() {
    let seen = ask(first(ServerBehavior::Status("429 Too Many Requests", "retry-after: 1\r\n"))).await;
    expect_success(&seen, 2);
    assert!(seen.reply["metadata"]["duration_ms"].as_u64() >= Some(1_000), "{:#}", seen.reply);
    assert!(!is_estimated(&seen), "what was turned away costs nothing: {:#}", seen.reply);
}

#[tokio::test]
async fn a_server_that_fails_once_is_asked_again_and_the_first_attempt_is_an_estimate() {
    let seen = ask(first(ServerBehavior::Status("500 Internal Server Error", ""))).await;
    expect_success(&seen, 2);
    assert!(is_estimated(&seen), "nobody knows what a failed attempt took: {:#}", seen.reply);
}

#[tokio::test]
async fn half_a_stream_once_is_asked_again_and_the_first_attempt_is_an_estimate() {
    let seen = ask(first(ServerBehavior::Half)).await;
    expect_success(&seen, 2);
    assert!(is_estimated(&seen), "{:#}", seen.reply);
}

#[tokio::test]
async fn a_server_that_is_always_busy_fails_with_its_code() {
    let seen = ask(|_| ServerBehavior::Status("429 Too Many Requests", "retry-after: 0\r\n")).await;
    expect_failure(&seen, "failed", "model_overloaded");
    assert_eq!(seen.reply["metadata"]["tokens_used"], json!({ "input": 0, "output": 0 }));
    assert_eq!(seen.reply["metadata"]["cost_usd"].as_f64(), Some(0.0), "{:#}", seen.reply);
}

#[tokio::test]
async fn nonsense_fails_with_a_code_and_is_an_estimate() {
    let garbage = "data: <html>not an event</html>\n\n".to_owned();
    let wrong = format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": { "content": 7 } }] }));
    for events in [garbage, wrong] {
        let seen = ask(move |_| ServerBehavior::Events(events.clone())).await;
        expect_failure(&seen, "failed", "model_failed");
        assert!(is_estimated(&seen), "{:#}", seen.reply);
        assert_eq!(seen.reply["metadata"]["tokens_used"], json!({ "input": 0, "output": 0 }));
    }
}

#[tokio::test]
async fn half_a_stream_every_time_fails_with_a_code() {
    let seen = ask(|_| ServerBehavior::Half).await;
    expect_failure(&seen, "failed", "model_failed");
    assert!(is_estimated(&seen), "{:#}", seen.reply);
}

#[tokio::test]
async fn silence_ends_as_timed_out() {
    let seen = ask_for(1, |_| ServerBehavior::Silence).await;
    expect_failure(&seen, "timed_out", "timed_out");
    assert!(is_estimated(&seen), "{:#}", seen.reply);
}

#[tokio::test]
async fn outputs_that_do_not_fit_are_repaired_and_each_answer_is_counted() {
    let seen = ask(|asked| if asked.number == 0 { answer("{\"other\":1}") } else { ServerBehavior::Good }).await;
    assert_eq!(seen.ended.code, 0, "{:?}", seen.ended);
    let twice = json!({ "input": 2 * TOKENS_IN, "output": 2 * TOKENS_OUT });
    assert_eq!(seen.reply["metadata"]["tokens_used"], twice);
    let keys: Vec<&str> = seen.asked.iter().map(RecordedRequest::key).collect();
    assert!(matches!(keys.as_slice(), [first, second] if first != second), "a repair is another question: {keys:?}");
}

#[tokio::test]
async fn nobody_there_fails_with_a_code_and_costs_nothing() {
    let stand = ModelFixture::asking("http://127.0.0.1:1/v1").expect("a stand");
    stand.asking_agent(AGENT, 60, 1_000).expect("a file");
    let ended = stand.terminal.run(&["run", "agent", AGENT, "--input", "text=hello"]).await.expect("an end");
    let reply = ended.json().expect("a reply");
    assert_eq!((ended.code, reply["error"]["code"].as_str()), (1, Some("model_failed")), "{reply:#}");
    assert_eq!(reply["metadata"]["tokens_used"], json!({ "input": 0, "output": 0 }), "{reply:#}");
    assert_eq!(reply["metadata"]["cost_usd"].as_f64(), Some(0.0), "no byte was sent: {reply:#}");
    assert_eq!(reply["metadata"].get("estimated"), None, "{reply:#}");
}
