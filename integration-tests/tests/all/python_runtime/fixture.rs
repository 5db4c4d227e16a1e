//! A pod with handlers in Python: a folder of modules, and agents that name them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, test_config};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{AgentId, Cause, Json, Reply, UserId};
use greenroom_runtimes::python::settings::Settings;
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::pod::Pod;
use tempfile::TempDir;

/// Bound of what a test waits for; a busy machine needs less.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Handlers and agents, before their pod starts.
pub(super) struct Handlers {
    folder: TempDir,
    pub(super) definitions: DefinitionsDir,
}

impl Handlers {
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        let handlers = Self { folder, definitions };
        fs::create_dir_all(handlers.path(""))?;
        Ok(handlers)
    }

    /// The path of a file below the folder of the handlers.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("handlers").join(name)
    }

    /// Writes a file below the folder of the handlers.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        Ok(fs::write(path, text)?)
    }

    /// Writes the agent `id`, which takes any `value` and returns an object `result`, with this handler, a timeout in
    /// seconds and further members.
    pub(super) fn write_agent(&self, id: &str, handler: &str, timeout_s: u32, members: &str) -> Result<()> {
        let folder = self.definitions.dir().join("agents/business_ops");
        fs::create_dir_all(&folder)?;
        let text = format!(
            "agent_id: {id}\nname: {id}\ncategory: business_ops\ndescription: Executes Python\nversion: \"1.0.0\"\n\
             capabilities: [text_generation]\ninputs:\n  - name: value\n    type: object\n\
             outputs:\n  - name: result\n    type: object\n    required: true\n{members}\
             implementation:\n  runtime: python\n  handler: {handler}\n  timeout: {timeout_s}\n"
        );
        Ok(fs::write(folder.join(format!("{id}.yaml")), text)?)
    }

    /// Writes a module with one function `execute`, and the agent `id` that names it.
    pub(super) fn write_function(&self, id: &str, timeout_s: u32, body: &str) -> Result<()> {
        self.write(&format!("{id}.py"), body)?;
        self.write_agent(id, &format!("{id}.execute"), timeout_s, "")
    }

    /// Starts the pod, with changed settings of the runtime.
    pub(super) async fn start(self, change: impl FnOnce(&mut Settings)) -> Result<HandlerPod> {
        let root = self.folder.path();
        let mut config = test_config(root, StoreKind::Memory, Some(self.definitions.dir()))?;
        config.python.settings.handlers = self.path("");
        change(&mut config.python.settings);
        let workers = config.python.settings.folder.join("workers");
        let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), Overrides::default()).await?;
        Ok(HandlerPod { pod, workers, _folder: self.folder })
    }
}

/// The pod.
pub(super) struct HandlerPod {
    pub(super) pod: Pod,
    workers: PathBuf,
    _folder: TempDir,
}

impl HandlerPod {
    pub(super) fn client(&self) -> Result<Client> {
        Ok(self.pod.client(&UserId::new("admin")?))
    }

    /// Calls an agent with the input `value`.
    pub(super) async fn call(&self, agent: &str, value: Json) -> Result<Reply> {
        let params = CallParams { inputs: [("value".to_owned(), value)].into(), ..CallParams::default() };
        Ok(self.client()?.run_agent(AgentId::new(agent)?, params).await?)
    }

    /// The output `result` of a call that succeeds.
    pub(super) async fn result(&self, agent: &str, value: Json) -> Result<Json> {
        let mut reply = self.call(agent, value).await?;
        if let Some(cause) = reply.error {
            anyhow::bail!("{agent}: {cause} {}", cause.details);
        }
        reply.outputs.remove("result").context("an output")
    }

    /// The cause of a call that fails.
    pub(super) async fn cause(&self, agent: &str, value: Json) -> Result<Cause> {
        self.call(agent, value).await?.error.with_context(|| format!("{agent} has not failed"))
    }

    /// Waits until a process has written this file into its working folder.
    pub(super) async fn wait_for_file(&self, name: &str) -> Result<()> {
        let workers = &self.workers;
        let has_file = || async move {
            let folders = fs::read_dir(workers).ok()?;
            folders.flatten().any(|folder| folder.path().join(name).exists()).then_some(())
        };
        wait_until("a handler has written its file", WAIT_MAX, has_file).await
    }

    /// Waits until no process has a working folder.
    pub(super) async fn wait_for_no_process(&self) -> Result<()> {
        let workers = &self.workers;
        let is_empty = || async move { (fs::read_dir(workers).ok()?.count() == 0).then_some(()) };
        wait_until("no process has a working folder", WAIT_MAX, is_empty).await
    }

    pub(super) async fn shutdown(self) {
        Box::pin(self.pod.shutdown()).await;
    }
}
