//! The heartbeat of a worker, from a thread of its own with a connection of its own: a handler that keeps every other thread
//! busy does not stop it. It ends with the process, unlike the process of the SDK.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::environment::WorkerEnvironment;
use super::tracker::Tracker;
use crate::http::{new_client, read_response};

/// What the worker reports as its version.
pub const WORKER_VERSION: &str = concat!("rust-greenroom/", env!("CARGO_PKG_VERSION"));

/// The delays before the repetitions of one heartbeat.
const RETRY_DELAYS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(4)];
/// Bytes of a response, which is ignored.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// How long the last heartbeat, and the report of a worker that cannot work, may take.
const LAST_PING_MAX: Duration = Duration::from_secs(2);

/// The thread of the heartbeat.
pub(super) struct PingThread {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl PingThread {
    /// Starts it, unless the worker sends no heartbeats. The first one is sent at once.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if the key cannot be a header; [`ErrorCode::Internal`] if the operating system
    /// refuses a thread.
    pub(super) fn start(environment: Arc<WorkerEnvironment>, tracker: Arc<Tracker>) -> Result<Option<Self>, Cause> {
        if !environment.sends_pings() {
            tracing::warn!("heartbeats are off: RunPod has set no address, no key or no name for them");
            return Ok(None);
        }
        let authorization = authorization(&environment)?;
        let internal = |error: std::io::Error| {
            Cause::new(ErrorCode::Internal, format!("the thread of the heartbeat cannot be started: {error}"))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
        let (stop, is_stopped) = watch::channel(false);
        let pinger = Pinger { environment, tracker, authorization, http: new_client()? };
        let thread = Builder::new().name("runpod-ping".to_owned());
        let thread = thread.spawn(move || runtime.block_on(pinger.run(is_stopped))).map_err(internal)?;
        Ok(Some(Self { stop, thread }))
    }

    /// Sends the last heartbeat and ends the thread.
    pub(super) async fn finish(self) {
        self.stop.send_replace(true);
        let joining = tokio::task::spawn_blocking(move || self.thread.join().is_ok());
        if !matches!(timeout(LAST_PING_MAX + Duration::from_millis(500), joining).await, Ok(Ok(true))) {
            tracing::warn!("the thread of the heartbeat did not end in time");
        }
    }
}

struct Pinger {
    environment: Arc<WorkerEnvironment>,
    tracker: Arc<Tracker>,
    authorization: HeaderValue,
    http: Client,
}

impl Pinger {
    async fn run(mut self, mut is_stopped: watch::Receiver<bool>) {
        let interval = self.environment.ping_interval;
        let mut due_at = Instant::now();
        loop {
            tokio::select! {
                () = self.ping() => {}
                _ = is_stopped.wait_for(|is_stopped| *is_stopped) => break,
            }
            due_at += interval;
            let now = Instant::now();
            if now > due_at + interval {
                // The process was suspended, or the server was silent: its connections may be dead.
                due_at = now;
                if let Ok(http) = new_client() {
                    self.http = http;
                }
            }
            tokio::select! {
                () = tokio::time::sleep_until(due_at) => {}
                _ = is_stopped.wait_for(|is_stopped| *is_stopped) => break,
            }
        }
        let _ = timeout(LAST_PING_MAX, self.try_ping()).await;
    }

    /// Sends one heartbeat, and repeats it where the server may have been busy. A failure is never fatal.
    async fn ping(&self) {
        let mut problem = match self.try_ping().await {
            Ok(()) => return,
            Err(problem) => problem,
        };
        for delay in RETRY_DELAYS {
            let Problem { message, is_passing, retry_after } = problem;
            if !is_passing {
                tracing::warn!(error.message = message, "heartbeat was not accepted");
                return;
            }
            // A delay beyond the interval is that of the next heartbeat.
            sleep(retry_after.unwrap_or(delay).min(self.environment.ping_interval)).await;
            problem = match self.try_ping().await {
                Ok(()) => return,
                Err(problem) => problem,
            };
        }
        tracing::warn!(error.message = problem.message, "heartbeat was not accepted");
    }

    async fn try_ping(&self) -> Result<(), Problem> {
        let environment = &self.environment;
        let url = environment.urls.ping(&environment.worker_id, &self.tracker.ids(), WORKER_VERSION);
        let Some(url) = url else { return Ok(()) };
        let request = self.http.get(url).timeout(environment.ping_interval * 2);
        let sent = request.header(AUTHORIZATION, self.authorization.clone()).send().await;
        let response = sent.map_err(|error| Problem {
            message: crate::http::describe(&error),
            is_passing: !error.is_builder() && !error.is_timeout(),
            retry_after: None,
        })?;
        let received = read_response(response, RESPONSE_BYTES_MAX).await.map_err(|message| Problem {
            message,
            is_passing: true,
            retry_after: None,
        })?;
        let status = received.status.as_u16();
        if received.status.is_success() {
            return Ok(());
        }
        let is_passing = matches!(status, 429 | 500 | 502 | 503 | 504);
        let message = format!("RunPod responded to the heartbeat with {status}");
        Err(Problem { message, is_passing, retry_after: received.retry_after() })
    }
}

struct Problem {
    message: String,
    is_passing: bool,
    retry_after: Option<Duration>,
}

fn authorization(environment: &WorkerEnvironment) -> Result<HeaderValue, Cause> {
    environment.key.header("").map_err(|_| {
        Cause::new(ErrorCode::InvalidConfiguration, "the key of the worker has a character that no header may have")
    })
}

/// Reports to RunPod that this worker cannot work, before its process ends. A failure to report changes nothing.
pub async fn report_unhealthy(environment: &WorkerEnvironment, check: &str, reason: &str) {
    let url = environment.urls.unhealthy(&environment.worker_id, check, reason, WORKER_VERSION);
    let (Some(url), true) = (url, environment.sends_pings()) else { return };
    let (Ok(http), Ok(authorization)) = (new_client(), authorization(environment)) else { return };
    let sent = http.get(url).timeout(LAST_PING_MAX).header(AUTHORIZATION, authorization).send().await;
    if let Err(error) = sent {
        tracing::warn!(error.message = crate::http::describe(&error), "the report of the worker was not sent");
    }
}
