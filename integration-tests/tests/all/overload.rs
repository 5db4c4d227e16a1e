//! More requests than places: who finds none is told when to come back, one tenant's flood leaves
//! another's places alone, and what is held ends at its deadline or when it is cancelled.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::wait::until;
use greenroom_protocol::{AgentId, Clock, Deadline, ErrorCode, Json, Reply, RunId, Status, UserId, Values, WorkflowId};
use greenroom_supervisor::clock::WallClock;
use greenroom_supervisor::ingress::control::client::ControlClient;

const AGENT: &str = "asking_agent";
const WAIT_MAX: Duration = Duration::from_secs(30);
/// What a request that is held may take; long enough for the ones beside it to be answered.
const HELD_FOR: Duration = Duration::from_secs(3);

/// A model that never answers the word `hold`, and answers everything else at once.
async fn model() -> ScriptServer {
    let script = |asked: &greenroom_integration_tests::script_server::RecordedRequest| {
        if asked.body.to_string().contains("hold") { ServerBehavior::Silence } else { ServerBehavior::Good }
    };
    ScriptServer::start(script).await.expect("a server")
}

fn stand(server: &ScriptServer) -> ModelFixture {
    let stand = ModelFixture::asking(server.url()).expect("a stand");
    stand.asking_agent(AGENT, 60, 200).expect("an agent's file");
    stand.definitions.row_workflow("asking_once", AGENT, 1).expect("a workflow's file");
    stand
}

fn work(text: &str) -> CallParams {
    CallParams { inputs: Values::from([("text".to_owned(), Json::from(text))]), ..CallParams::default() }
}

async fn ask(client: &Client, text: &str) -> Reply {
    let client = client.clone().with_deadline(Deadline::after(WallClock.now(), HELD_FOR));
    client.run_agent(AgentId::new(AGENT).expect("a name"), work(text)).await.expect("an answer")
}

/// It was turned away, and told when to come back.
#[track_caller]
fn expect_overloaded(reply: &Reply) {
    let cause = reply.error.as_ref().expect("an error");
    assert_eq!((cause.code, reply.status), (ErrorCode::Overloaded, Status::Failed));
    assert!(cause.retry_after_ms.is_some_and(|after| after > 0), "{cause:?}");
}

#[tokio::test]
async fn a_full_pod_says_when_to_come_back_and_its_places_come_back_at_the_deadline() {
    const PLACES: usize = 4;
    let server = model().await;
    let mut stand = stand(&server);
    stand.terminal.variable("GREENROOM_ADMISSION_MAX_IN_FLIGHT", "4");
    let (process, client) = stand.up().await.expect("a process");
    let held = join_all((0..PLACES).map(|_| ask(&client, "hold")));
    let one_more = async {
        let full = || async { (server.count() == PLACES).then_some(()) };
        until("every place is taken", WAIT_MAX, full).await.expect("the requests");
        ask(&client, "one more").await
    };
    let (held, one_more) = tokio::join!(held, one_more);
    expect_overloaded(&one_more);
    assert!(held.iter().all(|reply| reply.status == Status::TimedOut), "{held:?}");
    assert_eq!(server.count(), PLACES, "what is turned away is never sent");
    assert_eq!(ask(&client, "later").await.status, Status::Success);
    drop(process);
}

#[tokio::test]
async fn a_flood_of_one_tenant_leaves_the_places_of_another_alone() {
    const SHARE: usize = 3;
    let server = model().await;
    let mut stand = stand(&server);
    stand.terminal.variable("GREENROOM_ADMISSION_MAX_IN_FLIGHT_PER_TENANT", "3");
    let user = |name: &str| format!("[[users]]\nname = \"{name}\"\ntenant = \"{name}_tenant\"\nroles = [\"admin\"]\n");
    stand.terminal.file("greenroom.toml", user("admin") + &user("quiet")).expect("a file");
    let (process, flooding) = stand.up().await.expect("a process");
    let socket = stand.terminal.data_dir().join("control.sock");
    let quiet = Client::new(Arc::new(ControlClient::new(&socket, UserId::new("quiet").expect("a name"))));
    let flood = join_all((0..SHARE).map(|_| ask(&flooding, "hold")));
    let beside = async {
        let full = || async { (server.count() == SHARE).then_some(()) };
        until("the tenant's share is taken", WAIT_MAX, full).await.expect("the requests");
        (ask(&flooding, "one more").await, ask(&quiet, "hello").await)
    };
    let (flood, (one_more, served)) = tokio::join!(flood, beside);
    expect_overloaded(&one_more);
    assert_eq!(served.status, Status::Success, "{:?}", served.error);
    assert!(served.metadata.duration_ms < flood.iter().map(|reply| reply.metadata.duration_ms).min().unwrap_or(0));
    drop(process);
}

#[tokio::test]
async fn a_cancelled_run_ends_while_its_model_is_silent() {
    let server = model().await;
    let stand = stand(&server);
    let (process, client) = stand.up().await.expect("a process");
    let work = CallParams { detach: true, ..work("hold") };
    let begun = client.run_workflow(WorkflowId::new("asking_once").expect("a name"), work).await.expect("an answer");
    let run = RunId::new(begun.id).expect("the reply names the run");
    let asked = || async { (server.count() == 1).then_some(()) };
    until("the model is asked", WAIT_MAX, asked).await.expect("the request");
    let cancelled = client.cancel(run.clone()).await.expect("an answer");
    assert!(cancelled.error.is_none(), "{:?}", cancelled.error);
    let ended = || async {
        let shown = client.run(run.clone()).await.ok()?;
        (shown.outputs["run"]["state"] == "cancelled").then_some(())
    };
    until("the run has ended", WAIT_MAX, ended).await.expect("an end");
    drop(process);
}

/// Nobody waits for a detached run, and still it has a place, until it ends.
#[tokio::test]
async fn detached_runs_have_places_until_they_end() {
    let server = model().await;
    let mut stand = stand(&server);
    stand.terminal.variable("GREENROOM_ADMISSION_MAX_IN_FLIGHT_PER_TENANT", "3");
    let (process, client) = stand.up().await.expect("a process");
    let start = async || {
        let work = CallParams { detach: true, ..work("hold") };
        client.run_workflow(WorkflowId::new("asking_once").expect("a name"), work).await.expect("an answer")
    };
    let (first, second) = (start().await, start().await);
    assert_eq!((&first.error, &second.error), (&None, &None));
    expect_overloaded(&start().await);
    assert_eq!(ask(&client, "hello").await.status, Status::Success, "one place is left for who waits");
    client.cancel(RunId::new(first.id).expect("the reply names the run")).await.expect("an answer");
    let again = || async { start().await.error.is_none().then_some(()) };
    until("the place is back", WAIT_MAX, again).await.expect("a place");
    drop(process);
}
