//! The client over NATS, against a real server and a pod in a process of its own: calls with typed outputs, refusals,
//! streams, idempotency keys, timeouts, large inputs, and watches that outlive their pod.

mod restart;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use greenroom_client::{ActorRef, AgentMessage, Client, ContextMessage, Observation, Progress, RunMessage, Team};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::RunningCommand;
use greenroom_integration_tests::test_pod::text;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::error::ErrorClass;
use greenroom_protocol::event::RunEventKind;
use greenroom_protocol::request::ContextChange;
use greenroom_protocol::{AgentId, ArtifactRef, ContentHash, ContextKey, ErrorCode, RunId, Status, StepId, Values};
use serde::Deserialize;
use serde_json::json;

const ECHO: &str = "echo_agent";
const AGENT: &str = "llm_agent";
const WORKFLOW: &str = "one_call";
/// A workflow that a user continues by an approval and an event.
const LETTER: &str = "letter";
const LETTER_WORKFLOW: &str = "\
workflow_id: letter
name: Letter
description: Awaits an approval and a payment
version: \"1.0.0\"
inputs:
  - { name: text, type: text, required: true }
steps:
  - { id: sign, approval: { prompt: \"Sign?\" } }
  - { id: payment, wait_for: { event: paid, timeout: 3600 }, depends_on: [sign] }
  - { id: send, agent: echo_agent, depends_on: [payment], inputs: { text: \"${inputs.text}\" }, outputs: [text] }
";
/// Longer than any call, and than the silence after which a client gives a pod up.
const WAIT_MAX: Duration = Duration::from_secs(90);

/// Delay of the model before and within an answer to the word `slow`.
const SLOW_DELAY: Duration = Duration::from_secs(2);

/// A server, a pod, and a client of its administrator. The model is silent for the word `hold` while `holds` is set.
struct Fixture {
    client: Client,
    model: ScriptServer,
    holds: Arc<AtomicBool>,
    pod: RunningCommand,
    fixture: ModelFixture,
    server: NatsServer,
}

impl Fixture {
    async fn start() -> Result<Self> {
        let holds = Arc::new(AtomicBool::new(true));
        let is_holding = Arc::clone(&holds);
        let model = ScriptServer::start(move |request| {
            let text = request.body.to_string();
            match text.contains("hold") && is_holding.load(Ordering::Relaxed) {
                true => ServerBehavior::Silence,
                false if text.contains("slow") => ServerBehavior::Slow(SLOW_DELAY),
                false => ServerBehavior::Good,
            }
        })
        .await?;
        let server = NatsServer::start().await?;
        let mut fixture = ModelFixture::with_openai(model.url())?;
        server.configure(&mut fixture.terminal)?;
        fixture.definitions.write_echo_agent(ECHO)?;
        fixture.write_llm_agent(AGENT, 60, 200)?;
        fixture.definitions.write_row_workflow(WORKFLOW, AGENT, 1)?;
        fixture.definitions.write_workflow(LETTER, LETTER_WORKFLOW)?;
        let (pod, _) = fixture.up().await?;
        let client = server.client().await?;
        Ok(Self { client, model, holds, pod, fixture, server })
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct Text {
    text: String,
}

#[derive(Debug, Deserialize)]
struct Other {
    #[expect(dead_code, reason = "no output has it")]
    number: u32,
}

#[tokio::test]
async fn calls_over_nats_have_typed_outputs_and_coded_refusals() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = &fixture.client;
    let outputs: Text = client.agent(ECHO).input("text", "hello").execute_as().await?;
    assert_eq!(outputs.text, "hello");
    let reply = client.workflow(WORKFLOW).inputs(&text("x")).reply().await?;
    assert_eq!((reply.status, reply.metadata.workflow_steps), (Status::Success, 1));
    let echo = ActorRef::<AgentMessage>::new(client.clone(), AgentId::new(ECHO)?);
    let message = AgentMessage::Execute { inputs: text("typed"), context: Values::new() };
    assert_eq!(echo.call(message.clone()).await?["text"], "typed");
    echo.cast(message).await?;
    let other = client.agent(ECHO).input("text", "hello").execute_as::<Other>().await;
    assert!(matches!(other, Err(greenroom_client::Error::Decode(_))), "{other:?}");
    let refused = |result: Result<Values, greenroom_client::Error>| result.err().and_then(|error| error.code());
    assert_eq!(refused(client.agent("no_such_agent").execute().await), Some(ErrorCode::UnknownAgent));
    assert_eq!(refused(client.agent(ECHO).execute().await), Some(ErrorCode::MissingInput));
    let stranger = fixture.server.client_with_key("wrong").await?;
    let denied = stranger.agent(ECHO).input("text", "x").execute().await;
    assert_eq!(refused(denied), Some(ErrorCode::Unauthenticated));
    Ok(())
}

/// Starts a team whose run awaits an approval.
async fn start_letter(client: &Client) -> Result<RunId> {
    let team = Team::new("Letters").agents([ECHO]).shared_context(json!({ "tone": "kind" }));
    let accepted = team.workflow(client, LETTER).input("text", "hello").detach().reply().await?;
    let run = RunId::new(&accepted.id).with_context(|| format!("{accepted:?}"))?;
    let is_waiting = || async {
        let record = client.run_record(run.clone()).await.ok()?;
        (record.outputs.get("run")?["status"] == "waiting_approval").then_some(())
    };
    wait_until("the run awaits an approval", WAIT_MAX, is_waiting).await?;
    Ok(run)
}

/// Waits until a run has ended, and returns its status.
async fn status_at_end(client: &Client, run: &RunId) -> Result<Status> {
    let watch = client.run(run).watch().try_collect::<Vec<_>>();
    let observations = tokio::time::timeout(WAIT_MAX, watch).await??;
    let Some(Observation::Event(last)) = observations.last() else { anyhow::bail!("{observations:?}") };
    let RunEventKind::RunEnded { reply } = &last.kind else { anyhow::bail!("{last:?}") };
    Ok(reply.status)
}

#[tokio::test]
async fn runs_and_the_context_of_a_team_take_typed_messages_over_nats() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = &fixture.client;
    let (run, sign, tone) = (start_letter(client).await?, StepId::new("sign")?, ContextKey::new("tone")?);
    let context = ActorRef::<ContextMessage>::new(client.clone(), run.clone());
    assert_eq!(context.call(ContextMessage::Read(vec![tone.clone()])).await?["tone"], "kind");
    // Only the members of the team write.
    let write = ContextMessage::Write { key: tone.clone(), expect: None, change: ContextChange::Put(json!("rude")) };
    let denied = context.call(write).await.err().and_then(|error| error.code());
    assert_eq!(denied.map(ErrorCode::class), Some(ErrorClass::Denied), "{denied:?}");
    assert_eq!(context.call(ContextMessage::Read(vec![tone])).await?["tone"], "kind");

    let of_run = |run: &RunId| ActorRef::<RunMessage>::new(client.clone(), run.clone());
    // A run that is active on a pod remains there.
    assert_eq!(of_run(&run).call(RunMessage::Resume).await?["status"], "waiting_approval");
    of_run(&run).call(RunMessage::Approve(sign.clone())).await?;
    of_run(&run).call(RunMessage::Event { name: "paid".to_owned(), data: json!({ "amount": 3 }) }).await?;
    assert_eq!(status_at_end(client, &run).await?, Status::Success);
    let approved_twice = of_run(&run).call(RunMessage::Approve(sign.clone())).await.err();
    assert_eq!(approved_twice.and_then(|error| error.code()), Some(ErrorCode::RunNotActive));
    let resumed = of_run(&run).call(RunMessage::Resume).await.err();
    assert_eq!(resumed.and_then(|error| error.code()), Some(ErrorCode::RunNotActive), "it has ended");
    let unknown = of_run(&RunId::new("run_unknown")?).call(RunMessage::Resume).await.err();
    assert_eq!(unknown.and_then(|error| error.code()), Some(ErrorCode::UnknownRun));

    let rejected = start_letter(client).await?;
    of_run(&rejected).cast(RunMessage::Reject(sign)).await?;
    assert_ne!(status_at_end(client, &rejected).await?, Status::Success, "a rejected step fails its run");
    let cancelled = start_letter(client).await?;
    of_run(&cancelled).call(RunMessage::Cancel).await?;
    assert_eq!(status_at_end(client, &cancelled).await?, Status::Cancelled);
    Ok(())
}

#[tokio::test]
async fn the_text_of_a_model_is_streamed_before_the_reply() -> Result<()> {
    let fixture = Fixture::start().await?;
    let progress: Vec<Progress> = fixture.client.agent(AGENT).input("text", "hello").stream().try_collect().await?;
    ensure!(matches!(progress.first(), Some(Progress::Accepted { .. })), "{progress:?}");
    let has_text = |item: &Progress| matches!(item, Progress::Text(text) if !text.is_empty());
    ensure!(progress.iter().any(has_text), "{progress:?}");
    let Some(Progress::Reply(reply)) = progress.last() else { anyhow::bail!("{progress:?}") };
    assert_eq!(reply.outputs["text"], "done");
    Ok(())
}

#[tokio::test]
async fn calls_with_one_key_are_executed_once_and_a_silent_call_ends_at_its_timeout() -> Result<()> {
    let fixture = Fixture::start().await?;
    let call = || fixture.client.agent(AGENT).input("text", "hello").idempotency_key("once").execute();
    let (first, second) = tokio::join!(call(), call());
    assert_eq!(first?, second?);
    assert_eq!(fixture.model.count(), 1);
    let silent = fixture.client.agent(AGENT).input("text", "hold").timeout(Duration::from_secs(2)).execute().await;
    assert_eq!(silent.err().and_then(|error| error.code()), Some(ErrorCode::TimedOut));
    Ok(())
}

#[tokio::test]
async fn an_input_above_the_size_of_a_message_arrives_whole() -> Result<()> {
    const BYTES: usize = 2 * 1024 * 1024;
    let fixture = Fixture::start().await?;
    let outputs = fixture.client.agent(ECHO).input("text", "x".repeat(BYTES)).execute().await?;
    let artifact = ArtifactRef::from_json(&outputs["text"]).context("the output is too large for a message, too")?;
    assert_eq!(artifact.bytes, u64::try_from(BYTES)?);
    let content = vec![b'x'; BYTES];
    let uploaded = fixture.client.upload("note.txt", "text/plain", content.clone()).await?;
    assert_eq!((uploaded.hash, uploaded.name.as_str()), (ContentHash::from_content(&content), "note.txt"));
    let outputs = fixture.client.agent(ECHO).input("text", uploaded.to_json()).execute().await?;
    assert_eq!(ArtifactRef::from_json(&outputs["text"]).map(|artifact| artifact.bytes), Some(artifact.bytes));
    Ok(())
}

#[tokio::test]
async fn a_call_is_retried_until_nats_and_the_pod_are_connected_again() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    fixture.server.kill()?;
    let call = fixture.client.agent(ECHO).input("text", "hello").timeout(WAIT_MAX).execute_as::<Text>();
    let restart = fixture.server.restart();
    let (outputs, restarted) = tokio::join!(call, restart);
    restarted?;
    assert_eq!(outputs?.text, "hello");
    Ok(())
}

#[tokio::test]
async fn a_watch_continues_when_its_pod_is_killed_and_no_event_arrives_twice() -> Result<()> {
    let Fixture { client, model, holds, pod, fixture, server: _server } = Fixture::start().await?;
    let accepted = client.workflow(WORKFLOW).input("text", "hold").detach().reply().await?;
    let run = RunId::new(accepted.id)?;
    let mut observations = client.run(&run).watch();
    wait_until("the model is called", WAIT_MAX, || async { (model.count() > 0).then_some(()) }).await?;
    let first = observations.next().await.context("an event")??;
    ensure!(matches!(first, Observation::Event(_)), "{first:?}");
    // A process that is dropped is killed.
    drop(pod);
    holds.store(false, Ordering::Relaxed);
    let (_pod, _) = fixture.up().await?;
    let rest = tokio::time::timeout(WAIT_MAX, observations.try_collect::<Vec<_>>()).await??;
    let events = std::iter::once(first).chain(rest).filter_map(|observation| match observation {
        Observation::Event(event) => Some(event),
        Observation::Text { .. } | Observation::Restarted { .. } => None,
    });
    let events: Vec<_> = events.collect();
    ensure!(events.is_sorted_by_key(|event| event.seq), "{events:?}");
    let kinds = |is_wanted: fn(&RunEventKind) -> bool| events.iter().filter(|event| is_wanted(&event.kind)).count();
    assert_eq!(kinds(|kind| matches!(kind, RunEventKind::RunStarted { .. })), 1);
    assert_eq!(kinds(|kind| matches!(kind, RunEventKind::RunResumed { .. })), 1);
    let ended = events.last().context("events")?;
    ensure!(matches!(&ended.kind, RunEventKind::RunEnded { reply } if reply.error.is_none()), "{ended:?}");
    Ok(())
}
