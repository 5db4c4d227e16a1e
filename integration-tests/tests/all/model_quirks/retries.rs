//! When a server is called again: after the delay that it gives, within the time that is left, and not more often than
//! one budget allows.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};

use super::{AGENT, CallOutcome, call_agent};

const RETRY: &str = "retry: { max_attempts: 3, backoff: exponential, delay: 0.05, max_delay: 0.1 }\n";
const OVERLOADED: &str = "429 Too Many Requests";

#[tokio::test]
async fn a_delay_that_is_none_or_has_passed_is_replaced_by_a_growing_one() {
    for headers in [
        "retry-after: 0\r\n",
        "retry-after: -5\r\n",
        "retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n",
        "retry-after-ms: 250\r\n",
    ] {
        let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let recorded = Arc::clone(&times);
        let outcome = call_agent("", move |request: &RecordedRequest| {
            recorded.lock().expect("no panic").push(Instant::now());
            if request.number < 2 { ServerBehavior::Status(OVERLOADED, headers) } else { ServerBehavior::Good }
        })
        .await;
        outcome.expect_text("done");
        let times = times.lock().expect("no panic").clone();
        assert_eq!(times.len(), 3, "{headers}");
        let (first, second) = (times[1] - times[0], times[2] - times[1]);
        assert!(first >= Duration::from_millis(500) && second >= Duration::from_secs(1), "{first:?} {second:?}");
    }
}

#[tokio::test]
async fn a_delay_longer_than_the_time_left_is_an_error_at_once() {
    let started_at = Instant::now();
    let outcome = call_agent(RETRY, |_| ServerBehavior::Status(OVERLOADED, "retry-after: 3600\r\n")).await;
    let error = &outcome.reply["error"];
    assert_eq!((error["code"].as_str(), outcome.requests.len()), (Some("model_overloaded"), 1), "{error:#}");
    let after = error["retry_after_ms"].as_u64().expect("a delay");
    assert!((3_590_000..=3_600_000).contains(&after), "{after}");
    assert!(started_at.elapsed() < Duration::from_secs(30), "the agent's timeout is 60 s");
}

/// The code of the failure and the number of requests.
fn failure(outcome: &CallOutcome) -> (&str, usize) {
    (outcome.reply["error"]["code"].as_str().expect("a code"), outcome.requests.len())
}

#[tokio::test]
async fn retries_of_a_request_do_not_multiply() {
    let failing = |_: &RecordedRequest| ServerBehavior::Status("500 Internal Server Error", "");
    let prose = |_: &RecordedRequest| ServerBehavior::Text("Prose.".to_owned());
    let incomplete = |_: &RecordedRequest| ServerBehavior::Half;
    for members in ["", RETRY] {
        assert_eq!(failure(&call_agent(members, failing).await), ("model_failed", 3));
        assert_eq!(failure(&call_agent(members, prose).await), ("invalid_output", 3));
    }
    assert_eq!(failure(&call_agent("", incomplete).await), ("model_failed", 2));
    assert_eq!(failure(&call_agent(RETRY, incomplete).await), ("model_failed", 3));
}

#[tokio::test]
async fn the_timeout_of_a_step_is_part_of_the_time_left() {
    let server =
        ScriptServer::start(|_| ServerBehavior::Status(OVERLOADED, "retry-after: 20\r\n")).await.expect("a server");
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, 60, 1_000).expect("a file");
    let workflow = format!(
        "workflow_id: one_step\nname: one_step\ndescription: Calls a model\nversion: \"1.0.0\"\n\
         inputs:\n  - name: text\n    type: text\n    required: true\nsteps:\n  - id: call\n    agent: {AGENT}\n    timeout: 10\n\
         \x20   inputs:\n      text: \"${{inputs.text}}\"\n    outputs: [text]\n"
    );
    fixture.definitions.write_workflow("one_step", &workflow).expect("a workflow");
    let run = ["run", "workflow", "one_step", "--input", "text=hello"];
    let error = fixture.terminal.run(&run).await.expect("an end").expect_error(1).expect("an error");
    assert_eq!((error["code"].as_str(), server.count()), (Some("model_overloaded"), 1), "{error:#}");
}
