//! `kill -9` at every point of a run: the next start goes on where the journal ends, no step whose
//! result is recorded is done again, and one that was in flight is asked for under the same key.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};
use greenroom_integration_tests::wait;
use greenroom_protocol::event::RunEventKind;
use greenroom_protocol::{Json, RunId, Values, WorkflowId};
use serde_json::Value;

const AGENT: &str = "asking_agent";
const WORKFLOW: &str = "asking_in_a_row";
/// Nothing that is waited for here takes this long.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A stand with a workflow of this many steps, each of which asks the server once.
fn stand(server: &ScriptServer, steps: usize) -> ModelFixture {
    let stand = ModelFixture::asking(server.url()).expect("a stand");
    stand.asking_agent(AGENT, 120, 100).expect("an agent's file");
    stand.definitions.row_workflow(WORKFLOW, AGENT, steps).expect("a workflow's file");
    stand
}

/// Starts a run and does not wait for it.
async fn begin(client: &Client) -> RunId {
    let inputs = Values::from([("text".to_owned(), Json::from("hello"))]);
    let work = CallParams { inputs, detach: true, ..CallParams::default() };
    let reply = client.run_workflow(WorkflowId::new(WORKFLOW).expect("a name"), work).await.expect("an answer");
    assert!(reply.error.is_none(), "{:?}", reply.error);
    RunId::new(reply.id).expect("the reply names the run")
}

/// The whole state of a run, with its events.
async fn shown(stand: &ModelFixture, run: &RunId) -> Value {
    stand.terminal.run(&["runs", "show", run.as_str()]).await.expect("an end").json().expect("a document")
}

/// Steps that the events say were done, in order.
fn done(shown: &Value) -> Vec<String> {
    let events = shown["events"].as_array().expect("events");
    let ended = events.iter().filter(|event| event["event"] == "step_ended" && event["state"] == "done");
    ended.map(|event| event["step"].as_str().expect("a step").to_owned()).collect()
}

/// Every command that reads the chain finds it whole.
async fn expect_audit_holds(stand: &ModelFixture) {
    let ended = stand.terminal.run(&["audit", "verify"]).await.expect("an end");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.json().expect("a document")["holds"], true, "{ended:?}");
}

#[tokio::test]
async fn a_run_that_was_killed_ends_well_and_no_recorded_step_is_done_again() {
    const STEPS: usize = 4;
    const BUSY: usize = 2;
    let server =
        ScriptServer::start(|asked| if asked.number == BUSY { ServerBehavior::Silence } else { ServerBehavior::Good })
            .await;
    let server = server.expect("a server");
    let stand = stand(&server, STEPS);
    let words = ["run", "workflow", WORKFLOW, "--input", "text=hello"];
    let process = stand.terminal.start(&words).expect("a run");
    let seen = || async { (server.count() > BUSY).then_some(()) };
    wait::until("the third step is in flight", WAIT_MAX, seen).await.expect("a request");
    drop(process);

    let resumed = stand.terminal.run(&["runs", "resume"]).await.expect("an end");
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(resumed.json().expect("a report")["resumed"], 1, "{resumed:?}");
    let asked = server.asked();
    let keys: Vec<&str> = asked.iter().map(RecordedRequest::key).collect();
    assert_eq!(keys.len(), STEPS + 1, "one request was in flight: {keys:?}");
    assert_eq!(keys[BUSY], keys[BUSY + 1], "what was in flight is asked for under its own key: {keys:?}");
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), STEPS, "{keys:?}");
    assert!(server.answered().values().all(|answers| *answers == 1), "{:?}", server.answered());
    let again = stand.terminal.run(&["runs", "resume"]).await.expect("an end");
    assert_eq!(again.json().expect("a report")["resumed"], 0, "an ended run is left alone: {again:?}");
    expect_audit_holds(&stand).await;
}

