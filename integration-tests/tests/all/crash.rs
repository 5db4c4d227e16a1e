//! `kill -9` at every point of a run: the next process resumes where the journal ends, repeats no step whose
//! result is recorded, and repeats a call that was in flight with the same idempotency key.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};
use greenroom_integration_tests::wait;
use greenroom_protocol::event::{EventNumber, RunEventKind};
use greenroom_protocol::{Json, RunId, Values, WorkflowId};
use serde_json::Value;

const AGENT: &str = "llm_agent";
const WORKFLOW: &str = "calls_in_a_row";
/// Bound of every wait in this file; no wait reaches it unless something hangs.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A fixture with a workflow of this many steps, each of which calls the model once.
fn fixture(server: &ScriptServer, steps: usize) -> ModelFixture {
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, 120, 100).expect("an agent's file");
    fixture.definitions.write_row_workflow(WORKFLOW, AGENT, steps).expect("a workflow's file");
    fixture
}

/// Starts a detached run.
async fn start_run(client: &Client) -> RunId {
    let inputs = Values::from([("text".to_owned(), Json::from("hello"))]);
    let params = CallParams { inputs, detach: true, ..CallParams::default() };
    let reply = client.run_workflow(WorkflowId::new(WORKFLOW).expect("a name"), params).await.expect("a reply");
    assert!(reply.error.is_none(), "{:?}", reply.error);
    RunId::new(reply.id).expect("the reply names the run")
}

/// The report of a run, with its events.
async fn run_report(fixture: &ModelFixture, run: &RunId) -> Value {
    fixture.terminal.run(&["runs", "show", run.as_str()]).await.expect("an end").json().expect("a document")
}

/// Steps that are done according to the events, in order.
fn done_steps(run_report: &Value) -> Vec<String> {
    let events = run_report["events"].as_array().expect("events");
    let output = events.iter().filter(|event| event["event"] == "step_ended" && event["status"] == "done");
    output.map(|event| event["step"].as_str().expect("a step").to_owned()).collect()
}

/// Fails unless the audit's hash chain is valid.
async fn expect_audit_holds(fixture: &ModelFixture) {
    let output = fixture.terminal.run(&["audit", "verify"]).await.expect("an end");
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.json().expect("a document")["valid"], true, "{output:?}");
}

#[tokio::test]
async fn a_killed_run_succeeds_after_resuming_and_repeats_no_recorded_step() {
    const STEPS: usize = 4;
    const BUSY: usize = 2;
    let server =
        ScriptServer::start(
            |request| if request.number == BUSY { ServerBehavior::Silence } else { ServerBehavior::Good },
        )
        .await;
    let server = server.expect("a server");
    let fixture = fixture(&server, STEPS);
    let arguments = ["run", "workflow", WORKFLOW, "--input", "text=hello"];
    let process = fixture.terminal.start(&arguments).expect("a run");
    let is_in_flight = || async { (server.count() > BUSY).then_some(()) };
    wait::wait_until("the third step is in flight", WAIT_MAX, is_in_flight).await.expect("a request");
    drop(process);

    let resumed = fixture.terminal.run(&["runs", "resume"]).await.expect("an end");
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(resumed.json().expect("a report")["resumed"], 1, "{resumed:?}");
    let requests = server.requests();
    let keys: Vec<&str> = requests.iter().map(RecordedRequest::key).collect();
    assert_eq!(keys.len(), STEPS + 1, "one request was in flight: {keys:?}");
    assert_eq!(keys[BUSY], keys[BUSY + 1], "the call in flight is repeated with its key: {keys:?}");
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), STEPS, "{keys:?}");
    assert!(server.answers_sent().values().all(|count| *count == 1), "{:?}", server.answers_sent());
    let second = fixture.terminal.run(&["runs", "resume"]).await.expect("an end");
    assert_eq!(second.json().expect("a report")["resumed"], 0, "an ended run is not resumed: {second:?}");
    expect_audit_holds(&fixture).await;
}

/// Kills the process after this many events of a run, and returns whether the run had ended before.
async fn kill_after_events(fixture: &ModelFixture, events: usize) -> (RunId, bool) {
    let (process, client) = fixture.up().await.expect("a process");
    let run = start_run(&client).await;
    let mut watch = client.watch(&run, EventNumber::START);
    let mut has_ended = false;
    for _ in 0..events {
        let Some(Ok(event)) = watch.next().await else { break };
        has_ended |= matches!(event.kind, RunEventKind::RunEnded { .. });
    }
    drop(process);
    (run, has_ended)
}

