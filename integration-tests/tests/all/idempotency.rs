//! Idempotency keys from the outside: one rule for agents and workflows (`docs/idempotency.md`), and the key that the
//! provider of a model receives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_client::Client;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::RunningCommand;
use greenroom_integration_tests::test_pod::{StoreKind, TestPod, start_pod, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::request::{CallOptions, ContextChange, ContextWrite, ResumeRun, Signal, SignalRun, StartTeam};
use greenroom_protocol::{
    ContextKey, Envelope, ErrorCode, IdempotencyKey, Reply, Request, RunId, StepId, TeamId, UserId, Values, WorkflowId,
};
use greenroom_supervisor::compose::Overrides;
use serde_json::json;

const AGENT: &str = "llm_agent";
const WORKFLOW: &str = "one_call";
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A pod whose model fails while the flag is set, and is silent for the word `hold`.
struct Fixture {
    server: ScriptServer,
    fails: Arc<AtomicBool>,
    client: Client,
    _up: RunningCommand,
    _fixture: ModelFixture,
}

async fn fixture() -> Result<Fixture> {
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let behavior = move |request: &RecordedRequest| {
        if failing.load(Ordering::SeqCst) {
            ServerBehavior::Stops("odd_reason")
        } else if request.body.to_string().contains("hold") {
            ServerBehavior::Slow(Duration::from_millis(500))
        } else {
            ServerBehavior::Good
        }
    };
    let server = ScriptServer::start(behavior).await?;
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.write_llm_agent(AGENT, 60, 200)?;
    fixture.definitions.write_row_workflow(WORKFLOW, AGENT, 1)?;
    let (up, client) = fixture.up().await?;
    Ok(Fixture { server, fails, client, _up: up, _fixture: fixture })
}

impl Fixture {
    /// Sends a text to the agent, or to the workflow that calls it.
    async fn send(&self, is_workflow: bool, key: Option<&str>, words: &str) -> Result<Reply> {
        let call = if is_workflow { self.client.workflow(WORKFLOW) } else { self.client.agent(AGENT) };
        let call = call.inputs(&text(words));
        let call = if let Some(key) = key { call.idempotency_key(key) } else { call };
        Ok(call.send().await?)
    }

    fn keys(&self) -> Vec<String> {
        self.server.requests().iter().map(|request| request.key().to_owned()).collect()
    }
}

fn code(reply: &Reply) -> Option<ErrorCode> {
    reply.error.as_ref().map(|cause| cause.code)
}

#[tokio::test]
async fn one_rule_holds_for_agents_and_workflows() -> Result<()> {
    let fixture = fixture().await?;
    for (is_workflow, key) in [(false, "agent"), (true, "workflow")] {
        fixture.fails.store(true, Ordering::SeqCst);
        let failed = fixture.send(is_workflow, Some(key), "hello").await?;
        assert_eq!(code(&failed), Some(ErrorCode::ModelFailed), "{failed:?}");
        fixture.fails.store(false, Ordering::SeqCst);
        let repeated = fixture.send(is_workflow, Some(key), "hello").await?;
        assert_eq!(repeated.error, None, "a failure that may pass has freed the key");
        let calls = fixture.server.count();
        let next_reply = fixture.send(is_workflow, Some(key), "hello").await?;
        assert_eq!((&next_reply.id, &next_reply.outputs), (&repeated.id, &repeated.outputs));
        assert_eq!(fixture.server.count(), calls, "a success is stored");
        let other = fixture.send(is_workflow, Some(key), "other").await?;
        assert_eq!(code(&other), Some(ErrorCode::IdempotencyConflict));
        let other_kind = fixture.send(!is_workflow, Some(key), "hello").await?;
        assert_eq!(code(&other_kind), Some(ErrorCode::IdempotencyConflict));
    }
    Ok(())
}

#[tokio::test]
async fn the_key_of_the_caller_reaches_the_provider_and_is_the_same_at_each_repetition() -> Result<()> {
    let fixture = fixture().await?;
    fixture.fails.store(true, Ordering::SeqCst);
    fixture.send(false, Some("k"), "hello").await?;
    fixture.fails.store(false, Ordering::SeqCst);
    fixture.send(false, Some("k"), "hello").await?;
    let keys = fixture.keys();
    assert!(keys.len() >= 2 && keys[0].starts_with("key_"), "{keys:?}");
    assert_eq!(keys.last(), keys.first(), "the repetition begins as the first request did");
    // Each further request to the model has a key below the one of the effect.
    assert!(keys.iter().all(|key| key.split('/').next() == Some(keys[0].as_str())), "{keys:?}");
    fixture.send(false, Some("l"), "hello").await?;
    fixture.send(false, None, "hello").await?;
    let others = fixture.keys().split_off(keys.len());
    assert!(others.len() == 2 && others[0] != others[1] && !others.contains(&keys[0]), "{others:?}");
    Ok(())
}

#[tokio::test]
async fn a_dropped_connection_frees_the_key_of_an_agent_and_a_run_continues() -> Result<()> {
    for is_workflow in [false, true] {
        let fixture = fixture().await?;
        let mut first = Box::pin(fixture.send(is_workflow, Some("k"), "hold"));
        let called =
            wait_until("the model is called", WAIT_MAX, || async { (fixture.server.count() == 1).then_some(()) });
        tokio::select! {
            reply = &mut first => anyhow::bail!("too early: {reply:?}"),
            called = called => called?,
        }
        drop(first);
        let repeated = fixture.send(is_workflow, Some("k"), "hold").await?;
        assert_eq!(repeated.error, None);
        // The execution of the agent was aborted; the repetition of the workflow waits for the run.
        assert_eq!(fixture.server.count(), if is_workflow { 1 } else { 2 });
    }
    Ok(())
}

const APPROVED: &str = "approved_letter";
const TEAM: &str = "letter_team";

/// A pod with a team whose workflow awaits an approval.
async fn approval_pod() -> Result<(TestPod, RunId)> {
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
    definitions.write_echo_agent("writer")?;
    definitions.write_workflow(
        APPROVED,
        &format!(
            "workflow_id: {APPROVED}\nname: {APPROVED}\ndescription: A letter\nversion: \"1.0.0\"\n\
             inputs:\n  - name: text\n    type: text\n    required: true\nsteps:\n  - id: draft\n    agent: writer\n    \
             inputs: {{ text: \"${{inputs.text}}\" }}\n    outputs: [text]\n  - id: sign\n    depends_on: [draft]\n    \
             approval: {{ prompt: \"Sign?\" }}\n"
        ),
    )?;
    definitions.write_team(
        TEAM,
        &format!(
            "team_id: {TEAM}\nname: Letters\ndescription: Writes letters\nagents: [writer]\nworkflows: [{APPROVED}]\n"
        ),
    )?;
    let pod = start_pod(StoreKind::Memory, Some(definitions.dir()), Overrides::default()).await?;
    let start = Request::StartTeam(StartTeam {
        team: TeamId::new(TEAM)?.into(),
        workflow: WorkflowId::new(APPROVED)?,
        inputs: text("hello"),
        context: Values::new(),
        version: None,
        workflow_version: None,
        detach: true,
        key: None,
        options: CallOptions::default(),
    });
    let reply = send(&pod, None, start).await?;
    anyhow::ensure!(reply.error.is_none(), "{reply:?}");
    let run = RunId::new(&reply.id)?;
    let client = pod.admin()?;
    wait_until("the run awaits an approval", WAIT_MAX, || async {
        let reply = client.run_record(run.clone()).await.ok()?;
        reply.outputs.get("run").filter(|run| run["status"] == "waiting_approval").map(drop)
    })
    .await?;
    Ok((pod, run))
}

async fn send(pod: &TestPod, key: Option<&str>, request: Request) -> Result<Reply> {
    let idempotency_key = key.map(IdempotencyKey::new).transpose()?;
    let envelope = Envelope { idempotency_key, ..Envelope::new(request) };
    Ok(pod.pod.ingress().send(UserId::new("admin")?, envelope).await)
}

#[tokio::test]
async fn a_signal_honours_its_key_and_a_context_write_without_a_version_is_refused() -> Result<()> {
    let (pod, run) = approval_pod().await?;
    let write = |expect, item: &str| -> Result<Request> {
        let (run, key) = (run.clone(), ContextKey::new("notes")?);
        Ok(Request::ContextWrite(ContextWrite {
            run,
            key,
            expect,
            change: ContextChange::Append(json!(item)),
            ttl_ms: None,
        }))
    };
    let refused = send(&pod, Some("w"), write(None, "a")?).await?.error.context("it cannot be repeated")?;
    assert_eq!(refused.code, ErrorCode::InvalidRequest, "{refused}");
    // The shipped policy lets only members and steps write. What is denied uses no key.
    for item in ["a", "b"] {
        assert_eq!(code(&send(&pod, Some("w"), write(Some(0), item)?).await?), Some(ErrorCode::PolicyDenied));
    }

    let signal = |step: &str| -> Result<Request> {
        Ok(Request::SignalRun(SignalRun {
            run: run.clone(),
            signal: Signal::Approve { step: StepId::new(step)?, call: None },
        }))
    };
    let wrong = send(&pod, Some("s"), signal("draft")?).await?;
    assert_eq!(code(&wrong), Some(ErrorCode::UnknownStep), "rejected, and nothing was executed");
    let approved = send(&pod, Some("s"), signal("sign")?).await?;
    assert_eq!(approved.error, None);
    let repeated = send(&pod, Some("s"), signal("sign")?).await?;
    assert_eq!((&repeated.error, &repeated.outputs), (&None, &approved.outputs));
    let without_key = send(&pod, None, signal("sign")?).await?;
    assert!(without_key.error.is_some(), "there is nothing to approve any more: {without_key:?}");
    let resume = Request::ResumeRun(ResumeRun { run: run.clone(), dead: false });
    assert_eq!(code(&send(&pod, Some("s"), resume).await?), Some(ErrorCode::IdempotencyConflict));
    pod.pod.shutdown().await;
    Ok(())
}
