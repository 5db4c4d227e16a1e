//! Several pods of the product on one PostgreSQL, in processes of their own, under faults: what an operator, a network
//! and a machine do to them, from one seed, and a checker that trusts only what was observed from outside.
//!
//! ```text
//! choices, schedule       which faults, and when: a seed determines them
//! servers                 PostgreSQL, Redis, S3
//! pod_process, proxy      a pod, and what is between it and PostgreSQL
//! workload, load          what the runs do, and the clients that start them
//! model_log, observer     the evidence: the log of the model server, and the database while it changes
//! history, journals       what was observed
//! checker                 what is promised, as a pure function of a history
//! experiment              all of it together
//! shifted_pod             a pod whose clock can be put forward
//! ```

pub mod checker;
pub mod choices;
pub mod experiment;
pub mod history;
pub mod journals;
pub mod load;
pub mod model_log;
pub mod moment;
pub mod observer;
pub mod pod_process;
pub mod postgres_server;
pub mod programs;
pub mod proxy;
pub mod schedule;
pub mod servers;
pub mod shifted_pod;
pub mod workload;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use greenroom_protocol::{Json, MicroUsd};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use tempfile::TempDir;

use crate::definitions_dir::DefinitionsDir;
use pod_process::{PodProcess, PodProgram};
use proxy::Proxy;
use servers::Servers;

/// The names of the pods. The clock of the last one can be put forward.
const POD_NAMES: [&str; schedule::PODS] = ["pod-a", "pod-b", "pod-c"];
/// Connections of the harness itself.
const CONNECTIONS_MAX: u32 = 3;
/// Number of databases that this process has created.
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The pods with their database. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    pods: Vec<PodProcess>,
    links: Vec<Proxy>,
    database: PgConnectOptions,
    // The last field: it is removed once the pods have ended.
    folder: TempDir,
}

impl Cluster {
    /// Creates a database, and starts the pods. They call the model at this URL; one user has this budget.
    ///
    /// # Errors
    /// If a server cannot be reached, or a pod does not start.
    pub async fn start(servers: &Servers, model_url: &str, budget: MicroUsd) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        workload::write_definitions(&definitions)?;
        let settings = folder.path().join("greenroom.toml");
        fs::write(&settings, workload::settings(budget))?;
        let database = create_database(&servers.postgres).await?;
        let mut variables: Vec<(String, String)> = [
            ("GREENROOM_CONFIG", settings.display().to_string()),
            ("GREENROOM_DEFINITIONS", definitions.dir().display().to_string()),
            ("GREENROOM_METRICS_ADDR", "off".to_owned()),
            ("GREENROOM_HTTP_ADDR", "off".to_owned()),
            // The pods share the cores of one machine.
            ("GREENROOM_GUARD_WORKERS", "1".to_owned()),
            ("REDIS_URL", servers.redis_url.clone()),
            ("OPENAI_BASE_URL", model_url.to_owned()),
            ("OPENAI_MODEL", "scripted-model".to_owned()),
            ("OPENAI_API_KEY", "sk-scripted".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        variables.extend(servers.s3.iter().cloned());
        let mut cluster = Self { pods: Vec::new(), links: Vec::new(), database, folder };
        for name in POD_NAMES {
            cluster.add_pod(name, &variables).await?;
        }
        cluster.start_pods().await?;
        Ok(cluster)
    }

    /// Adds a pod that is not started, with a proxy between it and the database.
    async fn add_pod(&mut self, name: &str, variables: &[(String, String)]) -> anyhow::Result<()> {
        let link = Proxy::start(format!("{}:{}", self.database.get_host(), self.database.get_port())).await?;
        let url = self.database.clone().host("127.0.0.1").port(link.port()).to_url_lossy().to_string();
        let is_last = self.pods.len() + 1 == POD_NAMES.len();
        let program = if is_last { PodProgram::ShiftedClock } else { PodProgram::Product };
        let variables = variables.iter().cloned().chain([("DATABASE_URL".to_owned(), url)]).collect();
        self.pods.push(PodProcess::new(self.folder.path(), name, program, variables)?);
        self.links.push(link);
        Ok(())
    }

    /// Migrates the database, and starts the pods: the first one makes the key of the audit, which the others have too.
    async fn start_pods(&mut self) -> anyhow::Result<()> {
        let migrated = self.command(&["db", "migrate"]).await?;
        ensure!(migrated.get("error").is_none(), "{migrated:#}");
        let (first, others) = self.pods.split_first_mut().context("there is no pod")?;
        first.spawn()?;
        first.wait_serving().await?;
        for pod in others {
            fs::create_dir_all(pod.data_dir())?;
            fs::copy(first.data_dir().join("audit.key"), pod.data_dir().join("audit.key"))?;
            pod.spawn()?;
        }
        for pod in &self.pods {
            pod.wait_serving().await?;
        }
        Ok(())
    }

    /// The pod with this index.
    ///
    /// # Errors
    /// If there is none.
    pub fn pod(&mut self, index: usize) -> anyhow::Result<&mut PodProcess> {
        self.pods.get_mut(index).with_context(|| format!("there is no pod {index}"))
    }

    /// What is between the pod with this index and the database.
    ///
    /// # Errors
    /// If there is no such pod.
    pub fn link(&self, index: usize) -> anyhow::Result<&Proxy> {
        self.links.get(index).with_context(|| format!("there is no pod {index}"))
    }

    /// The control sockets of the pods.
    #[must_use]
    pub fn sockets(&self) -> Vec<PathBuf> {
        self.pods.iter().map(PodProcess::socket).collect()
    }

    /// Connections to the database that no fault of a pod affects.
    #[must_use]
    pub fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(CONNECTIONS_MAX).connect_lazy_with(self.database.clone())
    }

    /// Executes a command of the product beside the first pod, and returns its document.
    ///
    /// # Errors
    /// If it prints none.
    pub async fn command(&self, words: &[&str]) -> anyhow::Result<Json> {
        let mut command = self.pods.first().context("there is no pod")?.product_command()?;
        command.args(words).args(["-o", "json"]);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let text = || format!("greenroom {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).with_context(text)
    }

    /// Retains the folder with the logs of the pods, and returns its path.
    pub fn retain_folder(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

/// Creates a database of its own.
async fn create_database(server: &PgConnectOptions) -> anyhow::Result<PgConnectOptions> {
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    let name = format!("greenroom_cluster_{}_{number}", std::process::id());
    server.connect().await?.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    Ok(server.clone().database(&name))
}
