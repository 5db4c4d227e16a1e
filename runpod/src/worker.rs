//! The queue worker: it polls RunPod for jobs, executes them through a [`JobHandler`], and sends their results. Outbound HTTP
//! is all that it needs. The protocol is that of the Python SDK; docs/runpod.md has the differences.
//!
//! [`execution`] has the handler that sends jobs to Greenroom, and [`lease`] that of jobs which only keep the worker.

mod api;
mod backoff;
mod cancellations;
mod environment;
pub mod execution;
mod handler;
mod job;
mod job_task;
pub mod lease;
pub mod local;
pub mod log_line;
mod ping;
mod posting;
mod result;
mod resume;
mod startup;
mod take_loop;
mod templates;
mod text_parts;
mod timing;
mod tracker;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use greenroom_protocol::{Cause, Clock};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout_at};

pub use environment::{
    API_KEY, CPU_COUNT, ENDPOINT_ID, GET_JOB, PING, PING_INTERVAL, POD_HOSTNAME, POD_ID, POST_OUTPUT, POST_STREAM,
    WorkerEnvironment,
};
pub use handler::{JobContext, JobHandler, StreamEnded};
pub use job::Job;
pub use ping::{WORKER_VERSION, report_unhealthy};
pub use result::{Done, JobFailure, JobResult, RESULT_BYTES_MAX, Reporter, SYNC_RESULT_BYTES_MAX};
pub use resume::{NoResumeHook, ResumeHook};
pub use templates::UrlTemplates;
pub use timing::Timing;

use self::api::WorkerApi;
use self::cancellations::poll_cancellations;
use self::handler::wait_true;
use self::job_task::{Counters, JobEnv};
use self::ping::PingThread;
use self::posting::Poster;
use self::resume::ConnectionProof;
use self::take_loop::{TakeLoop, report_end};
use self::tracker::Tracker;

/// The most jobs that a worker executes at once without another setting.
pub const CONCURRENCY_DEFAULT: usize = 32;
/// Heartbeats that a process misses before it counts as suspended.
const PINGS_MISSED_MAX: u32 = 2;
/// Checks for a suspension that it misses before that, if heartbeats are more frequent.
const CHECKS_MISSED_MAX: u32 = 5;

/// How a worker works.
#[derive(Clone)]
pub struct WorkerOptions {
    /// The most jobs at once; at least one.
    pub concurrency: usize,
    /// True to have the worker replaced after its first result.
    pub refresh_worker: bool,
    /// The durations.
    pub timing: Timing,
    /// The clocks of the machine, which show a suspension.
    pub clock: Arc<dyn Clock>,
    /// What the host proves after a suspension.
    pub resume_hook: Arc<dyn ResumeHook>,
}

impl WorkerOptions {
    /// The defaults, with these clocks.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            concurrency: CONCURRENCY_DEFAULT,
            refresh_worker: false,
            timing: Timing::default(),
            clock,
            resume_hook: Arc::new(NoResumeHook),
        }
    }
}

/// What a worker has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerReport {
    /// Jobs that were executed.
    pub executed: u64,
    /// Results that RunPod has accepted.
    pub accepted: u64,
    /// Jobs that RunPod has cancelled.
    pub cancelled: u64,
    /// Deliveries of a job that was there already.
    pub repeated: u64,
    /// Results that RunPod has refused, or that were too large.
    pub refused: u64,
    /// Jobs without a result at the end, which RunPod delivers to another worker.
    pub unfinished: usize,
    /// How often the process was suspended.
    pub resumes: u64,
}

/// A worker of a queue endpoint.
pub struct Worker {
    environment: Arc<WorkerEnvironment>,
    options: WorkerOptions,
    api: Arc<WorkerApi>,
    proof: Arc<ConnectionProof>,
    tracker: Arc<Tracker>,
    env: Arc<JobEnv>,
    counters: Arc<Counters>,
}

impl Worker {
    /// Creates a worker, which does nothing yet.
    ///
    /// # Errors
    /// [`greenroom_protocol::ErrorCode::InvalidConfiguration`] if the key cannot be sent.
    pub fn new(
        environment: WorkerEnvironment,
        handler: Arc<dyn JobHandler>,
        options: WorkerOptions,
    ) -> Result<Self, Cause> {
        let environment = Arc::new(environment);
        let timing = options.timing.clone();
        let api = Arc::new(WorkerApi::new(Arc::clone(&environment), timing.clone())?);
        let proof = Arc::new(ConnectionProof::new(
            Arc::clone(&options.clock),
            Arc::clone(&options.resume_hook),
            Arc::clone(&api),
            // A check that is only late is no suspension.
            (environment.ping_interval * PINGS_MISSED_MAX).max(timing.resume_check_interval * CHECKS_MISSED_MAX),
            timing.resume_retry_delay,
        ));
        let (tracker, counters) = (Arc::new(Tracker::default()), Arc::new(Counters::default()));
        let env = Arc::new(JobEnv {
            handler,
            poster: Poster::new(Arc::clone(&api), Arc::clone(&proof), timing.clone()),
            tracker: Arc::clone(&tracker),
            reporter: Reporter {
                hostname: environment.hostname.clone(),
                worker_id: environment.worker_id.clone(),
                version: WORKER_VERSION,
            },
            timing,
            counters: Arc::clone(&counters),
            refresh_worker: options.refresh_worker,
            end: watch::Sender::new(false),
        });
        Ok(Self { environment, options, api, proof, tracker, env, counters })
    }

