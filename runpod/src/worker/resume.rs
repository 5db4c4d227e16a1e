//! What happens after a suspension of the process, as FlashBoot does it: every connection may be dead, and another pod may
//! own what this one owned. Until that is proven again, nothing is acknowledged to RunPod.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::{BootTime, Cause, Clock, Timestamp};
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::api::WorkerApi;

/// Proves after a suspension that the host of the worker may continue: it connects anew, and proves its leases.
#[async_trait]
pub trait ResumeHook: Send + Sync {
    /// Proves it. It is called again until it succeeds.
    ///
    /// # Errors
    /// The cause, if it is not proven yet.
    async fn prove(&self) -> Result<(), Cause>;
}

/// The hook of a host without connections of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoResumeHook;

#[async_trait]
impl ResumeHook for NoResumeHook {
    async fn prove(&self) -> Result<(), Cause> {
        Ok(())
    }
}

/// A reading of both clocks. The wall clock also counts where the time of the machine does not, as on another machine.
#[derive(Clone, Copy)]
struct Reading {
    boot: BootTime,
    wall: Timestamp,
}

impl Reading {
    fn now(clock: &dyn Clock) -> Self {
        Self { boot: clock.boot_time(), wall: clock.now() }
    }

    fn elapsed(self, clock: &dyn Clock) -> Duration {
        let now = Self::now(clock);
        now.boot.saturating_duration_since(self.boot).max(now.wall.saturating_duration_since(self.wall))
    }
}

/// Whether the connections of the worker are those of a process that was not suspended since.
pub(super) struct ConnectionProof {
    clock: Arc<dyn Clock>,
    hook: Arc<dyn ResumeHook>,
    api: Arc<WorkerApi>,
    /// A longer time without a check means that the process was suspended.
    gap_max: Duration,
    retry_delay: Duration,
    checked_at: Mutex<Reading>,
    resumes: AtomicU64,
}

impl ConnectionProof {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        hook: Arc<dyn ResumeHook>,
        api: Arc<WorkerApi>,
        gap_max: Duration,
        retry_delay: Duration,
    ) -> Self {
        let checked_at = Mutex::new(Reading::now(clock.as_ref()));
        Self { clock, hook, api, gap_max, retry_delay, checked_at, resumes: AtomicU64::new(0) }
    }

    /// Returns when the connections are proven; at once, unless the process was suspended. It is called at least once in
    /// each second, and before each acknowledgement.
    pub(super) async fn prove(&self) {
        let mut checked_at = self.checked_at.lock().await;
        while checked_at.elapsed(self.clock.as_ref()) > self.gap_max {
            // A second suspension during the proof is found by the next round.
            let began_at = Reading::now(self.clock.as_ref());
            tracing::warn!("the process was suspended: connections are made anew");
            match self.try_prove().await {
                Ok(()) => {
                    self.resumes.fetch_add(1, Ordering::Relaxed);
                    *checked_at = began_at;
                }
                Err(cause) => {
                    tracing::warn!(error.code = %cause.code, error.message = cause.message, "not proven yet");
                    sleep(self.retry_delay).await;
                }
            }
        }
        *checked_at = Reading::now(self.clock.as_ref());
    }

    /// How often the process was suspended.
    pub(super) fn resumes(&self) -> u64 {
        self.resumes.load(Ordering::Relaxed)
    }

    async fn try_prove(&self) -> Result<(), Cause> {
        self.api.reconnect()?;
        self.hook.prove().await
    }
}
