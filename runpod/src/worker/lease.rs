//! Lease jobs: `{"mode": "lease"}` keeps the worker for as long as there is work, which arrives in another way than as jobs.
//! RunPod scales by its own jobs only, so the number of lease jobs is the number of workers that are wanted.

use std::future::pending;
use std::time::Duration;

use greenroom_protocol::{Cause, Json};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::handler::JobContext;
use super::startup::Startup;

/// Time without work after which a lease ends, without another setting.
const IDLE_DEFAULT: Duration = Duration::from_secs(5);
/// The longest lease without another setting.
const LEASE_MAX_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// The longest lease that RunPod allows: seven days.
const LEASE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The interval at which the work is observed.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(100);

/// What a worker does beside its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Requests and runs under way.
    pub in_flight: u64,
    /// Requests so far: a change shows work that began and ended between two observations.
    pub requests: u64,
}

/// Observes the work of the process.
pub trait LeaseWork: Send + Sync {
    /// The work at this moment.
    fn activity(&self) -> Activity;
}

/// A process that does nothing beside its jobs: a lease ends after its idle time.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLeaseWork;

impl LeaseWork for NoLeaseWork {
    fn activity(&self) -> Activity {
        Activity::default()
    }
}

/// The only mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Lease,
}

/// The input of a lease job.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseInput {
    mode: Mode,
    /// The longest time, in seconds.
    #[serde(default)]
    max_s: Option<u64>,
    /// The time without work after which the lease ends, in seconds.
    #[serde(default)]
    idle_s: Option<u64>,
    /// Distinguishes lease jobs; it has no meaning here.
    #[serde(default)]
    lease: Option<String>,
}

/// Why a lease has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Idle,
    Time,
    Draining,
    Cancelled,
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Time => "time",
            Self::Draining => "draining",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Keeps the worker until there has been no work for the idle time, the time of the lease has passed, or the worker shall
/// end. Returns the output of the job.
///
/// # Errors
/// The cause for which the host cannot start, or has failed.
pub(super) async fn run_lease(
    input: &LeaseInput,
    host: &watch::Receiver<Startup>,
    work: &dyn LeaseWork,
    context: &JobContext,
) -> Result<Json, Cause> {
    let (began_at, first) = (Instant::now(), work.activity());
    let lease = input.max_s.map_or(LEASE_MAX_DEFAULT, Duration::from_secs).min(LEASE_MAX);
    let end = tokio::select! {
        // A worker whose host has failed is drained, and the failure is the reason of it.
        biased;
        end = wait_end(input, host, work) => end?,
        () = sleep(lease) => End::Time,
        () = context.draining() => End::Draining,
        () = context.cancelled() => End::Cancelled,
    };
    let requests = work.activity().requests.saturating_sub(first.requests);
    Ok(json!({ "lease": { "end": end.as_str(), "seconds": began_at.elapsed().as_secs_f64(), "requests": requests } }))
}

/// Waits until a host that is ready is idle. A host that starts has no work yet, and is not idle for it.
async fn wait_end(input: &LeaseInput, host: &watch::Receiver<Startup>, work: &dyn LeaseWork) -> Result<End, Cause> {
    let idle = async {
        wait_ready(host.clone()).await;
        wait_idle(input, work).await
    };
    tokio::select! {
        biased;
        cause = wait_failed(host.clone()) => Err(cause),
        end = idle => Ok(end),
    }
}

/// Waits until the host is ready, for ever if it has ended before: then the worker ends too.
async fn wait_ready(mut host: watch::Receiver<Startup>) {
    let is_ready = host.wait_for(|startup| matches!(startup, Startup::Ready(_))).await.is_ok();
    if !is_ready {
        pending::<()>().await;
    }
}

/// Waits until the host has failed, for ever if it ends otherwise.
async fn wait_failed(mut host: watch::Receiver<Startup>) -> Cause {
    let failure = match host.wait_for(|startup| matches!(startup, Startup::Failed(_))).await.as_deref() {
        Ok(Startup::Failed(cause)) => Some(cause.clone()),
        Ok(Startup::Loading | Startup::Ready(_)) | Err(_) => None,
    };
    match failure {
        Some(cause) => cause,
        None => pending().await,
    }
}