    /// Takes and executes jobs until `drain` becomes true, or the worker was to be replaced. Then it takes no more jobs,
    /// waits for those under way, and returns. A job that has not ended in time is not acknowledged, so that RunPod
    /// delivers it again.
    ///
    /// # Errors
    /// Those of starting the heartbeat.
    pub async fn run(self, drain: watch::Receiver<bool>) -> Result<WorkerReport, Cause> {
        let ping = PingThread::start(Arc::clone(&self.environment), Arc::clone(&self.tracker))?;
        // They end with this function.
        let mut loops = JoinSet::new();
        loops.spawn(poll_for_cancellations(
            Arc::clone(&self.api),
            Arc::clone(&self.tracker),
            self.options.timing.clone(),
        ));
        loops.spawn(check_suspension(Arc::clone(&self.proof), self.options.timing.clone()));
        loops.spawn(forward_drain(drain, Arc::clone(&self.env)));
        let take_loop = TakeLoop {
            api: Arc::clone(&self.api),
            env: Arc::clone(&self.env),
            capacity: Arc::new(Semaphore::new(self.options.concurrency.max(1))),
            is_ending: self.env.end.subscribe(),
            timing: self.options.timing.clone(),
        };
        let (mut jobs, signalled_at) = self.take_jobs(take_loop).await;
        let draining = async {
            while let Some(ended) = jobs.join_next().await {
                report_end(ended);
            }
        };
        // The time that the last poll was open is a part of it: whoever sent the signal does not wait longer for that.
        let is_drained = timeout_at(signalled_at + self.options.timing.drain_timeout, draining).await.is_ok();
        let unfinished = if is_drained { 0 } else { self.tracker.ids().len() };
        if unfinished > 0 {
            tracing::warn!(jobs.unfinished = unfinished, "jobs have not ended in time; RunPod delivers them again");
        }
        drop(jobs);
        loops.abort_all();
        if let Some(ping) = ping {
            ping.finish().await;
        }
        Ok(self.report(unfinished))
    }

    /// Takes jobs until the worker shall end; returns those under way, and the moment of the signal.
    async fn take_jobs(&self, take_loop: TakeLoop) -> (JoinSet<()>, Instant) {
        // A task of its own takes the jobs, so that a host which is busy with its start does not delay them.
        let mut taking = JoinSet::new();
        taking.spawn(take_loop.run());
        let mut signalled_at = None;
        let taken = loop {
            tokio::select! {
                biased;
                () = wait_true(self.env.end.subscribe()), if signalled_at.is_none() => signalled_at = Some(Instant::now()),
                taken = taking.join_next() => break taken,
            }
        };
        let jobs = match taken {
            Some(Ok(jobs)) => jobs,
            Some(Err(error)) => {
                tracing::error!(error.message = %error, "the loop that takes jobs ended");
                JoinSet::new()
            }
            None => JoinSet::new(),
        };
        (jobs, signalled_at.unwrap_or_else(Instant::now))
    }

    fn report(&self, unfinished: usize) -> WorkerReport {
        let Counters { executed, accepted, cancelled, repeated, refused } = self.counters.as_ref();
        WorkerReport {
            executed: executed.load(Ordering::Relaxed),
            accepted: accepted.load(Ordering::Relaxed),
            cancelled: cancelled.load(Ordering::Relaxed),
            repeated: repeated.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
            unfinished,
            resumes: self.proof.resumes(),
        }
    }
}

async fn poll_for_cancellations(api: Arc<WorkerApi>, tracker: Arc<Tracker>, timing: Timing) {
    poll_cancellations(&api, &tracker, &timing).await;
}

/// Notices a suspension of a process that sends nothing.
async fn check_suspension(proof: Arc<ConnectionProof>, timing: Timing) {
    let mut checks = interval(timing.resume_check_interval);
    loop {
        checks.tick().await;
        proof.prove().await;
    }
}

async fn forward_drain(drain: watch::Receiver<bool>, env: Arc<JobEnv>) {
    wait_true(drain).await;
    env.end.send_replace(true);
}
