//! Scaling by demand that RunPod does not see: what waits on NATS and in the store becomes lease jobs, of which each keeps one
//! worker for as long as there is work. RunPod starts and stops workers for its own jobs only.

mod decision;
mod endpoint;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::Cause;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

pub use decision::{Demand, ScaleLimits, leases_wanted};
pub use endpoint::{ENDPOINTS_URL, JobStatus, QueueEndpoint};

/// RunPod takes the workers of an endpoint away that has had no job for three days.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// The longest delay between two rounds after failures.
const FAILED_ROUND_DELAY_MAX: Duration = Duration::from_secs(60);

/// Reports what waits. The host of the scaler knows it: its NATS server and its database.
#[async_trait]
pub trait DemandSource: Send + Sync {
    /// What waits at this moment.
    ///
    /// # Errors
    /// The cause, if that is not known; the scaler then changes nothing.
    async fn demand(&self) -> Result<Demand, Cause>;
}

/// How a scaler works.
#[derive(Debug, Clone)]
pub struct ScaleOptions {
    /// The number of workers.
    pub limits: ScaleLimits,
    /// The time between two rounds.
    pub interval: Duration,
    /// The longest lease.
    pub lease_max: Duration,
    /// Time without work after which a lease ends.
    pub lease_idle: Duration,
    /// A name that no other lease of the endpoint has, for the ids of the leases.
    pub name: String,
}

/// What one round has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// Leases that were under way, in the queue of RunPod or in a worker, with the jobs before this scaler.
    pub active: u32,
    /// Leases that were added.
    pub added: u32,
}

/// Sends lease jobs to an endpoint.
pub struct Scaler {
    endpoint: QueueEndpoint,
    source: Arc<dyn DemandSource>,
    options: ScaleOptions,
    leases: BTreeSet<String>,
    /// Jobs that were under way before this scaler, which may be the leases of one that has ended; `None` before the first
    /// round.
    earlier_jobs: Option<u64>,
    /// The number of the next lease.
    next: u64,
    sent_at: Option<Instant>,
}

impl Scaler {
    /// A scaler without leases. What another one has left counts until it has ended, so that a scaler which starts again does
    /// not exceed its limits.
    #[must_use]
    pub fn new(endpoint: QueueEndpoint, source: Arc<dyn DemandSource>, options: ScaleOptions) -> Self {
        Self { endpoint, source, options, leases: BTreeSet::new(), earlier_jobs: None, next: 0, sent_at: None }
    }

    /// Scales until `stop` becomes true. The leases continue, and end when there is no work.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut failures = 0_u32;
        loop {
            let delay = match self.round().await {
                Ok(round) => {
                    failures = 0;
                    tracing::debug!(leases.active = round.active, leases.added = round.added, "scaled");
                    self.options.interval
                }
                Err(cause) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(error.code = %cause.code, error.message = cause.message, "not scaled");
                    let requested = cause.retry_after_ms.map_or(Duration::ZERO, Duration::from_millis);
                    let backoff = self.options.interval.saturating_mul(2_u32.saturating_pow(failures.min(10)));
                    backoff.min(FAILED_ROUND_DELAY_MAX).max(requested)
                }
            };
            tokio::select! {
                () = sleep(delay) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One round: counts the leases that are under way, and adds what is missing.
    ///
    /// # Errors
    /// The cause, if the demand is not known, or RunPod refuses. Leases that were added before it remain.
    pub async fn round(&mut self) -> Result<Round, Cause> {
        self.forget_ended().await?;
        let demand = self.source.demand().await?;
        let active = self.count_active().await?;
        let wanted = leases_wanted(demand, self.options.limits);
        let mut round = Round { active, added: 0 };
        while active.saturating_add(round.added) < wanted {
            let id = self.send_lease(self.options.lease_max, self.options.lease_idle).await?;
            self.leases.insert(id);
            round.added += 1;
        }
        let is_idle = self.sent_at.is_none_or(|sent_at| sent_at.elapsed() >= KEEP_ALIVE_INTERVAL);
        if is_idle && wanted == 0 {
            // A lease that ends at once, and so is none for demand that comes meanwhile.
            self.send_lease(Duration::from_secs(1), Duration::ZERO).await?;
            round.added += 1;
        }
        Ok(round)
    }

    /// Leases under way: the own ones, and what is left of those before.
    async fn count_active(&mut self) -> Result<u32, Cause> {
        let own = u64::try_from(self.leases.len()).unwrap_or(u64::MAX);
        let earlier = match self.earlier_jobs {
            Some(0) => 0,
            before => {
                let others = self.endpoint.jobs_under_way().await?.saturating_sub(own);
                before.map_or(others, |before| before.min(others))
            }
        };
        self.earlier_jobs = Some(earlier);
        Ok(u32::try_from(own.saturating_add(earlier)).unwrap_or(u32::MAX))
    }

    /// The number of own leases under way, as the last round has counted them.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.leases.len()
    }

    /// Sends the job of a lease, and returns its id.
    async fn send_lease(&mut self, lease_max: Duration, idle: Duration) -> Result<String, Cause> {
        let name = format!("{}-{}", self.options.name, self.next);
        self.next += 1;
        let input = json!({
            "mode": "lease", "max_s": lease_max.as_secs(), "idle_s": idle.as_secs(), "lease": name,
        });
        // The job may wait as long as it may run.
        let id = self.endpoint.run(&input, lease_max, lease_max.saturating_mul(2)).await?;
        self.sent_at = Some(Instant::now());
        Ok(id)
    }

    async fn forget_ended(&mut self) -> Result<(), Cause> {
        for id in self.leases.clone() {
            match self.endpoint.status(&id).await? {
                JobStatus::Waiting | JobStatus::Running => {}
                JobStatus::Ended | JobStatus::Unknown => {
                    self.leases.remove(&id);
                }
            }
        }
        Ok(())
    }
}
