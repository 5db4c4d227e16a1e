//! One job from its admission to its result.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::handler::{JobContext, JobHandler, wait_true};
use super::job::Job;
use super::posting::{Poster, Sent};
use super::result::{Done, JobFailure, JobResult, Reporter, result_bytes_max};
use super::timing::Timing;
use super::tracker::{Admission, SentResult, Tracker};

/// The status with which RunPod refuses a result that is too large, among others.
const BAD_REQUEST: u16 = 400;

/// What a worker has counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Jobs that were executed.
    pub(super) executed: AtomicU64,
    /// Results that RunPod has accepted.
    pub(super) accepted: AtomicU64,
    /// Jobs that RunPod has cancelled.
    pub(super) cancelled: AtomicU64,
    /// Deliveries of a job that was there already.
    pub(super) repeated: AtomicU64,
    /// Results that RunPod has refused, or that were too large.
    pub(super) refused: AtomicU64,
}

/// What all jobs of a worker share.
pub(super) struct JobEnv {
    pub(super) handler: Arc<dyn JobHandler>,
    pub(super) poster: Poster,
    pub(super) tracker: Arc<Tracker>,
    pub(super) reporter: Reporter,
    pub(super) timing: Timing,
    pub(super) counters: Arc<Counters>,
    /// True to have the worker replaced after its first result.
    pub(super) refresh_worker: bool,
    /// Set to end the worker.
    pub(super) end: watch::Sender<bool>,
}

/// The capacity that a job needs. A job that RunPod has sent beyond the capacity of the worker waits for that of another one.
pub(super) struct JobCapacity {
    permit: Option<OwnedSemaphorePermit>,
    all: Arc<Semaphore>,
}

impl JobCapacity {
    /// Takes capacity, if there is any.
    pub(super) fn try_acquire(all: &Arc<Semaphore>) -> Self {
        Self { permit: Arc::clone(all).try_acquire_owned().ok(), all: Arc::clone(all) }
    }

    /// Returns when there is capacity, which is released on drop.
    async fn wait(&mut self) {
        if self.permit.is_none() {
            // The semaphore is never closed.
            self.permit = Arc::clone(&self.all).acquire_owned().await.ok();
        }
    }
}

/// Executes a job that was admitted, and sends its result. The capacity is released at the end.
pub(super) async fn run_job(env: Arc<JobEnv>, job: Job, admission: Admission, mut capacity: JobCapacity) {
    let result = match admission {
        Admission::UnderWay => {
            env.counters.repeated.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(job.id, "RunPod delivered a job that is under way");
            return;
        }
        Admission::Finished(result) => {
            env.counters.repeated.fetch_add(1, Ordering::Relaxed);
            tracing::info!(job.id, "RunPod delivered a job again: its result is sent again");
            env.poster.send_result(&job.id, &result.body, result.is_stream).await;
            Some(result)
        }
        Admission::New(is_cancelled) => {
            tokio::select! {
                biased;
                () = capacity.wait() => {}
                () = wait_true(is_cancelled.clone()) => {}
            }
            run_new(&env, &job, is_cancelled).await
        }
    };
    env.tracker.remove(&job.id, result);
    drop(capacity);
}

/// Executes a job and sends its result; returns what a repetition of the job gets. A job that was cancelled before is not
/// executed.
async fn run_new(env: &JobEnv, job: &Job, is_cancelled: watch::Receiver<bool>) -> Option<SentResult> {
    let was_cancelled = *is_cancelled.borrow();
    let result = if was_cancelled { None } else { run_until_cancelled(env, job, &is_cancelled).await };
    if *is_cancelled.borrow() {
        env.counters.cancelled.fetch_add(1, Ordering::Relaxed);
        tracing::info!(job.id, "job was cancelled: it has no result");
        return None;
    }
    result
}

async fn run_until_cancelled(env: &JobEnv, job: &Job, is_cancelled: &watch::Receiver<bool>) -> Option<SentResult> {
    env.counters.executed.fetch_add(1, Ordering::Relaxed);
    let finished = async {
        let (done, is_stream) = execute(env, job, is_cancelled).await?;
        send(env, job, done, is_stream).await
    };
    // A result that is on its way is not sent again after a cancellation.
    tokio::select! {
        result = finished => result,
        () = after_cancellation(env, is_cancelled) => None,
    }
}

/// Returns when the job was cancelled and has had its time to end.
async fn after_cancellation(env: &JobEnv, is_cancelled: &watch::Receiver<bool>) {
    wait_true(is_cancelled.clone()).await;
    tokio::time::sleep(env.timing.cancel_grace).await;
}

/// Executes the handler; `None` if the job was cancelled meanwhile.
async fn execute(env: &JobEnv, job: &Job, is_cancelled: &watch::Receiver<bool>) -> Option<(Done, bool)> {
    let context =
        JobContext::new(job, env.poster.clone(), Arc::clone(&env.tracker), is_cancelled.clone(), env.end.subscribe());
    let result = match &job.input {
        Err(message) => JobResult::Failed(JobFailure::new("ValueError", message.clone())),
        Ok(_) => {
            let execution = AssertUnwindSafe(env.handler.execute(job, &context)).catch_unwind();
            let panicked = |_| JobResult::Failed(JobFailure::new("Panic", "the handler of the job panicked"));
            execution.await.unwrap_or_else(panicked)
        }
    };
    if *is_cancelled.borrow() {
        return None;
    }
    // An error in the stream is the result, whatever its handler returns.
    let result = context.stream_error().map_or(result, JobResult::StreamFailed);
    Some(Done::from_result(result, &env.reporter, env.refresh_worker))
}

/// Sends a result, or in the place of one that is too large or refused, an error.
async fn send(env: &JobEnv, job: &Job, done: Done, is_stream: bool) -> Option<SentResult> {
    let ends_worker = env.refresh_worker;
    let stop_pod = done.stop_pod;
    let mut is_failure = done.error.is_some();
    let mut body = serde_json::to_vec(&done).unwrap_or_default();
    let bytes_max = result_bytes_max(job.is_sync());
    if body.len() > bytes_max {
        env.counters.refused.fetch_add(1, Ordering::Relaxed);
        let message = format!("output too large: {} bytes, and RunPod takes at most {bytes_max}", body.len());
        tracing::error!(job.id, error.message = message, "the result of the job is replaced by an error");
        body = error_body(message, stop_pod);
        is_failure = true;
    }
    match env.poster.send_result(&job.id, &body, is_stream).await {
        Sent::Accepted => {
            env.counters.accepted.fetch_add(1, Ordering::Relaxed);
        }
        Sent::Refused(status) => {
            is_failure = true;
            env.counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::error!(job.id, post.status = status, "RunPod refused the result of the job");
            // Without a result, the caller would see a job that is complete and has no output.
            if status == BAD_REQUEST {
                let message = format!("RunPod refused the result of the job, which has {} bytes", body.len());
                env.poster.send_once(&job.id, error_body(message, stop_pod), is_stream).await;
            }
        }
        Sent::Expired => {
            is_failure = true;
            tracing::error!(job.id, "the result of the job could not be sent while the job lived");
        }
    }
    if ends_worker {
        env.end.send_replace(true);
    }
    // A failed job may be retried by its caller under the same id.
    (!is_failure).then_some(SentResult { body, is_stream })
}

fn error_body(message: String, stop_pod: Option<bool>) -> Vec<u8> {
    serde_json::to_vec(&Done { stop_pod, ..Done::from_error(message) }).unwrap_or_default()
}
