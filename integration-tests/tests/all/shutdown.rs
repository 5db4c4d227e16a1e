//! What ends early gives everything back: a cancelled run, a run whose deadline passes between two of
//! its steps, and a process that is asked to end under load.

use std::time::Duration;

use futures::future::join_all;
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::RunningCommand;
use greenroom_integration_tests::wait::until;
use greenroom_protocol::{AgentId, Clock, Deadline, ErrorCode, Json, Reply, RunId, Status, Values, WorkflowId};
use greenroom_supervisor::clock::WallClock;

const AGENT: &str = "asking_agent";
const ONCE: &str = "asking_once";
const THRICE: &str = "asking_thrice";
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A model that is silent to the word `hold`, slow to the word `slow`, and answers all else at once.
fn script(asked: &RecordedRequest) -> ServerBehavior {
    let said = asked.body.to_string();
    match () {
        () if said.contains("hold") => ServerBehavior::Silence,
        // What a step has answered is what the next one is asked.
        () if said.contains("slow") || said.contains("\"done\"") => ServerBehavior::Slow(Duration::from_millis(400)),
        () => ServerBehavior::Good,
    }
}

async fn server() -> ScriptServer {
    ScriptServer::start(script).await.expect("a server")
}

fn stand(server: &ScriptServer) -> ModelFixture {
    let stand = ModelFixture::asking(server.url()).expect("a stand");
    stand.asking_agent(AGENT, 60, 200).expect("an agent's file");
    for (workflow, steps) in [(ONCE, 1), (THRICE, 3)] {
        stand.definitions.row_workflow(workflow, AGENT, steps).expect("a workflow's file");
    }
    stand
}

fn work(text: &str) -> CallParams {
    CallParams { inputs: Values::from([("text".to_owned(), Json::from(text))]), ..CallParams::default() }
}

async fn ask(client: &Client, text: &str) -> Reply {
    client.run_agent(AgentId::new(AGENT).expect("a name"), work(text)).await.expect("an answer")
}

async fn run(client: &Client, workflow: &str, text: &str) -> Reply {
    client.run_workflow(WorkflowId::new(workflow).expect("a name"), work(text)).await.expect("an answer")
}

async fn detached(client: &Client, workflow: &str, text: &str) -> RunId {
    let work = CallParams { detach: true, ..work(text) };
    let begun = client.run_workflow(WorkflowId::new(workflow).expect("a name"), work).await.expect("an answer");
    assert!(begun.error.is_none(), "{:?}", begun.error);
    RunId::new(begun.id).expect("the reply names the run")
}

/// Waits until so many connections to the model are open.
async fn open(server: &ScriptServer, wanted: usize) {
    let seen = || async { (server.open() == wanted).then_some(()) };
    until("connections to the model", WAIT_MAX, seen).await.expect("the connections");
}

#[tokio::test]
async fn a_cancelled_run_gives_back_its_place_its_money_and_its_socket() {
    let server = server().await;
    let mut stand = stand(&server);
    stand.terminal.variable("GREENROOM_ADMISSION_MAX_IN_FLIGHT", "2");
    let (process, client) = stand.up().await.expect("a process");
    let run = detached(&client, ONCE, "hold").await;
    open(&server, 1).await;
    assert_eq!(client.cancel(run.clone()).await.expect("an answer").error, None);
    open(&server, 0).await;
    let shown = || async {
        let shown = client.run(run.clone()).await.ok()?;
        (shown.outputs["run"]["state"] == "cancelled").then_some(())
    };
    until("the run has ended", WAIT_MAX, shown).await.expect("an end");
    let settled = || async {
        let costs = client.costs(None).await.ok()?;
        (costs.outputs["costs"][0]["calls_estimated"] == 1).then_some(())
    };
    until("the reservation is settled", WAIT_MAX, settled).await.expect("a settlement");
    let (one, other) = tokio::join!(ask(&client, "hello"), ask(&client, "hello"));
    assert_eq!((one.status, other.status), (Status::Success, Status::Success), "both places are free");
    process.terminate().expect("a signal");
    assert_eq!(process.ended().await.expect("an end").code, 0, "nothing is left to wait for");
}

