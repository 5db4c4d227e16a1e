//! Capacity belongs to the work: a run keeps its ticket without its caller, a resumed run has one, a request
//! that waits for another with its idempotency key blocks no one, and a drain cuts no reply.

use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};
use greenroom_integration_tests::test_pod::{StoreKind, start_pod, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::request::{CallOptions, Invoke, RunListFilter};
use greenroom_protocol::{
    AgentId, Clock, Deadline, Envelope, ErrorCode, Reply, Request, RunId, Status, TeamId, UserId, Values, WorkflowId,
};
use greenroom_supervisor::clock::WallClock;
use greenroom_supervisor::compose::Overrides;
use greenroom_supervisor::ingress::control::client::ControlClient;
use greenroom_supervisor::ingress::frame::{self, ControlRequest, ControlResponse};
use tokio::net::UnixStream;

const AGENT: &str = "llm_agent";
const WORKFLOW: &str = "one_call";
const TEAM: &str = "one_team";
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A model that is silent for the word `hold`, and a fixture whose tenants have this many tickets.
async fn fixture(tickets: &str) -> Result<(ScriptServer, ModelFixture)> {
    let behavior = |request: &RecordedRequest| match request.body.to_string().contains("hold") {
        true => ServerBehavior::Silence,
        false => ServerBehavior::Good,
    };
    let server = ScriptServer::start(behavior).await?;
    let mut fixture = ModelFixture::with_openai(server.url())?;
    fixture.write_llm_agent(AGENT, 60, 200)?;
    fixture.definitions.write_row_workflow(WORKFLOW, AGENT, 1)?;
    let team = format!(
        "team_id: {TEAM}\nname: {TEAM}\ndescription: Calls a model\nagents: [{AGENT}]\nworkflows: [{WORKFLOW}]\n"
    );
    fixture.definitions.write_team(TEAM, &team)?;
    fixture.terminal.set_variable("GREENROOM_ADMISSION_MAX_IN_FLIGHT_PER_TENANT", tickets);
    Ok((server, fixture))
}

fn params(words: &str) -> CallParams {
    CallParams { inputs: text(words), ..CallParams::default() }
}

async fn call_agent(client: &Client, words: &str) -> Result<Reply> {
    Ok(client.run_agent(AgentId::new(AGENT)?, params(words)).await?)
}

async fn wait_for_calls(server: &ScriptServer, wanted: usize) -> Result<()> {
    wait_until("calls of the model", WAIT_MAX, || async { (server.count() == wanted).then_some(()) }).await
}

/// Waits until the tenant has a ticket for one more request, or none.
async fn wait_for_ticket(client: &Client, is_free: bool) -> Result<()> {
    let expected = if is_free { None } else { Some(ErrorCode::Overloaded) };
    let probe = || async {
        let reply = call_agent(client, "hello").await.ok()?;
        (reply.error.map(|cause| cause.code) == expected).then_some(())
    };
    wait_until("the number of free tickets", WAIT_MAX, probe).await
}

/// The one run of the pod. The watch of its caller may have the other ticket for a moment.
async fn find_run(client: &Client) -> Result<RunId> {
    let probe = || async {
        let page = greenroom_protocol::request::Page { after: None, limit: 10 };
        let reply = client.runs(RunListFilter::default(), page).await.ok()?;
        RunId::new(reply.outputs.get("runs")?.as_array()?.first()?["run_id"].as_str()?).ok()
    };
    wait_until("the run is listed", WAIT_MAX, probe).await
}

#[tokio::test]
async fn a_run_keeps_its_ticket_when_its_caller_disconnects() -> Result<()> {
    for words in [&["run", "workflow", WORKFLOW][..], &["run", "team", TEAM]] {
        let (server, fixture) = fixture("2").await?;
        let (_up, client) = fixture.up().await?;
        let arguments = [words, &["--input", "text=hold"]].concat();
        let caller = fixture.terminal.start(&arguments)?;
        wait_for_calls(&server, 1).await?;
        let run = find_run(&client).await?;
        // Killed, as by a closed terminal.
        drop(caller);
        // The tenant has two tickets. The run has one of them, and this silent call the other, once the query before it has
        // left it.
        let silent = async {
            loop {
                let reply = call_agent(&client, "hold").await?;
                if reply.error.as_ref().is_none_or(|cause| cause.code != ErrorCode::Overloaded) {
                    return anyhow::Ok(reply);
                }
            }
        };
        let probes = async {
            wait_for_calls(&server, 2).await?;
            wait_for_ticket(&client, false).await?;
            assert_eq!(call_agent(&client, "hello").await?.error.map(|cause| cause.code), Some(ErrorCode::Overloaded));
            anyhow::Ok(())
        };
        tokio::select! {
            reply = silent => anyhow::bail!("the model is silent: {reply:?}"),
            probed = probes => probed?,
        }
        // The silent call was dropped, which leaves a ticket for the cancellation.
        wait_for_ticket(&client, true).await?;
        let cancelled = || async { client.cancel(run.clone()).await.ok()?.error.is_none().then_some(()) };
        wait_until("the run is cancelled", WAIT_MAX, cancelled).await?;
        let two_are_free = || async {
            let (one, other) = tokio::join!(call_agent(&client, "hello"), call_agent(&client, "hello"));
            (one.ok()?.error.is_none() && other.ok()?.error.is_none()).then_some(())
        };
        wait_until("both tickets are free", WAIT_MAX, two_are_free).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_resumed_run_has_a_ticket_until_it_ends() -> Result<()> {
    let (server, fixture) = fixture("2").await?;
    let (up, client) = fixture.up().await?;
    let detached = CallParams { detach: true, ..params("hold") };
    let accepted = client.run_workflow(WorkflowId::new(WORKFLOW)?, detached.clone()).await?;
    assert_eq!(accepted.error, None);
    wait_for_calls(&server, 1).await?;
    drop(up);
    let (_up, client) = fixture.up().await?;
    wait_for_calls(&server, 2).await?;
    // One ticket is left, for the request; the run that it would start needs another.
    let refused = client.run_workflow(WorkflowId::new(WORKFLOW)?, detached.clone()).await?;
    assert_eq!(refused.error.map(|cause| cause.code), Some(ErrorCode::Overloaded));
    client.cancel(RunId::new(accepted.id)?).await?;
    let is_accepted = || async {
        client.run_workflow(WorkflowId::new(WORKFLOW).ok()?, detached.clone()).await.ok()?.error.is_none().then_some(())
    };
    wait_until("the ticket is released", WAIT_MAX, is_accepted).await
}

/// A call of the agent with an idempotency key, and a deadline that no test reaches.
async fn call_with_key(client: &Client, key: &str, words: &str) -> Result<Reply> {
    let deadline = Deadline::after(WallClock.now(), WAIT_MAX * 2);
    Ok(client.agent(AGENT).params(params(words)).idempotency_key(key).deadline(deadline).send().await?)
}

#[tokio::test]
async fn a_request_that_waits_for_another_with_its_key_blocks_no_other_and_follows_a_disconnected_one() -> Result<()> {
    let (server, mut fixture) = fixture("100").await?;
    fixture.terminal.set_variable("GREENROOM_ADMISSION_PIPELINE_CONCURRENCY", "1");
    let (_up, client) = fixture.up().await?;
    let mut first = Box::pin(call_with_key(&client, "k", "hold"));
    tokio::select! {
        reply = &mut first => anyhow::bail!("the model is silent: {reply:?}"),
        called = wait_for_calls(&server, 1) => called?,
    }
    let waiting = call_with_key(&client, "k", "hold");
    let others = async {
        for _ in 0..3 {
            assert_eq!(call_agent(&client, "hello").await?.status, Status::Success);
        }
        // The first caller disconnects, so the second request is executed in its place.
        drop(first);
        wait_for_calls(&server, 5).await
    };
    tokio::select! {
        reply = waiting => anyhow::bail!("the model is silent: {reply:?}"),
        waited = others => waited,
    }
}

#[tokio::test]
async fn a_drain_waits_until_a_slow_reader_has_its_whole_reply() -> Result<()> {
    const BYTES: usize = 4 * 1024 * 1024;
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
    definitions.write_echo_agent("echo_agent")?;
    let mut test_pod = start_pod(StoreKind::Memory, Some(definitions.dir()), Overrides::default()).await?;
    test_pod.pod.listen().await.map_err(|cause| anyhow::anyhow!("{cause}"))?;
    let socket = test_pod.pod.config().control_socket();
    let invoke = Invoke {
        agent: AgentId::new("echo_agent")?,
        inputs: text("x".repeat(BYTES)),
        context: Values::new(),
        version: None,
        key: None,
        options: CallOptions::default(),
        approvals: None,
    };
    let envelope = Box::new(Envelope::new(Request::Invoke(invoke)));
    let mut stream = UnixStream::connect(&socket).await?;
    frame::write(&mut stream, &ControlRequest::Send { user: UserId::new("admin")?, envelope }).await?;
    let accepted = frame::read(&mut stream).await?.context("an acceptance")?;
    assert!(matches!(accepted, ControlResponse::Accepted), "{accepted:?}");
    // The reply is larger than the buffers of the socket, so it is not written before it is read.
    stream.readable().await?;
    let client = ControlClient::new(&socket, UserId::new("admin")?);
    let shutdown = test_pod.pod.shutdown();
    let reading = async {
        // A request that arrives during the drain is refused before it is accepted.
        let is_refused = || async { client.identify().await.is_err().then_some(()) };
        wait_until("the pod drains", WAIT_MAX, is_refused).await?;
        frame::read::<ControlResponse>(&mut stream).await?.context("the whole reply")
    };
    let ((), response) = tokio::join!(shutdown, reading);
    let ControlResponse::Reply { reply } = response? else { anyhow::bail!("no reply") };
    assert_eq!(reply.outputs["text"].as_str().map(str::len), Some(BYTES), "{:?}", reply.error);
    Ok(())
}

#[tokio::test]
async fn a_team_of_a_detached_run_is_admitted_once() -> Result<()> {
    let (server, fixture) = fixture("2").await?;
    let (_up, client) = fixture.up().await?;
    let detached = CallParams { detach: true, ..params("hold") };
    let start = || {
        client.run_team(
            TeamId::new(TEAM).expect("a name"),
            WorkflowId::new(WORKFLOW).expect("a name"),
            detached.clone(),
        )
    };
    assert_eq!(start().await?.error, None);
    wait_for_calls(&server, 1).await?;
    assert_eq!(start().await?.error.map(|cause| cause.code), Some(ErrorCode::Overloaded));
    assert_eq!(call_agent(&client, "hello").await?.status, Status::Success, "one ticket is left");
    Ok(())
}
