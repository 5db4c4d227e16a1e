//! Overload: a request beyond the limit is rejected with a time to retry, one tenant's load does not take the
//! tickets of another, and a silent execution ends at its deadline or when it is cancelled.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{Clock, Deadline, ErrorCode, Json, Reply, RunId, Status, UserId, Values, WorkflowId};
use greenroom_supervisor::clock::WallClock;
use greenroom_supervisor::ingress::control::client::ControlClient;

const AGENT: &str = "llm_agent";
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Deadline of a request to the silent model; long enough for the concurrent requests to be served.
const SILENT_TIMEOUT: Duration = Duration::from_secs(3);

/// A model that never answers a prompt with `hold`, and answers every other prompt at once.
async fn model() -> ScriptServer {
    let script = |request: &greenroom_integration_tests::script_server::RecordedRequest| {
        if request.body.to_string().contains("hold") { ServerBehavior::Silence } else { ServerBehavior::Good }
    };
    ScriptServer::start(script).await.expect("a server")
}

fn fixture(server: &ScriptServer) -> ModelFixture {
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, 60, 200).expect("an agent's file");
    fixture.definitions.write_row_workflow("one_call", AGENT, 1).expect("a workflow's file");
    fixture
}

fn params(text: &str) -> CallParams {
    CallParams { inputs: Values::from([("text".to_owned(), Json::from(text))]), ..CallParams::default() }
}

async fn call_agent(client: &Client, text: &str) -> Reply {
    let deadline = Deadline::after(WallClock.now(), SILENT_TIMEOUT);
    client.agent(AGENT).params(params(text)).deadline(deadline).send().await.expect("a reply")
}

/// Fails unless the request was rejected as overloaded with a time to retry.
#[track_caller]
fn expect_overloaded(reply: &Reply) {
    let cause = reply.error.as_ref().expect("an error");
    assert_eq!((cause.code, reply.status), (ErrorCode::Overloaded, Status::Failed));
    assert!(cause.retry_after_ms.is_some_and(|after| after > 0), "{cause:?}");
}

#[tokio::test]
async fn a_pod_at_its_limit_rejects_with_a_retry_time_and_recovers_at_the_deadline() {
    const IN_FLIGHT_MAX: usize = 4;
    let server = model().await;
    let mut fixture = fixture(&server);
    fixture.terminal.set_variable("GREENROOM_ADMISSION_MAX_IN_FLIGHT", "4");
    let (process, client) = fixture.up().await.expect("a process");
    let silent = join_all((0..IN_FLIGHT_MAX).map(|_| call_agent(&client, "hold")));
    let one_more = async {
        let is_full = || async { (server.count() == IN_FLIGHT_MAX).then_some(()) };
        wait_until("every ticket is issued", WAIT_MAX, is_full).await.expect("the requests");
        call_agent(&client, "one more").await
    };
    let (silent, one_more) = tokio::join!(silent, one_more);
    expect_overloaded(&one_more);
    assert!(silent.iter().all(|reply| reply.status == Status::TimedOut), "{silent:?}");
    assert_eq!(server.count(), IN_FLIGHT_MAX, "a rejected request is never sent");
    assert_eq!(call_agent(&client, "later").await.status, Status::Success);
    drop(process);
}

#[tokio::test]
async fn the_load_of_one_tenant_does_not_take_the_tickets_of_another() {
    const SHARE: usize = 3;
    let server = model().await;
    let mut fixture = fixture(&server);
    fixture.terminal.set_variable("GREENROOM_ADMISSION_MAX_IN_FLIGHT_PER_TENANT", "3");
    let user = |name: &str| format!("[[users]]\nname = \"{name}\"\ntenant = \"{name}_tenant\"\nroles = [\"admin\"]\n");
    fixture.terminal.write_file("greenroom.toml", user("admin") + &user("quiet")).expect("a file");
    let (process, loading) = fixture.up().await.expect("a process");
    let socket = fixture.terminal.data_dir().join("control.sock");
    let quiet = Client::new(Arc::new(ControlClient::new(&socket, UserId::new("quiet").expect("a name"))));
    let load = join_all((0..SHARE).map(|_| call_agent(&loading, "hold")));
    let concurrent = async {
        let is_full = || async { (server.count() == SHARE).then_some(()) };
        wait_until("the tenant is at its limit", WAIT_MAX, is_full).await.expect("the requests");
        (call_agent(&loading, "one more").await, call_agent(&quiet, "hello").await)
    };
    let (load, (one_more, quiet_reply)) = tokio::join!(load, concurrent);
    expect_overloaded(&one_more);
    assert_eq!(quiet_reply.status, Status::Success, "{:?}", quiet_reply.error);
    assert!(quiet_reply.metadata.duration_ms < load.iter().map(|reply| reply.metadata.duration_ms).min().unwrap_or(0));
    drop(process);
}

#[tokio::test]
async fn a_cancelled_run_ends_while_its_model_is_silent() {
    let server = model().await;
    let fixture = fixture(&server);
    let (process, client) = fixture.up().await.expect("a process");
    let params = CallParams { detach: true, ..params("hold") };
    let accepted = client.run_workflow(WorkflowId::new("one_call").expect("a name"), params).await.expect("a reply");
    let run = RunId::new(accepted.id).expect("the reply names the run");
    let is_called = || async { (server.count() == 1).then_some(()) };
    wait_until("the model is called", WAIT_MAX, is_called).await.expect("the request");
    let cancelled = client.cancel(run.clone()).await.expect("a reply");
    assert!(cancelled.error.is_none(), "{:?}", cancelled.error);
    let ended = || async {
        let report = client.run_record(run.clone()).await.ok()?;
        (report.outputs["run"]["status"] == "cancelled").then_some(())
    };
    wait_until("the run has ended", WAIT_MAX, ended).await.expect("an end");
    drop(process);
}

/// No caller waits for a detached run, and still it has a ticket until it ends.
#[tokio::test]
async fn a_detached_run_has_a_ticket_until_it_ends() {
    let server = model().await;
    let mut fixture = fixture(&server);
    fixture.terminal.set_variable("GREENROOM_ADMISSION_MAX_IN_FLIGHT_PER_TENANT", "3");
    let (process, client) = fixture.up().await.expect("a process");
    let start = async || {
        let params = CallParams { detach: true, ..params("hold") };
        client.run_workflow(WorkflowId::new("one_call").expect("a name"), params).await.expect("a reply")
    };
    let (first, second) = (start().await, start().await);
    assert_eq!((&first.error, &second.error), (&None, &None));
    expect_overloaded(&start().await);
    assert_eq!(call_agent(&client, "hello").await.status, Status::Success, "one ticket remains for attached requests");
    client.cancel(RunId::new(first.id).expect("the reply names the run")).await.expect("a reply");
    let start_accepted = || async { start().await.error.is_none().then_some(()) };
    wait_until("the ticket is released", WAIT_MAX, start_accepted).await.expect("a ticket");
    drop(process);
}
