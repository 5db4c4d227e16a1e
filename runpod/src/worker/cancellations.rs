//! The poll for cancellations: RunPod names the jobs whose callers cancelled them, or whose time has passed.

use std::time::Duration;

use tokio::time::sleep;

use super::api::{Stop, WorkerApi};
use super::timing::Timing;
use super::tracker::Tracker;

/// Polls until it is dropped, and cancels what RunPod names. It returns if there is no address for the poll.
pub(super) async fn poll_cancellations(api: &WorkerApi, tracker: &Tracker, timing: &Timing) {
    loop {
        let delay = match api.stop().await {
            None => {
                tracing::warn!("jobs cannot be cancelled: the address of jobs has no part `/job-take/`");
                return;
            }
            Some(Stop::Jobs(jobs)) => {
                let mut is_news = false;
                for job in &jobs {
                    if tracker.cancel(job) {
                        tracing::info!(job.id = job, "job is cancelled");
                        is_news = true;
                    }
                }
                if is_news { Duration::ZERO } else { timing.stop_poll_delay }
            }
            // A server that names no time at all is not polled without a pause.
            Some(Stop::Throttled(delay)) => {
                delay.map_or(timing.throttle_delay, |delay| delay.max(timing.stop_poll_delay))
            }
            Some(Stop::Failed(message)) => {
                tracing::warn!(error.message = message, "poll for cancellations failed");
                timing.stop_poll_delay
            }
        };
        sleep(delay).await;
    }
}
