//! Several pods of the product on one PostgreSQL, in processes of their own, under faults: what an operator, a network
//! and a machine do to them, from one seed, and a checker that trusts only what was observed from outside.
//!
//! ```text
//! choices, schedule       which faults, and when: a seed determines them
//! fault                   what a fault can be
//! servers, nats           PostgreSQL, Redis, S3, and NATS if the pods receive their requests over it
//! pod_process, proxy      a pod, and what is between it and a server
//! workload, load          what the runs do, and the clients that start them
//! requests, probes        requests over NATS that are repeated by their code, and short ones during a drain
//! foreign                 a second cluster on the same NATS
//! model_log, observer     the evidence: the log of the model server, and the database while it changes
//! history, journals       what was observed
//! exits, starvation       processes that end by themselves, and deaths for which the machine is the reason
//! checker                 what is promised, as a pure function of a history
//! experiment              all of it together
//! shifted_pod             a pod whose clock can be put forward
//! ```

pub mod checker;
pub mod choices;
pub mod exits;
pub mod experiment;
pub mod fault;
pub mod foreign;
pub mod history;
pub mod journals;
pub mod load;
pub mod model_log;
pub mod moment;
pub mod nats;
pub mod observer;
pub mod pod_process;
pub mod postgres_server;
pub mod probes;
pub mod programs;
pub mod proxy;
pub mod requests;
pub mod schedule;
pub mod servers;
pub mod shifted_pod;
pub mod starvation;
pub mod workload;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use greenroom_protocol::MicroUsd;
use greenroom_protocol::subject::DEFAULT_PREFIX;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use tempfile::TempDir;

use crate::definitions_dir::DefinitionsDir;
use exits::ProcessId;
use fault::PODS;
use foreign::{ForeignCluster, jetstream_variables, nats_variables};
use pod_process::{PodProcess, PodProgram};
use proxy::Proxy;
use servers::Servers;

/// The names of the pods. The clock of the last one can be put forward.
const POD_NAMES: [&str; PODS] = ["pod-a", "pod-b", "pod-c"];
/// The secret of the cluster.
const SECRET: &str = "planted-secret-of-the-cluster";
/// The pods with the label that some agents need, if the pods receive their requests over NATS.
const LABELLED_PODS: usize = 2;
/// Connections of the harness itself.
const CONNECTIONS_MAX: u32 = 3;
/// Number of databases that this process has created.
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The pods with their database. Dropping it kills them.
pub struct Cluster {
    pods: Vec<PodProcess>,
    links: Vec<Proxy>,
    nats_links: Vec<Proxy>,
    foreign: Option<ForeignCluster>,
    database: PgConnectOptions,
    // The last field: it is removed once the pods have ended.
    folder: TempDir,
}

