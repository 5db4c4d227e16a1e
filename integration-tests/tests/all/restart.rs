//! A run whose process ends while a step is in flight, and is started again: its deadline moves by the time in which it
//! had no process, and not by the time in which it was quiet before.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_actors::run::LEASE;
use greenroom_client::CallParams;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::shifted_clock::ShiftedClock;
use greenroom_integration_tests::test_pod::{StoreKind, test_config, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Clock, Deadline, IdGenerator, PodId, RunId, Status, Tokens, UserId, WorkflowId};
use greenroom_registry::Stores;
use greenroom_registry::journal::Seq;
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedReply};
use greenroom_supervisor::clock::TimeOrdered;
use greenroom_supervisor::compose::{self, Overrides, compose_with};
use greenroom_supervisor::config::Config;
use greenroom_supervisor::pod::Pod;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const AGENT: &str = "slow_agent";
const WORKFLOW: &str = "workflow_id: slow
name: slow
description: Calls a slow model
version: \"1.0.0\"
timeout: 3600
inputs:
  - { name: text, type: text, required: true }
steps:
  - { id: call, agent: slow_agent, inputs: { text: \"${inputs.text}\" }, outputs: [text] }
";
/// How long the run is quiet; less than its timeout.
const QUIET: Duration = Duration::from_secs(40 * 60);
/// How long it has no process; more than its timeout.
const DOWN: Duration = Duration::from_secs(2 * 60 * 60);
/// More than a busy machine needs for this test, and less than `QUIET`.
const MARGIN: Duration = Duration::from_secs(20 * 60);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How the first process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProcessEnd {
    Orderly,
    Crash,
}

/// What outlives the processes: a data directory and the clock.
struct Fixture {
    config: Config,
    clock: Arc<ShiftedClock>,
    _folder: TempDir,
}

impl Fixture {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("definitions");
        let definitions = DefinitionsDir::new(&dir)?;
        definitions.write_model_agent(AGENT, "scripted.any")?;
        definitions.write_workflow("slow", WORKFLOW)?;
        let config = test_config(folder.path(), StoreKind::Full, Some(&dir))?;
        Ok(Self { config, clock: Arc::default(), _folder: folder })
    }

    /// Starts a pod whose model replies like this.
    async fn start(&self, reply: ScriptedReply) -> Result<(Pod, Scripted)> {
        let model = Scripted::new(Script::always(Duration::ZERO, reply, Some(Tokens { input: 3, output: 4 })));
        let overrides = Overrides { providers: vec![Arc::new(model.clone())], ..Overrides::default() };
        let pod = compose_with(&self.config, self.clock.clone(), Arc::new(TimeOrdered), overrides).await;
        Ok((pod.context("the pod cannot be assembled")?, model))
    }

    /// Starts a run whose step waits for its model for long, until the process ends.
    async fn start_quiet_run(&self, end: ProcessEnd) -> Result<RunId> {
        let (pod, model) = self.start(ScriptedReply::Silence).await?;
        let params = CallParams { inputs: text("hello"), detach: true, ..CallParams::default() };
        let started = pod.client(&UserId::new("admin")?).run_workflow(WorkflowId::new("slow")?, params).await?;
        ensure!(started.error.is_none(), "{started:?}");
        let run = RunId::new(&started.id)?;
        wait_until("the model is called", WAIT_MAX, || async { (model.stats().calls == 1).then_some(()) }).await?;
        self.clock.put_forward(QUIET);
        match end {
            ProcessEnd::Orderly => pod.shutdown().await,
            ProcessEnd::Crash => {
                let Stores { core, runs, maintenance, .. } = pod.stores();
                let record = runs.get(&run).await?.context("the run is recorded")?;
                // As the pod does each second. The check waits until what was submitted before is durable.
                core.renew(&run, record.fence, LEASE, self.clock.now()).await?;
                ensure!(maintenance.check().await?.is_ok(), "the database is damaged");
            }
        }
        Ok(run)
    }

    /// Opens the stores without resuming a run, as a command does that only lists them. The writer of a pod that was
    /// dropped ends on a thread of its own, so this waits for it.
    async fn open_stores(&self) -> Result<()> {
        let (clock, ids): (Arc<dyn Clock>, Arc<dyn IdGenerator>) = (self.clock.clone(), Arc::new(TimeOrdered));
        let pod = PodId::for_start(&self.config.pod, ids.next_id());
        let opened = || async { compose::stores::open(&self.config, &pod, &clock, &ids, None).await.ok() };
        drop(wait_until("the database has no owner", WAIT_MAX, opened).await?);
        Ok(())
    }

    /// Resumes the run in another process until it has ended, and returns its deadlines: the first one, and that of its
    /// resumption.
    async fn resume(&self, run: &RunId) -> Result<(Deadline, Deadline)> {
        self.open_stores().await?;
        let (mut pod, _) = self.start(ScriptedReply::Blank).await?;
        pod.recover();
        let ended = || async { pod.stores().runs.reply(run).await.ok().flatten() };
        let reply = wait_until("the run has ended", WAIT_MAX, ended).await?;
        ensure!(reply.status == Status::Success, "{reply:?}");
        let entries = pod.stores().journal.read(run, Seq(0), 1_000).await?;
        pod.shutdown().await;
        let first = entries.iter().find_map(|record| match &record.entry {
            Entry::RunStarted(started) => Some(started.deadline),
            _ => None,
        });
        let resumed = entries.iter().find_map(|record| match &record.entry {
            Entry::RunResumed { deadline, .. } => Some(*deadline),
            _ => None,
        });
        first.zip(resumed).context("the run has started and was resumed")
    }
}

/// One process. Dropping it ends everything in it, as a crash does.
fn process() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

#[test]
fn a_run_that_was_quiet_before_a_restart_is_not_given_that_time_again() -> Result<()> {
    for end in [ProcessEnd::Orderly, ProcessEnd::Crash] {
        let fixture = Fixture::new()?;
        let run = process()?.block_on(fixture.start_quiet_run(end))?;
        fixture.clock.put_forward(DOWN);
        let (first, resumed) = process()?.block_on(fixture.resume(&run))?;
        let moved = resumed.0.saturating_duration_since(first.0);
        ensure!((DOWN..DOWN + MARGIN).contains(&moved), "{end:?}: the deadline has moved by {moved:?}");
    }
    Ok(())
}