#[tokio::test]
async fn a_kill_after_each_journal_entry_loses_nothing_and_repeats_nothing_recorded() {
    const STEPS: usize = 2;
    let server = ScriptServer::start(|_| ServerBehavior::Slow(Duration::from_millis(5))).await.expect("a server");
    let fixture = fixture(&server, STEPS);
    let mut points = 0;
    loop {
        points += 1;
        let requests_before = server.count();
        let (run, has_ended) = kill_after_events(&fixture, points).await;
        let recorded = done_steps(&run_report(&fixture, &run).await);
        let requests_at_kill = server.count();
        let resumed = fixture.terminal.run(&["runs", "resume"]).await.expect("an end");
        assert_eq!(resumed.code, 0, "point {points}: {resumed:?}");
        let run_report = run_report(&fixture, &run).await;
        assert_eq!(run_report["run"]["status"], "success", "point {points}: {run_report:#}");
        assert_eq!(
            done_steps(&run_report),
            ["step_0", "step_1"],
            "each step is done once, point {points}: {run_report:#}"
        );
        let repeated = server.count() - requests_at_kill;
        assert_eq!(repeated, STEPS - recorded.len(), "point {points}: {recorded:?} were done already");
        let requests = server.requests().split_off(requests_before);
        let keys: BTreeSet<&str> = requests.iter().map(RecordedRequest::key).collect();
        assert_eq!(keys.len(), STEPS, "point {points}: a step has one key in every process: {keys:?}");
        if has_ended {
            break;
        }
    }
    assert!(points >= 2 + 2 * STEPS, "a run of {STEPS} steps has at least the events of its steps: {points}");
    expect_audit_holds(&fixture).await;
}

#[tokio::test]
async fn a_kill_at_each_model_call_costs_one_further_call() {
    const STEPS: usize = 3;
    let silent_request = Arc::new(AtomicUsize::new(0));
    let silent_in_script = Arc::clone(&silent_request);
    let server = ScriptServer::start(move |request| match request.number == silent_in_script.load(Ordering::SeqCst) {
        true => ServerBehavior::Silence,
        false => ServerBehavior::Good,
    });
    let server = server.await.expect("a server");
    let fixture = fixture(&server, STEPS);
    for point in 0..STEPS {
        let before = server.count();
        silent_request.store(before + point, Ordering::SeqCst);
        let arguments = ["run", "workflow", WORKFLOW, "--input", "text=hello"];
        let process = fixture.terminal.start(&arguments).expect("a run");
        let is_in_flight = || async { (server.count() > before + point).then_some(()) };
        wait::wait_until("the step is in flight", WAIT_MAX, is_in_flight).await.expect("a request");
        drop(process);
        let resumed = fixture.terminal.run(&["runs", "resume"]).await.expect("an end");
        assert_eq!(resumed.code, 0, "call {point}: {resumed:?}");
        assert_eq!(server.count() - before, STEPS + 1, "call {point}: only the call in flight is repeated");
    }
    assert!(server.answers_sent().values().all(|count| *count == 1), "{:?}", server.answers_sent());
}

/// Runs in flight when the process is killed.
const ITEMS: usize = 1_000;
/// Number of runs whose first step is done by then.
const FIRST_STEPS_DONE: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_runs_in_flight_all_end_and_no_step_is_done_twice() {
    let has_crashed = Arc::new(AtomicBool::new(false));
    let has_crashed_in_script = Arc::clone(&has_crashed);
    let first_steps = AtomicUsize::new(0);
    let server = ScriptServer::start(move |request| {
        let is_first_step = request.body.to_string().contains("hello");
        let is_done_first = is_first_step && first_steps.fetch_add(1, Ordering::SeqCst) < FIRST_STEPS_DONE;
        if is_done_first || has_crashed_in_script.load(Ordering::SeqCst) {
            ServerBehavior::Good
        } else {
            ServerBehavior::Silence
        }
    });
    let server = server.await.expect("a server");
    let fixture = fixture(&server, 2);
    let (process, client) = fixture.up().await.expect("a process");
    let started = futures::stream::iter(0..ITEMS).map(|_| start_run(&client)).buffer_unordered(64);
    let runs: BTreeSet<RunId> = started.collect().await;
    assert_eq!(runs.len(), ITEMS);
    let is_in_flight = || async { (server.count() == ITEMS + FIRST_STEPS_DONE).then_some(()) };
    let waited = wait::wait_until("every run is in flight", WAIT_MAX, is_in_flight).await;
    assert!(waited.is_ok(), "{} requests were received", server.count());
    drop(process);
    has_crashed.store(true, Ordering::SeqCst);

    let resumed = fixture.terminal.run(&["runs", "resume"]).await.expect("an end");
    let report = resumed.json().expect("a report");
    let counts = (report["resumed"].as_u64(), report["failed"].as_u64(), report["deferred"].as_u64());
    assert_eq!((resumed.code, counts), (0, (Some(1_000), Some(0), Some(0))), "{}", resumed.err);
    let output = report["runs"].as_array().expect("the runs");
    assert!(output.iter().all(|run| run["status"] == "success"), "{report:#}");
    let ids: BTreeSet<&str> = output.iter().filter_map(|run| run["run_id"].as_str()).collect();
    assert_eq!(ids, runs.iter().map(RunId::as_str).collect(), "every run that was accepted has ended");
    let answers = server.answers_sent();
    assert_eq!(answers.len(), 2 * ITEMS);
    assert!(answers.values().all(|count| *count == 1), "no step has two answers");
    assert_eq!(server.count(), 2 * ITEMS + ITEMS, "one call of each run was in flight");
    expect_audit_holds(&fixture).await;
}