async fn wait_idle(input: &LeaseInput, work: &dyn LeaseWork) -> End {
    let idle_max = input.idle_s.map_or(IDLE_DEFAULT, Duration::from_secs);
    let (mut worked_at, mut last) = (Instant::now(), work.activity());
    loop {
        sleep(OBSERVE_INTERVAL).await;
        let activity = work.activity();
        if activity.in_flight > 0 || activity.requests != last.requests {
            worked_at = Instant::now();
        } else if worked_at.elapsed() >= idle_max {
            return End::Idle;
        }
        last = activity;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use futures::{StreamExt, stream};
    use greenroom_client::{Client, Events, Transport, TransportError};
    use greenroom_protocol::event::{EventNumber, WatchedRun};
    use greenroom_protocol::{Cause, Envelope, ErrorCode, Reply};
    use serde_json::{from_value, json};

    use super::{
        Activity, Duration, End, Instant, LeaseInput, LeaseWork, NoLeaseWork, Startup, sleep, wait_end, wait_idle,
        watch,
    };

    /// A pod that no request reaches.
    struct Unreachable;

    #[async_trait]
    impl Transport for Unreachable {
        async fn send(&self, _: Envelope) -> Result<Reply, TransportError> {
            Err(TransportError::ConnectionLost)
        }

        fn watch(&self, _: &WatchedRun, _: EventNumber) -> Events {
            stream::empty().boxed()
        }
    }

    fn ready() -> Startup {
        Startup::Ready(Client::new(Arc::new(Unreachable)))
    }

    fn idle_for(seconds: u64) -> LeaseInput {
        from_value(json!({ "mode": "lease", "idle_s": seconds })).unwrap()
    }

    /// Three requests that begin and end between two observations.
    #[derive(Default)]
    struct ShortRequests(AtomicU64);

    impl LeaseWork for ShortRequests {
        fn activity(&self) -> Activity {
            let observations = self.0.fetch_add(1, Ordering::Relaxed);
            Activity { in_flight: 0, requests: observations.min(3) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_when_nothing_has_happened_for_its_idle_time() {
        let input = idle_for(2);
        let began_at = Instant::now();
        assert_eq!(wait_idle(&input, &ShortRequests::default()).await, End::Idle);
        let elapsed = began_at.elapsed();
        assert!(elapsed >= Duration::from_millis(2_200) && elapsed < Duration::from_secs(3), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_idle_time_begins_when_the_host_is_ready() {
        let (startup, host) = watch::channel(Startup::Loading);
        let (began_at, input) = (Instant::now(), idle_for(2));
        let starting = async {
            sleep(Duration::from_secs(60)).await;
            startup.send_replace(ready())
        };
        let (end, _) = tokio::join!(wait_end(&input, &host, &NoLeaseWork), starting);
        assert_eq!(end, Ok(End::Idle));
        let elapsed = began_at.elapsed();
        assert!(elapsed >= Duration::from_secs(62) && elapsed < Duration::from_secs(63), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_cannot_start_or_fails_later_ends_the_lease_with_its_cause() {
        let cause = Cause::new(ErrorCode::InvalidDefinition, "agents.yaml: line 3");
        for first in [Startup::Loading, ready()] {
            let (startup, host) = watch::channel(first);
            let input = idle_for(3_600);
            let failing = async {
                sleep(Duration::from_secs(60)).await;
                startup.send_replace(Startup::Failed(cause.clone()))
            };
            let (end, _) = tokio::join!(wait_end(&input, &host, &NoLeaseWork), failing);
            assert_eq!(end, Err(cause.clone()));
        }
    }

    #[test]
    fn an_input_with_an_unknown_member_is_no_lease() {
        assert!(from_value::<LeaseInput>(json!({ "mode": "lease", "idle": 2 })).is_err());
        assert!(from_value::<LeaseInput>(json!({ "mode": "rent" })).is_err());
        assert!(from_value::<LeaseInput>(json!({ "mode": "lease", "max_s": 60, "lease": "a" })).is_ok());
    }
}
