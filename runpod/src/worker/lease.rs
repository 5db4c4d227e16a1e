//! Lease jobs: `{"mode": "lease"}` keeps the worker for as long as there is work, which arrives in another way than as jobs.
//! RunPod scales by its own jobs only, so the number of lease jobs is the number of workers that are wanted.

use std::time::Duration;

use greenroom_protocol::Json;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::handler::JobContext;

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
pub(super) async fn run_lease(input: &LeaseInput, work: &dyn LeaseWork, context: &JobContext) -> Json {
    let (began_at, first) = (Instant::now(), work.activity());
    let lease = input.max_s.map_or(LEASE_MAX_DEFAULT, Duration::from_secs).min(LEASE_MAX);
    let end = tokio::select! {
        end = wait_idle(input, work) => end,
        () = sleep(lease) => End::Time,
        () = context.draining() => End::Draining,
        () = context.cancelled() => End::Cancelled,
    };
    let requests = work.activity().requests.saturating_sub(first.requests);
    json!({ "lease": { "end": end.as_str(), "seconds": began_at.elapsed().as_secs_f64(), "requests": requests } })
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
    use std::sync::atomic::{AtomicU64, Ordering};

    use serde_json::{from_value, json};

    use super::{Activity, Duration, End, Instant, LeaseInput, LeaseWork, wait_idle};

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
        let input: LeaseInput = from_value(json!({ "mode": "lease", "idle_s": 2 })).unwrap();
        let began_at = Instant::now();
        assert_eq!(wait_idle(&input, &ShortRequests::default()).await, End::Idle);
        let elapsed = began_at.elapsed();
        assert!(elapsed >= Duration::from_millis(2_200) && elapsed < Duration::from_secs(3), "{elapsed:?}");
    }

    #[test]
    fn an_input_with_an_unknown_member_is_no_lease() {
        assert!(from_value::<LeaseInput>(json!({ "mode": "lease", "idle": 2 })).is_err());
        assert!(from_value::<LeaseInput>(json!({ "mode": "rent" })).is_err());
        assert!(from_value::<LeaseInput>(json!({ "mode": "lease", "max_s": 60, "lease": "a" })).is_ok());
    }
}
