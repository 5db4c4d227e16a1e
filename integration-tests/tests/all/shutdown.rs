//! Early ends release every resource: a cancelled run, a run whose deadline passes between two of its steps,
//! and a process that is terminated under load.

use std::time::Duration;

use futures::future::join_all;
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::RunningCommand;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{AgentId, Clock, Deadline, ErrorCode, Json, Reply, RunId, Status, Values, WorkflowId};
use greenroom_supervisor::clock::WallClock;

const AGENT: &str = "llm_agent";
const ONE_CALL: &str = "one_call";
const THREE_CALLS: &str = "three_calls";
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A model that is silent for the word `hold`, slow for the word `slow`, and answers everything else at once.
fn behavior_of(request: &RecordedRequest) -> ServerBehavior {
    let body = request.body.to_string();
    match () {
        () if body.contains("hold") => ServerBehavior::Silence,
        // The output of a step is the input of the next one.
        () if body.contains("slow") || body.contains("\"done\"") => ServerBehavior::Slow(Duration::from_millis(400)),
        () => ServerBehavior::Good,
    }
}

async fn server() -> ScriptServer {
    ScriptServer::start(behavior_of).await.expect("a server")
}

fn fixture(server: &ScriptServer) -> ModelFixture {
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, 60, 200).expect("an agent's file");
    for (workflow, steps) in [(ONE_CALL, 1), (THREE_CALLS, 3)] {
        fixture.definitions.write_row_workflow(workflow, AGENT, steps).expect("a workflow's file");
    }
    fixture
}

fn params(text: &str) -> CallParams {
    CallParams { inputs: Values::from([("text".to_owned(), Json::from(text))]), ..CallParams::default() }
}

async fn call_agent(client: &Client, text: &str) -> Reply {
    client.run_agent(AgentId::new(AGENT).expect("a name"), params(text)).await.expect("a reply")
}

async fn run_workflow(client: &Client, workflow: &str, text: &str) -> Reply {
    client.run_workflow(WorkflowId::new(workflow).expect("a name"), params(text)).await.expect("a reply")
}

async fn start_detached(client: &Client, workflow: &str, text: &str) -> RunId {
    let params = CallParams { detach: true, ..params(text) };
    let accepted = client.run_workflow(WorkflowId::new(workflow).expect("a name"), params).await.expect("a reply");
    assert!(accepted.error.is_none(), "{:?}", accepted.error);
    RunId::new(accepted.id).expect("the reply names the run")
}

/// Waits until this many connections to the model are open.
async fn wait_for_connections(server: &ScriptServer, wanted: usize) {
    let has_count = || async { (server.open() == wanted).then_some(()) };
    wait_until("connections to the model", WAIT_MAX, has_count).await.expect("the connections");
}

#[tokio::test]
async fn a_cancelled_run_releases_its_ticket_its_reservation_and_its_connection() {
    let server = server().await;
    let mut fixture = fixture(&server);
    fixture.terminal.set_variable("GREENROOM_ADMISSION_MAX_IN_FLIGHT", "2");
    let (process, client) = fixture.up().await.expect("a process");
    let run = start_detached(&client, ONE_CALL, "hold").await;
    wait_for_connections(&server, 1).await;
    assert_eq!(client.cancel(run.clone()).await.expect("a reply").error, None);
    wait_for_connections(&server, 0).await;
    let has_ended = || async {
        let report = client.run_record(run.clone()).await.ok()?;
        (report.outputs["run"]["status"] == "cancelled").then_some(())
    };
    wait_until("the run has ended", WAIT_MAX, has_ended).await.expect("an end");
    let settled = || async {
        let costs = client.costs(None).await.ok()?;
        (costs.outputs["costs"][0]["calls_estimated"] == 1).then_some(())
    };
    wait_until("the reservation is settled", WAIT_MAX, settled).await.expect("a settlement");
    let (one, other) = tokio::join!(call_agent(&client, "hello"), call_agent(&client, "hello"));
    assert_eq!((one.status, other.status), (Status::Success, Status::Success), "both tickets are free");
    process.terminate().expect("a signal");
    assert_eq!(process.wait().await.expect("an end").code, 0, "the drain has nothing to wait for");
}

