//! A call of a tool that needs an approval: the process ends while the run waits, another one continues it after the
//! decision, and nothing that the first one has done is repeated.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::shifted_clock::ShiftedClock;
use greenroom_integration_tests::test_pod::{StoreKind, test_config, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::{Entry, PendingApproval};
use greenroom_protocol::{
    AgentId, Clock, ErrorCode, IdGenerator, Json, PodId, RunId, Status, Tokens, UserId, WorkflowId,
};
use greenroom_registry::journal::Seq;
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedCall, ScriptedReply};
use greenroom_supervisor::clock::TimeOrdered;
use greenroom_supervisor::compose::{self, Overrides, compose_with};
use greenroom_supervisor::config::Config;
use greenroom_supervisor::pod::Pod;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const AGENT: &str = "agent_id: payer_agent
name: Payer
category: business_ops
description: Computes an amount, if a person approves that
version: \"1.0.0\"
capabilities: [text_generation]
inputs:
  - { name: text, type: text, required: true }
outputs:
  - { name: text, type: text }
policies: [require_authentication, audit_all_actions]
tools:
  - { tool: \"native:calculator\", approval: required }
implementation:
  runtime: llm
  model: scripted.any
  timeout: 120
  prompt:
    system: You answer.
    user: \"{{ inputs.text }}\"
";
const WORKFLOW: &str = "workflow_id: payment
name: payment
description: Calls an agent whose tool needs an approval
version: \"1.0.0\"
timeout: 3600
inputs:
  - { name: text, type: text, required: true }
steps:
  - { id: pay, agent: payer_agent, inputs: { text: \"${inputs.text}\" }, outputs: [text] }
";
/// How long the run has no process; more than its timeout.
const DOWN: Duration = Duration::from_secs(2 * 60 * 60);
const WAIT_MAX: Duration = Duration::from_secs(60);
const TOKENS: Tokens = Tokens { input: 3, output: 4 };

/// What outlives the processes: a data directory and the clock.
struct Fixture {
    config: Config,
    clock: Arc<ShiftedClock>,
    _folder: TempDir,
}

/// A decision of the user, and what the model must read of it.
struct Decision {
    approved: bool,
    read: &'static str,
}

impl Fixture {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("definitions");
        let definitions = DefinitionsDir::new(&dir)?;
        let agents = dir.join("agents/business_ops");
        fs::create_dir_all(&agents)?;
        fs::write(agents.join("payer_agent.yaml"), AGENT)?;
        definitions.write_workflow("payment", WORKFLOW)?;
        let config = test_config(folder.path(), StoreKind::Full, Some(&dir))?;
        Ok(Self { config, clock: Arc::default(), _folder: folder })
    }

    /// Starts a pod whose model replies once like this.
    async fn start(&self, contains: Option<&str>, reply: ScriptedReply) -> Result<(Pod, Scripted)> {
        let contains = contains.map(str::to_owned);
        let call = ScriptedCall { contains, times: Some(1), reply, usage: Some(TOKENS), ..ScriptedCall::default() };
        let model = Scripted::new(Script { calls: vec![call] });
        let overrides = Overrides { providers: vec![Arc::new(model.clone())], ..Overrides::default() };
        let pod = compose_with(&self.config, self.clock.clone(), Arc::new(TimeOrdered), overrides).await;
        Ok((pod.context("the pod cannot be assembled")?, model))
    }

    /// Starts a run, which waits for the approval when its process ends, as a crash ends it.
    async fn start_waiting_run(&self) -> Result<RunId> {
        let arguments = json!({ "expression": "1 + 1" });
        let reply = ScriptedReply::Tool { id: "a".into(), name: "calculator".into(), arguments };
        let (pod, model) = self.start(None, reply).await?;
        let client = pod.client(&UserId::new("admin")?);
        let params = || CallParams { inputs: text("hello"), detach: true, ..CallParams::default() };
        let refused = client.run_agent(AgentId::new("payer_agent")?, params()).await?;
        let code = refused.error.as_ref().map(|cause| cause.code);
        ensure!(code == Some(ErrorCode::ApprovalRequired), "without a run: {refused:?}");
        let started = client.run_workflow(WorkflowId::new("payment")?, params()).await?;
        ensure!(started.error.is_none(), "{started:?}");
        let run = RunId::new(&started.id)?;
        let pending = pending(&client, &run).await?;
        ensure!(model.stats().calls == 1, "the model was called {} times", model.stats().calls);
        let [call] = pending.calls.as_slice() else { anyhow::bail!("{pending:?}") };
        ensure!((call.tool.as_str(), &call.arguments["expression"]) == ("native:calculator", &json!("1 + 1")));
        Ok(run)
    }

    /// Decides in another process, and waits until the run has ended.
    async fn decide(&self, run: &RunId, decision: &Decision) -> Result<()> {
        self.open_stores().await?;
        let answer = ScriptedReply::Json(json!({ "text": "done" }));
        let (mut pod, model) = self.start(Some(decision.read), answer).await?;
        pod.recover();
        let resumed = || async {
            let entries = pod.stores().journal.read(run, Seq(0), 1_000).await.ok()?;
            entries.iter().any(|record| matches!(record.entry, Entry::RunResumed { .. })).then_some(())
        };
        wait_until("the run is resumed", WAIT_MAX, resumed).await?;
        let client = pod.client(&UserId::new("admin")?);
        let pending = pending(&client, run).await?;
        let call = pending.calls.first().context("a call waits")?.call.clone();
        let handle = client.run(run);
        let decided = match decision.approved {
            true => handle.approve_call("pay", call).send().await?,
            false => handle.reject_call("pay", call, Some("not now".to_owned())).send().await?,
        };
        ensure!(decided.error.is_none(), "{decided:?}");
        let ended = || async { pod.stores().runs.reply(run).await.ok().flatten() };
        let reply = wait_until("the run has ended", WAIT_MAX, ended).await?;
        ensure!(reply.status == Status::Success && reply.outputs["text"] == "done", "{reply:?}");
        ensure!(model.stats().calls == 1, "the model was called {} times", model.stats().calls);
        let used = reply.metadata.tokens_used;
        ensure!(used == Tokens { input: 6, output: 8 }, "what both processes have used: {used:?}");
        let entries = pod.stores().journal.read(run, Seq(0), 1_000).await?;
        let requested = entries.iter().filter(|record| matches!(record.entry, Entry::ToolApprovalRequested { .. }));
        ensure!(requested.count() == 1, "{entries:?}");
        pod.shutdown().await;
        Ok(())
    }

    /// Opens the stores without resuming a run. The writer of a pod that was dropped ends on a thread of its own, so this
    /// waits for it.
    async fn open_stores(&self) -> Result<()> {
        let (clock, ids): (Arc<dyn Clock>, Arc<dyn IdGenerator>) = (self.clock.clone(), Arc::new(TimeOrdered));
        let pod = PodId::for_start(&self.config.pod, ids.next_id());
        let opened = || async { compose::stores::open(&self.config, &pod, &clock, &ids, None).await.ok() };
        drop(wait_until("the database has no owner", WAIT_MAX, opened).await?);
        Ok(())
    }
}

/// Waits until the run waits for an approval, and returns it.
async fn pending(client: &Client, run: &RunId) -> Result<PendingApproval> {
    wait_until("the run waits for an approval", WAIT_MAX, || async {
        let reply = client.run_record(run.clone()).await.ok()?;
        let record = reply.outputs.get("run")?;
        let is_waiting = record.get("status")? == RunStatus::WaitingApproval.as_str();
        let first: &Json = record.get("pending_approvals")?.get(0)?;
        serde_json::from_value(first.clone()).ok().filter(|_| is_waiting)
    })
    .await
}

/// One process. Dropping it ends everything in it, as a crash does.
fn process() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

#[test]
fn a_call_of_a_tool_waits_for_its_approval_across_a_crash() -> Result<()> {
    for decision in [
        Decision { approved: true, read: "\"result\":2" },
        Decision { approved: false, read: "rejected by admin: not now" },
    ] {
        let fixture = Fixture::new()?;
        let run = process()?.block_on(fixture.start_waiting_run())?;
        fixture.clock.put_forward(DOWN);
        process()?.block_on(fixture.decide(&run, &decision))?;
    }
    Ok(())
}
