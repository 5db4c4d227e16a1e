//! Pods that share one PostgreSQL database. Each has a data directory and a runtime of its own, so that dropping it ends
//! everything in it, as a crash of its process does. They have one scripted model, which counts the calls of all of them.

use std::fs;
use std::future::Future;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, test_config, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{AgentId, Clock, PodId, Reply, RunId, Timestamp, UserId, WorkflowId};
use greenroom_registry::journal::Seq;
use greenroom_registry::migrate_postgres;
use greenroom_runtimes::models::scripted::{Script, ScriptedCall};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{Config, Secret, StoreConfig};
use greenroom_supervisor::pod::Pod;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Executor as _};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use self::paused_model::{PausedModel, PausedReplies};
use crate::postgres::create_database;

mod paused_model;

/// Longest wait for what the pods do. A lease lasts a few seconds.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);

/// A bundle of the policy engine's tests.
const OPEN_BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rego/tests/bundles/own.tar.gz");
/// Two calls of models, one after the other.
const LETTER: &str = "\
workflow_id: letter
name: A letter
description: A letter
version: \"1.0.0\"
inputs:
  - { name: text, type: text, required: true }
steps:
  - { id: draft, agent: draft_agent, inputs: { text: \"${inputs.text}\" }, outputs: [text] }
  - { id: send, agent: send_agent, inputs: { text: \"${steps.draft.outputs.text}\" }, outputs: [text] }
";
/// The same with an approval between the calls.
const SIGNED_LETTER: &str = "\
workflow_id: signed_letter
name: A letter that is signed
description: A letter that is signed
version: \"1.0.0\"
inputs:
  - { name: text, type: text, required: true }
steps:
  - { id: draft, agent: draft_agent, inputs: { text: \"${inputs.text}\" }, outputs: [text] }
  - { id: sign, approval: { prompt: \"Sign ${steps.draft.outputs.text}?\" } }
  - id: send
    agent: send_agent
    depends_on: [sign]
    inputs: { text: \"${steps.draft.outputs.text}\" }
    outputs: [text]
";

/// The same with a payment between the calls.
const PAID_LETTER: &str = "\
workflow_id: paid_letter
name: A letter that is paid
description: A letter that is paid
version: \"1.0.0\"
inputs:
  - { name: text, type: text, required: true }
steps:
  - { id: draft, agent: draft_agent, inputs: { text: \"${inputs.text}\" }, outputs: [text] }
  - { id: payment, wait_for: { event: paid, timeout: 3600 }, depends_on: [draft] }
  - id: send
    agent: send_agent
    depends_on: [payment]
    inputs: { text: \"${steps.draft.outputs.text}\" }
outputs:
  paid: \"${steps.payment.outputs.value}\"
";

/// A database, and what its pods have in common.
pub(super) struct SharedDatabase {
    pub(super) url: String,
    model: PausedModel,
    definitions: DefinitionsDir,
    /// It has the key of the audit, once a pod has started.
    pub(super) folder: TempDir,
    /// That of the test itself.
    runtime: Runtime,
}

impl SharedDatabase {
    /// Creates a database, and a model with this script.
    pub(super) fn create(name: &str, calls: impl Into<Vec<ScriptedCall>>) -> Result<Self> {
        let url = new_runtime()?.block_on(create_database(name))?;
        Self::create_at(url, calls)
    }

    /// As [`Self::create`], in the empty database with this URL.
    pub(super) fn create_at(url: String, calls: impl Into<Vec<ScriptedCall>>) -> Result<Self> {
        let runtime = new_runtime()?;
        runtime.block_on(migrate_postgres(&url))?;
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("artifacts"))?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        definitions.write_model_agent("draft_agent", "scripted.draft")?;
        definitions.write_model_agent("send_agent", "scripted.send")?;
        definitions.write_workflow("letter", LETTER)?;
        definitions.write_workflow("signed_letter", SIGNED_LETTER)?;
        definitions.write_workflow("paid_letter", PAID_LETTER)?;
        Ok(Self { url, model: PausedModel::new(Script { calls: calls.into() }), definitions, folder, runtime })
    }

    /// Lets an agent remember its executions, for the pods that start from now on.
    pub(super) fn add_memory(&self, agent: &str) -> Result<()> {
        let file = self.definitions.dir().join("agents/business_ops").join(format!("{agent}.yaml"));
        let text = fs::read_to_string(&file)?;
        Ok(fs::write(file, format!("{text}memory_recall: {{ query: text, limit: 3 }}\n"))?)
    }

    /// A policy that allows an administrator everything. It knows no policy and no capability that a definition may name,
    /// so the agents name none from now on.
    pub(super) fn write_open_policy(&self) -> Result<PathBuf> {
        for agent in ["draft_agent", "send_agent"] {
            let file = self.definitions.dir().join("agents/business_ops").join(format!("{agent}.yaml"));
            let text = fs::read_to_string(&file)?;
            let remains = |line: &&str| !line.starts_with("policies:") && !line.starts_with("capabilities:");
            let lines: String = text.lines().filter(remains).map(|line| format!("{line}\n")).collect();
            fs::write(file, lines)?;
        }
        let folder = self.folder.path().join("policy");
        fs::create_dir(&folder)?;
        fs::copy(OPEN_BUNDLE, folder.join("guard.tar.gz"))?;
        Ok(folder)
    }

    /// Starts a pod that resumes no run.
    pub(super) fn start(&self, name: &str) -> Result<PodProcess> {
        self.start_with(name, |_| {})
    }

    /// As [`Self::start`], with a change of its configuration.
    pub(super) fn start_with(&self, name: &str, change: impl FnOnce(&mut Config)) -> Result<PodProcess> {
        self.assemble(name, Arc::new(WallClock), change)
    }

    /// As [`Self::start`], on a machine with these clocks.
    pub(super) fn start_with_clock(&self, name: &str, clock: Arc<dyn Clock>) -> Result<PodProcess> {
        self.assemble(name, clock, |_| {})
    }

    /// As [`Self::start`]. The pod leaves detached runs to others.
    pub(super) fn start_that_creates_runs_unowned(&self, name: &str) -> Result<PodProcess> {
        let overrides = Overrides { creates_runs_unowned: true, ..Overrides::default() };
        self.assemble_with(name, Arc::new(WallClock), |_| {}, overrides)
    }

    fn assemble(&self, name: &str, clock: Arc<dyn Clock>, change: impl FnOnce(&mut Config)) -> Result<PodProcess> {
        self.assemble_with(name, clock, change, Overrides::default())
    }

    /// As [`Self::start`], with these clocks, a change of its configuration, and overrides.
    pub(super) fn assemble_with(
        &self,
        name: &str,
        clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut Config),
        overrides: Overrides,
    ) -> Result<PodProcess> {
        let (dir, key) = (self.folder.path().join(name), self.folder.path().join("audit.key"));
        let mut config = test_config(&dir, StoreKind::Memory, Some(self.definitions.dir()))?;
        config.store = StoreConfig::Postgres { url: Secret::new(self.url.as_str()) };
        config.pod = PodId::new(name)?;
        config.artifacts.shared = true;
        change(&mut config);
        if !dir.exists() {
            self.create_data_dir(&config, &key)?;
        }
        let overrides = Overrides { providers: vec![Arc::new(self.model.clone())], ..overrides };
        let runtime = new_runtime()?;
        let pod = runtime.block_on(compose_with(&config, clock, Arc::new(TimeOrdered), overrides));
        let process = PodProcess { pod: Some(pod.context("the pod cannot be assembled")?), runtime };
        if !key.exists() {
            fs::copy(config.audit_key_file(), &key)?;
        }
        Ok(process)
    }

    /// Creates the data directory of a pod. The first one generates the key of all of them.
    fn create_data_dir(&self, config: &Config, key: &Path) -> Result<()> {
        fs::create_dir(&config.data_dir)?;
        symlink(self.folder.path().join("artifacts"), config.artifacts_dir())?;
        if key.exists() {
            fs::copy(key, config.audit_key_file())?;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<PgConnection> {
        let options: PgConnectOptions = self.url.parse()?;
        Ok(options.connect().await?)
    }

    /// Executes a statement past the pods.
    pub(super) fn execute(&self, sql: &'static str) -> Result<()> {
        self.runtime.block_on(async {
            self.connect().await?.execute(sql).await?;
            Ok(())
        })
    }

    /// The time of the server.
    pub(super) fn time(&self) -> Result<Timestamp> {
        self.runtime.block_on(async {
            let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
            let micros: i64 = sqlx::query_scalar(sql).fetch_one(&mut self.connect().await?).await?;
            Ok(Timestamp::from_micros(micros))
        })
    }

    /// Waits until a query counts this number.
    pub(super) fn wait_count(&self, sql: &'static str, expected: i64) -> Result<()> {
        let is_reached = || async {
            let mut connection = self.connect().await.ok()?;
            let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.ok()?;
            (count == expected).then_some(())
        };
        self.runtime.block_on(wait_until(sql, WAIT_MAX, is_reached))
    }

    /// Prevents all pods from renewing their leases. Their batches lock only the keys of these rows, and are executed.
    pub(super) fn prevent_renewals(&self) -> Result<PreventedRenewals<'_>> {
        let connection = self.runtime.block_on(async {
            let mut connection = self.connect().await?;
            connection.execute("BEGIN").await?;
            connection.execute("SELECT 1 FROM pods FOR NO KEY UPDATE").await?;
            anyhow::Ok(connection)
        })?;
        Ok(PreventedRenewals { connection, database: self })
    }

    /// Lets the model reply to no call, until the returned guard is dropped.
    pub(super) fn pause_replies(&self) -> PausedReplies {
        self.model.pause()
    }

    /// Calls of the model so far, by all pods.
    pub(super) fn calls(&self) -> u64 {
        self.model.call_count()
    }

    /// Waits until the pods have called the model this often.
    pub(super) fn wait_calls(&self, calls: u64) -> Result<()> {
        let are_made = || async { (self.calls() >= calls).then_some(()) };
        self.runtime.block_on(wait_until("the model is called", WAIT_MAX, are_made))
    }
}

/// As long as it exists, no pod renews its lease.
pub(super) struct PreventedRenewals<'a> {
    connection: PgConnection,
    database: &'a SharedDatabase,
}

impl PreventedRenewals<'_> {
    /// Lets the pods renew their leases again.
    pub(super) fn end(mut self) -> Result<()> {
        self.database.runtime.block_on(self.connection.execute("ROLLBACK"))?;
        Ok(())
    }
}

/// A pod in a process of its own. Dropping it ends everything in it.
pub(super) struct PodProcess {
    /// None once it has ended.
    pod: Option<Pod>,
    runtime: Runtime,
}

impl PodProcess {
    /// The pod.
    pub(super) fn pod(&self) -> &Pod {
        self.pod.as_ref().expect("a process whose pod has ended is not used any more")
    }

    /// A client of the administrator.
    pub(super) fn client(&self) -> Result<Client> {
        Ok(self.pod().client(&UserId::new("admin")?))
    }

    /// Runs something in the process.
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Resumes runs without an owner from now on.
    pub(super) fn recover(&mut self) {
        let Self { pod, runtime } = self;
        let _context = runtime.enter();
        pod.as_mut().expect("it has not ended").recover();
    }

    /// Starts a run without waiting for its end.
    pub(super) fn start_detached(&self, workflow: &str) -> Result<RunId> {
        let (client, params) =
            (self.client()?, CallParams { inputs: text("hello"), detach: true, ..CallParams::default() });
        let started = self.block_on(client.run_workflow(WorkflowId::new(workflow)?, params))?;
        ensure!(started.error.is_none(), "{started:?}");
        Ok(RunId::new(&started.id)?)
    }

    /// Executes an agent.
    pub(super) fn run_agent(&self, agent: &str) -> Result<Reply> {
        let (client, params) = (self.client()?, CallParams { inputs: text("hello"), ..CallParams::default() });
        Ok(self.block_on(client.run_agent(AgentId::new(agent)?, params))?)
    }

    /// Waits until a run has this status, whichever pod owns it.
    pub(super) fn wait_status(&self, run: &RunId, status: RunStatus) -> Result<()> {
        let has_status = || async {
            let record = self.pod().stores().runs.get(run).await.ok()??;
            (record.status == status).then_some(())
        };
        self.block_on(wait_until(&format!("the run is {}", status.as_str()), WAIT_MAX, has_status))
    }

    /// Waits until a run has ended, whichever pod owns it.
    pub(super) fn wait_ended(&self, run: &RunId) -> Result<Reply> {
        let reply = || async { self.pod().stores().runs.reply(run).await.ok().flatten() };
        self.block_on(wait_until("the run has ended", WAIT_MAX, reply))
    }

    /// Waits until the journal of a run has an entry of a certain kind, whichever pod owns it.
    pub(super) fn wait_entry(&self, run: &RunId, is_expected: impl Fn(&Entry) -> bool) -> Result<()> {
        let has_entry = || async {
            let records = self.pod().stores().journal.read(run, Seq(0), 1_000).await.ok()?;
            records.iter().any(|record| is_expected(&record.entry)).then_some(())
        };
        self.block_on(wait_until("the journal has the entry", WAIT_MAX, has_entry))
    }

    /// Entries of the journal of a run of a certain kind.
    pub(super) fn count_entries(&self, run: &RunId, is_counted: impl Fn(&Entry) -> bool) -> Result<usize> {
        let records = self.block_on(self.pod().stores().journal.read(run, Seq(0), 1_000))?;
        Ok(records.iter().filter(|record| is_counted(&record.entry)).count())
    }

    /// How often a run was resumed.
    pub(super) fn count_resumptions(&self, run: &RunId) -> Result<usize> {
        self.count_entries(run, |entry| matches!(entry, Entry::RunResumed { .. }))
    }

    /// Ends the process in order.
    pub(super) fn shutdown(mut self) {
        if let Some(pod) = self.pod.take() {
            self.runtime.block_on(pod.shutdown());
        }
    }

    /// Ends the pod as `up` does once it was declared dead.
    pub(super) fn abandon(mut self) {
        if let Some(pod) = self.pod.take() {
            self.runtime.block_on(pod.abandon());
        }
    }

    /// Ends the process at once, as a crash does: its pod does not leave the database.
    pub(super) fn crash(self) {
        drop(self);
    }
}

impl Drop for PodProcess {
    fn drop(&mut self) {
        let _context = self.runtime.enter();
        drop(self.pod.take());
    }
}

/// A runtime of a process.
pub(super) fn new_runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