#[tokio::test]
async fn a_run_whose_deadline_passes_between_steps_starts_no_further_step() {
    let server = server().await;
    let fixture = fixture(&server);
    let (process, client) = fixture.up().await.expect("a process");
    // A step takes 0.8 s: the deadline passes during the second one.
    let deadline = Deadline::after(WallClock.now(), Duration::from_millis(1_300));
    let call = client.workflow(THREE_CALLS).params(params("slow")).deadline(deadline);
    let reply = call.send().await.expect("a reply");
    assert_eq!(reply.status, Status::TimedOut, "{:?}", reply.error);
    wait_for_connections(&server, 0).await;
    let steps_started = server.count();
    assert!((1..=2).contains(&steps_started), "{steps_started} steps were started");
    assert_eq!(call_agent(&client, "hello").await.status, Status::Success);
    assert_eq!(server.count(), steps_started + 1, "the third step was never started");
    drop(process);
}

/// True once a request is rejected as shutting down, with a time to retry.
async fn rejected(client: &Client) -> Option<()> {
    let cause = call_agent(client, "too late").await.error?;
    (cause.code == ErrorCode::ShuttingDown && cause.retry_after_ms.is_some()).then_some(())
}

#[tokio::test]
async fn a_terminated_process_finishes_its_requests_and_rejects_new_ones() {
    const MANY: usize = 12;
    let server = server().await;
    let fixture = fixture(&server);
    let (process, client) = fixture.up().await.expect("a process");
    let load = join_all((0..MANY).map(|_| run_workflow(&client, ONE_CALL, "slow")));
    let ending = async {
        wait_for_connections(&server, MANY).await;
        process.terminate().expect("a signal");
        wait_until("new requests are rejected", WAIT_MAX, || rejected(&client)).await.expect("a rejection");
    };
    let (replies, ()) = tokio::join!(load, ending);
    assert!(replies.iter().all(|reply| reply.status == Status::Success), "{replies:?}");
    assert_eq!(process.wait().await.expect("an end").code, 0);
    expect_runs(&fixture, MANY, 0).await;
}

/// Terminates a process that cannot drain, and returns it once it rejects new requests.
async fn start_stuck_drain(server: &ScriptServer, fixture: &ModelFixture) -> (RunningCommand, RunId) {
    let (process, client) = fixture.up().await.expect("a process");
    let silent_run = start_detached(&client, ONE_CALL, "hold").await;
    let silent_call = call_agent(&client, "hold");
    let ending = async {
        wait_for_connections(server, 2).await;
        process.terminate().expect("a signal");
        wait_until("new requests are rejected", WAIT_MAX, || rejected(&client)).await.expect("a rejection");
    };
    tokio::select! {
        reply = silent_call => panic!("the model is silent: {reply:?}"),
        () = ending => {}
    }
    (process, silent_run)
}

#[tokio::test]
async fn a_second_signal_or_the_drain_timeout_ends_the_process_and_loses_nothing() {
    for drain_s in ["600", "1"] {
        let server = server().await;
        let mut fixture = fixture(&server);
        fixture.terminal.set_variable("GREENROOM_DRAIN_TIMEOUT_S", drain_s);
        let (process, run) = start_stuck_drain(&server, &fixture).await;
        if drain_s == "600" {
            process.terminate().expect("a second signal");
        }
        // The bound of this wait is shorter than the drain timeout of ten minutes.
        process.wait_or_kill().await.expect("an end");
        wait_for_connections(&server, 0).await;
        let (process, client) = fixture.up().await.expect("another process");
        wait_for_connections(&server, 1).await;
        assert_eq!(client.cancel(run).await.expect("a reply").error, None, "the run was recovered");
        wait_for_connections(&server, 0).await;
        process.terminate().expect("a signal");
        assert_eq!(process.wait().await.expect("an end").code, 0);
        expect_runs(&fixture, 0, 1).await;
    }
}

/// Fails unless the store has exactly this many succeeded and cancelled runs, and the audit is valid.
async fn expect_runs(fixture: &ModelFixture, succeeded: usize, cancelled: usize) {
    let page = fixture.terminal.run(&["runs", "list"]).await.expect("an end").json().expect("a document");
    let runs = page["runs"].as_array().expect("runs");
    let count = |state: &str| runs.iter().filter(|run| run["status"] == state).count();
    assert_eq!(
        (count("success"), count("cancelled"), runs.len()),
        (succeeded, cancelled, succeeded + cancelled),
        "{page:#}"
    );
    let verified = fixture.terminal.run(&["audit", "verify"]).await.expect("an end").json().expect("a document");
    assert_eq!(verified["valid"], true, "{verified:#}");
}
