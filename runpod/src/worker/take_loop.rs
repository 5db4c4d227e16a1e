//! The loop that takes jobs: it polls for as many as the worker has capacity for, without a pause after a job, and with a
//! delay after a failure.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::api::{Take, WorkerApi};
use super::backoff::Backoff;
use super::handler::wait_true;
use super::job::Job;
use super::job_task::{JobCapacity, JobEnv, run_job};
use super::timing::Timing;
use super::tracker::Admission;

/// The most jobs of one poll.
const BATCH_MAX: usize = 128;
/// The shortest time between two polls without a job: a server that does not hold polls is not flooded.
const EMPTY_POLL_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// Takes jobs and starts them.
pub(super) struct TakeLoop {
    pub(super) api: Arc<WorkerApi>,
    pub(super) env: Arc<JobEnv>,
    pub(super) capacity: Arc<Semaphore>,
    /// True when the worker shall end.
    pub(super) is_ending: watch::Receiver<bool>,
    pub(super) timing: Timing,
}

/// The delays after polls without a job.
struct PollDelays {
    failed: Backoff,
    parked: Backoff,
}

impl TakeLoop {
    /// Takes jobs until the worker shall end; returns those that are under way.
    pub(super) async fn run(self) -> JoinSet<()> {
        let mut jobs = JoinSet::new();
        let (failed, parked) = (self.timing.failed_poll_delays, self.timing.parked_poll_delays);
        let mut delays =
            PollDelays { failed: Backoff::new(failed.0, failed.1), parked: Backoff::new(parked.0, parked.1) };
        while self.wait_capacity().await {
            while let Some(ended) = jobs.try_join_next() {
                report_end(ended);
            }
            let polled_at = Instant::now();
            let Some(taken) = self.poll().await else { break };
            let delay = match taken {
                Take::Jobs(taken) => {
                    if self.start(taken, &mut jobs) {
                        delays.reset();
                        continue;
                    }
                    // RunPod repeats what is there already; a poll at once could bring the same again.
                    delays.failed.next_delay()
                }
                Take::None => {
                    delays.reset();
                    EMPTY_POLL_INTERVAL_MIN.saturating_sub(polled_at.elapsed())
                }
                Take::Empty => delays.failed.next_delay(),
                Take::Parked => delays.parked.next_delay(),
                // A server that names no time at all is not polled without a pause.
                Take::Throttled(Some(delay)) => delay.max(delays.failed.next_delay()),
                Take::Throttled(None) => self.timing.throttle_delay,
                Take::Failed(message) => {
                    tracing::error!(error.message = message, "poll for jobs failed");
                    delays.failed.next_delay()
                }
            };
            tokio::select! {
                () = sleep(delay) => {}
                () = wait_true(self.is_ending.clone()) => break,
            }
        }
        jobs
    }

    /// Waits until there is capacity for a job; false when the worker shall end.
    async fn wait_capacity(&self) -> bool {
        tokio::select! {
            biased;
            () = wait_true(self.is_ending.clone()) => false,
            // Jobs that wait for capacity are before this loop, so that the permit which is returned here is available below.
            permit = self.capacity.acquire() => permit.is_ok(),
        }
    }

    /// Polls once. A poll that is open when the worker shall end stays open for a moment: RunPod may have assigned a job to
    /// it, which would be lost. `None` if it brings nothing by then.
    async fn poll(&self) -> Option<Take> {
        let jobs_max = self.capacity.available_permits().clamp(1, BATCH_MAX);
        let poll = self.api.take(jobs_max, !self.env.tracker.is_empty());
        tokio::pin!(poll);
        tokio::select! {
            taken = &mut poll => Some(taken),
            () = wait_true(self.is_ending.clone()) => timeout(self.timing.drain_poll_timeout, poll).await.ok(),
        }
    }

    /// Starts jobs; false if each of them is there already. If RunPod sends more than were requested, the others wait for
    /// capacity.
    fn start(&self, taken: Vec<Job>, jobs: &mut JoinSet<()>) -> bool {
        let mut has_new = false;
        for job in taken {
            let capacity = JobCapacity::try_acquire(&self.capacity);
            let admission = self.env.tracker.admit(&job.id);
            has_new |= matches!(admission, Admission::New(_));
            tracing::debug!(job.id, "job was taken");
            jobs.spawn(run_job(Arc::clone(&self.env), job, admission, capacity));
        }
        has_new
    }
}

impl PollDelays {
    const fn reset(&mut self) {
        self.failed.reset();
        self.parked.reset();
    }
}

/// Reports a job whose task has panicked. That is not the handler, whose panics are results.
pub(super) fn report_end(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("the task of a job panicked");
    }
}
