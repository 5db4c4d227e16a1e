//! A second cluster on the NATS of a run of the harness. It has the same users and keys, and its requests have the same
//! idempotency keys; only its prefix and its secret are others. Nothing passes from one cluster to the other.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use greenroom_client::Client;
use greenroom_client::nats::ConnectOptions;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::history::ForeignReport;
use super::pod_process::{PodProcess, PodProgram};
use super::requests::{CALL_MAX, Requests, client_of};
use super::workload::{ADMIN, PLAIN, start_key};
use crate::test_pod::text;

/// Bytes of texts that JetStream stores for a cluster: little of what a server of the harness has.
const STREAM_BYTES_MAX: &str = "4194304";
/// What the subjects of the second cluster begin with, and its secret.
const PREFIX: &str = "foreign";
const SECRET: &str = "planted-secret-of-the-second-cluster";
/// The name of its one pod.
pub const FOREIGN_POD: &str = "pod-foreign";

/// The second cluster. Dropping it kills its pod.
pub struct ForeignCluster {
    pod: PodProcess,
    pool: PgPool,
    client: Client,
    requests: Requests,
    accepted: Mutex<BTreeSet<String>>,
}

impl ForeignCluster {
    /// Starts its pod on a database of its own; `variables` are those that the pods of both clusters have.
    ///
    /// # Errors
    /// If the pod does not start, or NATS cannot be reached.
    pub async fn start(
        folder: &Path,
        database: PgConnectOptions,
        nats_url: &str,
        mut variables: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        variables.extend(nats_variables(nats_url, PREFIX, SECRET));
        variables.extend(jetstream_variables());
        variables.push(("DATABASE_URL".to_owned(), database.to_url_lossy().to_string()));
        let mut pod = PodProcess::new(folder, FOREIGN_POD, PodProgram::Product, variables)?;
        let migrated = pod.command(&["db", "migrate"]).await?;
        ensure!(migrated.get("error").is_none(), "{migrated:#}");
        pod.spawn()?;
        pod.wait_serving().await?;
        let client = Client::connect_with(nats_url, ConnectOptions::default().prefix(PREFIX)).await?;
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(database);
        let (client, requests) = (client_of(&client, ADMIN), Requests::default());
        Ok(Self { pod, pool, client, requests, accepted: Mutex::default() })
    }

    /// Starts a run in this cluster, with the idempotency key of the run of this number in the other one.
    ///
    /// # Errors
    /// If the run is not accepted in time.
    pub async fn start_run(&self, number: usize) -> anyhow::Result<()> {
        let inputs = text(format!("foreign run {number}"));
        let call = || self.client.workflow(PLAIN).inputs(&inputs).detach().idempotency_key(start_key(number));
        let reply = self.requests.send(|| call().timeout(CALL_MAX).send()).await?;
        let log_end = || format!("no reply from the pod {}: {}", self.pod.name(), self.pod.log_end());
        let reply = reply.with_context(log_end)?;
        ensure!(reply.error.is_none(), "the second cluster refuses a run: {:?}", reply.error);
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).insert(reply.id);
        Ok(())
    }

    /// What its database has.
    ///
    /// # Errors
    /// If the server is away.
    pub async fn report(&self) -> anyhow::Result<ForeignReport> {
        let runs: Vec<String> = sqlx::query_scalar("SELECT run FROM runs").fetch_all(&self.pool).await?;
        let pods: Vec<String> = sqlx::query_scalar("SELECT pod FROM pods").fetch_all(&self.pool).await?;
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(ForeignReport { accepted, runs: runs.into_iter().collect(), pods })
    }
}

/// The variables of a pod that receives its requests over NATS.
#[must_use]
pub fn nats_variables(url: &str, prefix: &str, secret: &str) -> [(String, String); 3] {
    [("NATS_URL", url), ("GREENROOM_NATS_PREFIX", prefix), ("GREENROOM_CLUSTER_SECRET", secret)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// The variables of a pod that stores texts and a copy of the root chain of the audit in JetStream.
#[must_use]
pub fn jetstream_variables() -> [(String, String); 2] {
    [("GREENROOM_NATS_STREAM_BYTES_MAX", STREAM_BYTES_MAX), ("GREENROOM_NATS_AUDIT_REPLICAS", "1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
}