/// Kills the process as soon as a run has shown this many events; answers false if it ended before.
async fn kill_after_events(stand: &ModelFixture, events: usize) -> (RunId, bool) {
    let (process, client) = stand.up().await.expect("a process");
    let run = begin(&client).await;
    let mut watch = client.watch(&run, 0);
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
    let stand = stand(&server, STEPS);
    let mut points = 0;
    loop {
        points += 1;
        let asked_before = server.count();
        let (run, has_ended) = kill_after_events(&stand, points).await;
        let recorded = done(&shown(&stand, &run).await);
        let asked_when_killed = server.count();
        let resumed = stand.terminal.run(&["runs", "resume"]).await.expect("an end");
        assert_eq!(resumed.code, 0, "point {points}: {resumed:?}");
        let shown = shown(&stand, &run).await;
        assert_eq!(shown["run"]["state"], "success", "point {points}: {shown:#}");
        assert_eq!(done(&shown), ["step_0", "step_1"], "each step is done once, point {points}: {shown:#}");
        let asked_again = server.count() - asked_when_killed;
        assert_eq!(asked_again, STEPS - recorded.len(), "point {points}: {recorded:?} were done already");
        let asked = server.asked().split_off(asked_before);
        let keys: BTreeSet<&str> = asked.iter().map(RecordedRequest::key).collect();
        assert_eq!(keys.len(), STEPS, "point {points}: a step has one key, whoever asks: {keys:?}");
        if has_ended {
            break;
        }
    }
    assert!(points >= 2 + 2 * STEPS, "a run of {STEPS} steps shows at least its steps: {points}");
    expect_audit_holds(&stand).await;
}

#[tokio::test]
async fn a_kill_at_each_call_of_the_model_is_made_good_by_one_call_more() {
    const STEPS: usize = 3;
    let held = Arc::new(AtomicUsize::new(0));
    let hold = Arc::clone(&held);
    let server = ScriptServer::start(move |asked| match asked.number == hold.load(Ordering::SeqCst) {
        true => ServerBehavior::Silence,
        false => ServerBehavior::Good,
    });
    let server = server.await.expect("a server");
    let stand = stand(&server, STEPS);
    for point in 0..STEPS {
        let before = server.count();
        held.store(before + point, Ordering::SeqCst);
        let words = ["run", "workflow", WORKFLOW, "--input", "text=hello"];
        let process = stand.terminal.start(&words).expect("a run");
        let seen = || async { (server.count() > before + point).then_some(()) };
        wait::until("the step is in flight", WAIT_MAX, seen).await.expect("a request");
        drop(process);
        let resumed = stand.terminal.run(&["runs", "resume"]).await.expect("an end");
        assert_eq!(resumed.code, 0, "call {point}: {resumed:?}");
        assert_eq!(server.count() - before, STEPS + 1, "call {point}: only the one in flight is made again");
    }
    assert!(server.answered().values().all(|answers| *answers == 1), "{:?}", server.answered());
}

/// Runs in flight when the plug is pulled.
const ITEMS: usize = 1_000;
/// Of them, those whose first step is done by then.
const AHEAD: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_runs_in_flight_all_end_and_none_is_done_twice() {
    let has_crashed = Arc::new(AtomicBool::new(false));
    let after = Arc::clone(&has_crashed);
    let ahead = AtomicUsize::new(0);
    let server = ScriptServer::start(move |asked| {
        let is_first_step = asked.body.to_string().contains("hello");
        let is_ahead = is_first_step && ahead.fetch_add(1, Ordering::SeqCst) < AHEAD;
        if is_ahead || after.load(Ordering::SeqCst) { ServerBehavior::Good } else { ServerBehavior::Silence }
    });
    let server = server.await.expect("a server");
    let stand = stand(&server, 2);
    let (process, client) = stand.up().await.expect("a process");
    let begun = futures::stream::iter(0..ITEMS).map(|_| begin(&client)).buffer_unordered(64);
    let runs: BTreeSet<RunId> = begun.collect().await;
    assert_eq!(runs.len(), ITEMS);
    let seen = || async { (server.count() == ITEMS + AHEAD).then_some(()) };
    let waited = wait::until("every run is in flight", WAIT_MAX, seen).await;
    assert!(waited.is_ok(), "{} requests came", server.count());
    drop(process);
    has_crashed.store(true, Ordering::SeqCst);

    let resumed = stand.terminal.run(&["runs", "resume"]).await.expect("an end");
    let report = resumed.json().expect("a report");
    let figures = (report["resumed"].as_u64(), report["failed"].as_u64(), report["left"].as_u64());
    assert_eq!((resumed.code, figures), (0, (Some(1_000), Some(0), Some(0))), "{}", resumed.err);
    let ended = report["runs"].as_array().expect("the runs");
    assert!(ended.iter().all(|run| run["status"] == "success"), "{report:#}");
    let ids: BTreeSet<&str> = ended.iter().filter_map(|run| run["run_id"].as_str()).collect();
    assert_eq!(ids, runs.iter().map(RunId::as_str).collect(), "every run that was accepted has ended");
    let answered = server.answered();
    assert_eq!(answered.len(), 2 * ITEMS);
    assert!(answered.values().all(|answers| *answers == 1), "no step was answered twice");
    assert_eq!(server.count(), 2 * ITEMS + ITEMS, "one call of each run was in flight");
    expect_audit_holds(&stand).await;
}