#[tokio::test]
async fn a_run_whose_deadline_passes_between_steps_starts_nothing_more() {
    let server = server().await;
    let stand = stand(&server);
    let (process, client) = stand.up().await.expect("a process");
    // A step takes 0.8 s: the deadline falls into the second one.
    let hasty = client.clone().with_deadline(Deadline::after(WallClock.now(), Duration::from_millis(1_300)));
    let reply = run(&hasty, THRICE, "slow").await;
    assert_eq!(reply.status, Status::TimedOut, "{:?}", reply.error);
    open(&server, 0).await;
    let asked = server.count();
    assert!((1..=2).contains(&asked), "{asked} steps were begun");
    assert_eq!(ask(&client, "hello").await.status, Status::Success);
    assert_eq!(server.count(), asked + 1, "the third step was never begun");
    drop(process);
}

/// Whoever comes now is told that the process is about to end, and when to come back.
async fn refused(client: &Client) -> Option<()> {
    let cause = ask(client, "too late").await.error?;
    (cause.code == ErrorCode::ShuttingDown && cause.retry_after_ms.is_some()).then_some(())
}

#[tokio::test]
async fn a_process_that_is_asked_to_end_under_load_ends_what_it_has_and_takes_nothing_new() {
    const MANY: usize = 12;
    let server = server().await;
    let stand = stand(&server);
    let (process, client) = stand.up().await.expect("a process");
    let load = join_all((0..MANY).map(|_| run(&client, ONCE, "slow")));
    let ending = async {
        open(&server, MANY).await;
        process.terminate().expect("a signal");
        until("new work is refused", WAIT_MAX, || refused(&client)).await.expect("a refusal");
    };
    let (replies, ()) = tokio::join!(load, ending);
    assert!(replies.iter().all(|reply| reply.status == Status::Success), "{replies:?}");
    assert_eq!(process.ended().await.expect("an end").code, 0);
    expect_whole(&stand, MANY, 0).await;
}

/// Asks a process that cannot drain to end; answers it once it refuses new work.
async fn stuck(server: &ScriptServer, stand: &ModelFixture) -> (RunningCommand, RunId) {
    let (process, client) = stand.up().await.expect("a process");
    let held = detached(&client, ONCE, "hold").await;
    let waiting = ask(&client, "hold");
    let ending = async {
        open(server, 2).await;
        process.terminate().expect("a signal");
        until("new work is refused", WAIT_MAX, || refused(&client)).await.expect("a refusal");
    };
    tokio::select! {
        reply = waiting => panic!("the model is silent: {reply:?}"),
        () = ending => {}
    }
    (process, held)
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_so_does_the_time_to_drain_and_nothing_is_lost() {
    for drain_s in ["600", "1"] {
        let server = server().await;
        let mut stand = stand(&server);
        stand.terminal.variable("GREENROOM_DRAIN_TIMEOUT_S", drain_s);
        let (process, run) = stuck(&server, &stand).await;
        if drain_s == "600" {
            process.terminate().expect("a second signal");
        }
        // The wait for the end of a command is shorter than ten minutes of draining.
        process.wait_or_kill().await.expect("an end");
        open(&server, 0).await;
        let (process, client) = stand.up().await.expect("another process");
        open(&server, 1).await;
        assert_eq!(client.cancel(run).await.expect("an answer").error, None, "it was taken up again");
        open(&server, 0).await;
        process.terminate().expect("a signal");
        assert_eq!(process.ended().await.expect("an end").code, 0);
        expect_whole(&stand, 0, 1).await;
    }
}

/// The journal has so many runs that ended well and were cancelled and no others, and the audit holds.
async fn expect_whole(stand: &ModelFixture, well: usize, cancelled: usize) {
    let listed = stand.terminal.run(&["runs", "list"]).await.expect("an end").json().expect("a document");
    let runs = listed["runs"].as_array().expect("runs");
    let count = |state: &str| runs.iter().filter(|run| run["state"] == state).count();
    assert_eq!((count("success"), count("cancelled"), runs.len()), (well, cancelled, well + cancelled), "{listed:#}");
    let verified = stand.terminal.run(&["audit", "verify"]).await.expect("an end").json().expect("a document");
    assert_eq!(verified["holds"], true, "{verified:#}");
}
