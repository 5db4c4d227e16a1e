//! Sends what a job produces, again and again where a repetition may help. Nothing is sent after a suspension of the process
//! before its connections are proven.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::api::{Posted, WorkerApi};
use super::backoff::{Backoff, ResultDelays};
use super::resume::ConnectionProof;
use super::timing::Timing;

/// Attempts to send progress.
const PROGRESS_ATTEMPTS_MAX: u32 = 3;

/// How the attempts to send a result have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    /// RunPod has it.
    Accepted,
    /// RunPod refuses it: the status.
    Refused(u16),
    /// The life of the job has passed.
    Expired,
}

/// Sends results, progress and parts of streams.
#[derive(Clone)]
pub(super) struct Poster {
    api: Arc<WorkerApi>,
    proof: Arc<ConnectionProof>,
    timing: Timing,
}

impl Poster {
    pub(super) const fn new(api: Arc<WorkerApi>, proof: Arc<ConnectionProof>, timing: Timing) -> Self {
        Self { api, proof, timing }
    }

    /// Sends a result until RunPod accepts or refuses it, or its job cannot live any more. The address has the id of the
    /// job, so that RunPod recognises a repetition.
    pub(super) async fn send_result(&self, job: &str, body: &[u8], is_stream: bool) -> Sent {
        let started_at = Instant::now();
        let mut delays = self.delays();
        loop {
            self.proof.prove().await;
            let posted = self.api.post_done(job, body.to_vec(), is_stream).await;
            let delay = match &posted {
                Posted::Accepted => return Sent::Accepted,
                Posted::Refused(status) => return Sent::Refused(*status),
                Posted::Failed { .. } | Posted::Disconnected(_) => delays.after(&posted),
            };
            tracing::warn!(job.id = job, post.outcome = ?posted, delay_ms = delay.as_millis(), "result is sent again");
            if started_at.elapsed().saturating_add(delay) > self.timing.result_attempts_max {
                return Sent::Expired;
            }
            sleep(delay).await;
        }
    }

    /// Sends a result once, to a RunPod that has refused another one.
    pub(super) async fn send_once(&self, job: &str, body: Vec<u8>, is_stream: bool) -> bool {
        self.proof.prove().await;
        self.api.post_done(job, body, is_stream).await == Posted::Accepted
    }

    /// Sends progress; false if RunPod has not taken it.
    pub(super) async fn send_progress(&self, job: &str, body: &[u8]) -> bool {
        let mut delays = self.delays();
        for attempt in 1..=PROGRESS_ATTEMPTS_MAX {
            self.proof.prove().await;
            let posted = self.api.post_done(job, body.to_vec(), false).await;
            if is_final(&posted) {
                return posted == Posted::Accepted;
            }
            if attempt < PROGRESS_ATTEMPTS_MAX {
                sleep(delays.after(&posted)).await;
            }
        }
        false
    }

    /// Sends a part of a stream; false if RunPod refuses it, or has not taken it in time. A part is as important as a result:
    /// without it, the stream has a gap.
    pub(super) async fn send_part(&self, job: &str, body: &[u8]) -> bool {
        let started_at = Instant::now();
        let mut delays = self.delays();
        loop {
            self.proof.prove().await;
            let posted = self.api.post_stream(job, body.to_vec()).await;
            if is_final(&posted) {
                return posted == Posted::Accepted;
            }
            let delay = delays.after(&posted);
            if started_at.elapsed().saturating_add(delay) > self.timing.part_attempts_max {
                return false;
            }
            sleep(delay).await;
        }
    }

    const fn delays(&self) -> Delays {
        let (first, longest) = self.timing.failed_poll_delays;
        Delays { failed: ResultDelays::new(self.timing.result_delay_unit), disconnected: Backoff::new(first, longest) }
    }
}

/// The delays of one result.
struct Delays {
    failed: ResultDelays,
    disconnected: Backoff,
}

impl Delays {
    fn after(&mut self, posted: &Posted) -> Duration {
        match posted {
            Posted::Failed { retry_after, .. } => self.failed.next_delay().max(retry_after.unwrap_or_default()),
            Posted::Disconnected(_) | Posted::Accepted | Posted::Refused(_) => self.disconnected.next_delay(),
        }
    }
}

/// True if a repetition does not change it.
const fn is_final(posted: &Posted) -> bool {
    match posted {
        Posted::Accepted | Posted::Refused(_) => true,
        Posted::Failed { .. } | Posted::Disconnected(_) => false,
    }
}
