//! What executes the jobs of a worker: a pod in this process, or pods over NATS.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use greenroom_client::{Client, Credential};
use greenroom_protocol::request::{Page, RunListFilter};
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_runpod::worker::ResumeHook;
use greenroom_runpod::worker::execution::Startup;
use greenroom_runpod::worker::lease::{Activity, LeaseWork};
use tokio::sync::watch;

use crate::cli::output::Output;
use crate::cli::{nats_client, up};
use crate::config::{Config, NatsConfig};
use crate::pipeline::Pipeline;
use crate::telemetry::Metrics;

/// The work of the pod in this process, as soon as there is one. Of pods over NATS, this process has none.
#[derive(Default)]
pub(super) struct PodWork {
    pod: OnceLock<(Arc<Pipeline>, Arc<Metrics>)>,
}

impl LeaseWork for PodWork {
    fn activity(&self) -> Activity {
        let Some((pipeline, metrics)) = self.pod.get() else { return Activity::default() };
        let in_flight = u64::try_from(pipeline.admission.in_flight()).unwrap_or(u64::MAX);
        Activity { in_flight, requests: metrics.replies() }
    }
}

/// The host of a worker.
pub(super) struct Host {
    pub(super) config: Config,
    /// The pods; `None` runs one in this process.
    pub(super) pods: Option<NatsPods>,
    pub(super) startup: watch::Sender<Startup>,
    pub(super) work: Arc<PodWork>,
    /// Set to end the worker when the host has failed.
    pub(super) drain: watch::Sender<bool>,
    /// True when the worker has ended.
    pub(super) is_ended: watch::Receiver<bool>,
    pub(super) output: Output,
}

impl Host {
    /// Serves until the worker has ended. If the host fails, the jobs under way fail for that cause, and the worker ends.
    ///
    /// # Errors
    /// The failure.
    pub(super) async fn serve(self) -> Result<(), Cause> {
        let (startup, drain) = (self.startup.clone(), self.drain.clone());
        let mut is_ended = self.is_ended.clone();
        let served = match self.pods.clone() {
            Some(pods) => Box::pin(self.serve_over_nats(&pods)).await,
            None => Box::pin(self.serve_pod()).await,
        };
        if let Err(cause) = &served {
            tracing::error!(error.code = %cause.code, error.message = cause.message, "the host of the worker has failed");
            startup.send_replace(Startup::Failed(cause.clone()));
            drain.send_replace(true);
            let _ = is_ended.wait_for(|is_ended| *is_ended).await;
        }
        served
    }

    async fn serve_over_nats(mut self, pods: &NatsPods) -> Result<(), Cause> {
        let client = pods.connect().await?;
        self.startup.send_replace(Startup::Ready(client));
        let _ = self.is_ended.wait_for(|is_ended| *is_ended).await;
        Ok(())
    }

    async fn serve_pod(mut self) -> Result<(), Cause> {
        let mut pod = Box::pin(up::start(&self.config, self.output)).await?;
        // It is set once: this function is called once.
        let _ = self.work.pod.set((Arc::clone(pod.pipeline()), Arc::clone(pod.metrics())));
        self.startup.send_replace(Startup::Ready(pod.client(&self.config.user)));
        let cluster = Arc::clone(&pod.stores().cluster);
        let failure = tokio::select! {
            // The parts of a dead pod fail too.
            biased;
            () = cluster.wait_dead() => Some(declared_dead()),
            _ = self.is_ended.wait_for(|is_ended| *is_ended) => None,
            message = pod.wait_failed() => Some(Cause::new(ErrorCode::Internal, message)),
        };
        match failure {
            None => {
                pod.shutdown().await;
                Ok(())
            }
            Some(cause) if cause.code == ErrorCode::LeaseLost => {
                pod.abandon().await;
                Err(cause)
            }
            Some(cause) => {
                pod.shutdown().await;
                Err(cause)
            }
        }
    }
}

/// The failure of a host whose pod another one has declared dead.
fn declared_dead() -> Cause {
    Cause::new(ErrorCode::LeaseLost, "another pod has declared the pod of this worker dead")
}

/// The pods that a worker sends its jobs to, over NATS.
#[derive(Clone)]
pub(super) struct NatsPods {
    nats: NatsConfig,
    credential: Option<Credential>,
}

impl NatsPods {
    /// The pods of this configuration. Requests are those of its user, if the user has a key.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] without NATS.
    pub(super) fn new(config: &Config) -> Result<Self, Cause> {
        let Config { nats, users, user, .. } = config;
        let nats = nats.clone().ok_or_else(|| {
            Cause::new(
                ErrorCode::InvalidConfiguration,
                "`--thin` needs nats.url: set the environment variable NATS_URL",
            )
        })?;
        let configured = users.users.iter().find(|configured| configured.name == *user);
        let key = configured.and_then(|configured| configured.api_key.as_ref());
        Ok(Self { nats, credential: key.map(|key| Credential::ApiKey(key.reveal().to_owned())) })
    }

    async fn connect(&self) -> Result<Client, Cause> {
        nats_client::connect(&self.nats, "greenroom-worker", self.credential.clone()).await
    }
}

/// Proves after a suspension that the host may continue: over NATS by a new connection, and in each case by a request that
/// reads the store, which a pod without its lease refuses.
pub struct HostProof {
    pub(super) startup: watch::Sender<Startup>,
    pub(super) pods: Option<NatsPods>,
}

impl HostProof {
    /// The proof of a host that runs a pod in this process.
    #[must_use]
    pub fn of_own_pod(startup: watch::Sender<Startup>) -> Self {
        Self { startup, pods: None }
    }
}

#[async_trait]
impl ResumeHook for HostProof {
    async fn prove(&self) -> Result<(), Cause> {
        let current = self.startup.borrow().clone();
        let client = match (current, &self.pods) {
            // A pod that has lost its lease proves nothing by its end: RunPod delivers to another worker what is not
            // acknowledged.
            (Startup::Failed(cause), _) if cause.code == ErrorCode::LeaseLost => return Err(cause),
            // A host that has not started has nothing to prove.
            (Startup::Loading | Startup::Failed(_), _) => return Ok(()),
            (Startup::Ready(_), Some(pods)) => pods.connect().await?,
            (Startup::Ready(client), None) => client,
        };
        let reply = client.runs(RunListFilter::default(), Page { after: None, limit: 1 }).await?;
        match reply.error {
            // A caller who may not list runs is refused by a pod that works.
            Some(cause) if cause.code.is_retryable() => Err(cause),
            Some(_) | None => {
                self.startup.send_if_modified(|startup| renew(startup, client));
                Ok(())
            }
        }
    }
}

/// Replaces the client of a host that is ready. The host may have failed during the proof, and remains so.
fn renew(startup: &mut Startup, client: Client) -> bool {
    let is_ready = matches!(startup, Startup::Ready(_));
    if is_ready {
        *startup = Startup::Ready(client);
    }
    is_ready
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_host_that_has_lost_its_lease_must_prove_itself_before_it_is_ready() {
        let prove = |startup| async { HostProof::of_own_pod(watch::Sender::new(startup)).prove().await };
        assert_eq!(prove(Startup::Loading).await, Ok(()));
        assert_eq!(prove(Startup::Failed(Cause::new(ErrorCode::InvalidConfiguration, "no model"))).await, Ok(()));
        assert_eq!(prove(Startup::Failed(declared_dead())).await, Err(declared_dead()));
    }
}