impl Cluster {
    /// Creates a database, and starts the pods. They call the model at this URL; one user has this budget. With NATS, they
    /// receive their requests over it; beside servers of the harness, a second cluster is started there.
    ///
    /// # Errors
    /// If a server cannot be reached, or a pod does not start.
    pub async fn start(servers: &Servers, model_url: &str, budget: MicroUsd) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let variables = write_variables(&folder, model_url, budget)?;
        let mut shared = variables.clone();
        shared.push(("REDIS_URL".to_owned(), servers.redis_url.clone()));
        shared.extend(servers.s3.iter().cloned());
        if servers.own.as_ref().is_some_and(|own| own.nats.is_some()) {
            // A server of a script may have the copy of another database, from a cluster before.
            shared.extend(jetstream_variables());
        }
        let database = create_database(&servers.postgres).await?;
        let (pods, links, nats_links) = (Vec::new(), Vec::new(), Vec::new());
        let mut cluster = Self { pods, links, nats_links, foreign: None, database, folder };
        for name in POD_NAMES {
            cluster.add_pod(name, servers.nats_url.as_deref(), &shared).await?;
        }
        let foreign = Box::pin(start_foreign(cluster.folder.path().to_owned(), servers, variables));
        let ((), foreign) = tokio::try_join!(cluster.start_pods(), foreign)?;
        cluster.foreign = foreign;
        Ok(cluster)
    }

    /// Adds a pod that is not started, with proxies between it and its servers.
    async fn add_pod(
        &mut self,
        name: &str,
        nats_url: Option<&str>,
        variables: &[(String, String)],
    ) -> anyhow::Result<()> {
        let link = Proxy::start(format!("{}:{}", self.database.get_host(), self.database.get_port())).await?;
        let url = self.database.clone().host("127.0.0.1").port(link.port()).to_url_lossy().to_string();
        let mut variables = variables.to_vec();
        variables.push(("DATABASE_URL".to_owned(), url));
        if let Some(nats_url) = nats_url {
            let nats_link = Proxy::start(nats_url.trim_start_matches("nats://").to_owned()).await?;
            let url = format!("nats://127.0.0.1:{}", nats_link.port());
            variables.extend(nats_variables(&url, DEFAULT_PREFIX, SECRET));
            self.nats_links.push(nats_link);
            if self.pods.len() < LABELLED_PODS {
                variables.push(("GREENROOM_CLUSTER_LABELS".to_owned(), workload::LABEL.to_owned()));
            }
        }
        let is_last = self.pods.len() + 1 == POD_NAMES.len();
        let program = if is_last { PodProgram::ShiftedClock } else { PodProgram::Product };
        self.pods.push(PodProcess::new(self.folder.path(), name, program, variables)?);
        self.links.push(link);
        Ok(())
    }

    /// Migrates the database, and starts the pods: the first one makes the key of the audit, which the others have too.
    async fn start_pods(&mut self) -> anyhow::Result<()> {
        let (first, others) = self.pods.split_first_mut().context("there is no pod")?;
        let migrated = first.command(&["db", "migrate"]).await?;
        ensure!(migrated.get("error").is_none(), "{migrated:#}");
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

    /// What is between the pod with this index and NATS.
    ///
    /// # Errors
    /// If there is no such pod, or it does not use NATS.
    pub fn nats_link(&self, index: usize) -> anyhow::Result<&Proxy> {
        self.nats_links.get(index).with_context(|| format!("the pod {index} has no connection to NATS"))
    }

    /// The second cluster, if there is one.
    #[must_use]
    pub const fn foreign(&self) -> Option<&ForeignCluster> {
        self.foreign.as_ref()
    }

    /// The control sockets of the pods.
    #[must_use]
    pub fn sockets(&self) -> Vec<PathBuf> {
        self.pods.iter().map(PodProcess::socket).collect()
    }

    /// The processes of the pods, each with the name of its pod.
    #[must_use]
    pub fn processes(&self) -> Vec<(String, ProcessId)> {
        self.pods.iter().map(|pod| (pod.name().to_owned(), pod.process())).collect()
    }

    /// Connections to the database that no fault of a pod affects.
    #[must_use]
    pub fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(CONNECTIONS_MAX).connect_lazy_with(self.database.clone())
    }

    /// The first pod, beside which the commands of the harness are executed.
    ///
    /// # Errors
    /// If there is none.
    pub fn first_pod(&self) -> anyhow::Result<&PodProcess> {
        self.pods.first().context("there is no pod")
    }

    /// Retains the folder with the logs of the pods, and returns its path.
    pub fn retain_folder(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

/// Writes the definitions and the settings, and returns the variables that every pod has.
fn write_variables(folder: &TempDir, model_url: &str, budget: MicroUsd) -> anyhow::Result<Vec<(String, String)>> {
    let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
    workload::write_definitions(&definitions)?;
    let settings = folder.path().join("greenroom.toml");
    fs::write(&settings, workload::settings(budget))?;
    let variables = [
        ("GREENROOM_CONFIG", settings.display().to_string()),
        ("GREENROOM_DEFINITIONS", definitions.dir().display().to_string()),
        ("GREENROOM_METRICS_ADDR", "off".to_owned()),
        ("GREENROOM_HTTP_ADDR", "off".to_owned()),
        // The pods share the cores of one machine.
        ("GREENROOM_GUARD_WORKERS", "1".to_owned()),
        ("OPENAI_BASE_URL", model_url.to_owned()),
        ("OPENAI_MODEL", "scripted-model".to_owned()),
        ("OPENAI_API_KEY", "sk-scripted".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    Ok(variables.into())
}

/// Starts the second cluster, if the pods use a NATS of the harness. Its one pod has artifacts of its own.
async fn start_foreign(
    folder: PathBuf,
    servers: &Servers,
    variables: Vec<(String, String)>,
) -> anyhow::Result<Option<ForeignCluster>> {
    // The servers of a script are those of a demonstration, which shows one cluster.
    let (Some(nats_url), Some(_)) = (&servers.nats_url, &servers.own) else { return Ok(None) };
    let database = create_database(&servers.postgres).await?;
    ForeignCluster::start(&folder, database, nats_url, variables).await.map(Some)
}

/// Creates a database of its own.
async fn create_database(server: &PgConnectOptions) -> anyhow::Result<PgConnectOptions> {
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    let name = format!("greenroom_cluster_{}_{number}", std::process::id());
    server.connect().await?.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    Ok(server.clone().database(&name))
}
