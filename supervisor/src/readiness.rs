//! Whether the pod is ready for requests: not while it cannot load what was applied for every pod, and not without NATS if
//! requests are to arrive there. It serves what was active before meanwhile, which the others do no longer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_protocol::Cause;
use tokio::time::Instant;

use crate::telemetry::metrics::GenerationMetrics;

/// How long a failure lasts before the pod is not ready because of it.
pub const UNREADY_AFTER: Duration = Duration::from_secs(10);

/// Whether the pod is ready.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What fails, by its subject.
    failures: BTreeMap<&'static str, Failure>,
    /// The log and the metric have that the pod is not ready.
    is_reported: bool,
}

#[derive(Debug)]
struct Failure {
    since: Instant,
    /// The pod is not ready at once, and not only once this lasts.
    is_immediate: bool,
    cause: Cause,
}

impl Failure {
    fn is_lasting(&self, now: Instant) -> bool {
        self.is_immediate || now.saturating_duration_since(self.since) >= UNREADY_AFTER
    }
}

impl Readiness {
    /// Why the pod is not ready; `None` if it is.
    #[must_use]
    pub fn unready_cause(&self) -> Option<Cause> {
        let now = Instant::now();
        let state = self.state();
        state.failures.values().find(|failure| failure.is_lasting(now)).map(|failure| failure.cause.clone())
    }

    /// A subject cannot be loaded. The time counts from its first failure since its last success.
    pub(crate) fn on_failure(&self, subject: &'static str, cause: Cause, now: Instant) {
        let mut state = self.state();
        let since = state.failures.get(subject).map_or(now, |failure| failure.since);
        state.failures.insert(subject, Failure { since, is_immediate: false, cause });
    }

    /// As [`Readiness::on_failure`], for what a pod needs at every moment: it is not ready from now on.
    pub(crate) fn on_loss(&self, subject: &'static str, cause: Cause) {
        self.state().failures.insert(subject, Failure { since: Instant::now(), is_immediate: true, cause });
    }

    /// A subject is as it was applied.
    pub(crate) fn on_success(&self, subject: &'static str) {
        self.state().failures.remove(subject);
    }

    /// Reports a change to the log and to the metric, and returns the time until the next one, if no failure ends before.
    pub(crate) fn report(&self, metrics: &GenerationMetrics, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        let lasting = state.failures.iter().find(|(_, failure)| failure.is_lasting(now));
        let is_unready = lasting.is_some();
        if is_unready != state.is_reported {
            metrics.set_ready(!is_unready);
            match lasting {
                Some((subject, Failure { cause, .. })) => tracing::error!(
                    reload.subject = subject, error.code = %cause.code, error.message = cause.message,
                    "pod is not ready"
                ),
                None => tracing::info!("pod is ready again"),
            }
            state.is_reported = is_unready;
        }
        let pending = state.failures.values().filter(|failure| !failure.is_immediate);
        let durations = pending.map(|failure| now.saturating_duration_since(failure.since));
        durations.filter(|lasted| *lasted < UNREADY_AFTER).map(|lasted| UNREADY_AFTER.saturating_sub(lasted)).min()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is changed in one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;

    use super::*;
    use crate::telemetry::Metrics;

    const SECOND: Duration = Duration::from_secs(1);

    fn cause(message: &str) -> Cause {
        Cause::new(ErrorCode::InvalidDefinition, message)
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_is_not_ready_once_something_has_failed_for_ten_seconds() {
        let (readiness, metrics) = (Readiness::default(), Metrics::new().unwrap());
        let is_shown = |value: &str| metrics.render().contains(&format!("\npod_ready {value}\n"));
        assert_eq!(readiness.report(metrics.generations(), Instant::now()), None);
        readiness.on_failure("definitions", cause("first"), Instant::now());
        assert_eq!(readiness.report(metrics.generations(), Instant::now()), Some(UNREADY_AFTER));
        tokio::time::advance(SECOND * 9).await;
        // Another failure of the same subject does not begin anew.
        readiness.on_failure("definitions", cause("second"), Instant::now());
        assert_eq!(readiness.report(metrics.generations(), Instant::now()), Some(SECOND));
        assert!(readiness.unready_cause().is_none() && is_shown("1"));
        tokio::time::advance(SECOND).await;
        assert_eq!(readiness.report(metrics.generations(), Instant::now()), None);
        assert_eq!(readiness.unready_cause(), Some(cause("second")));
        assert!(is_shown("0"), "{}", metrics.render());

        readiness.on_failure("policy", cause("third"), Instant::now());
        readiness.on_success("definitions");
        assert_eq!(readiness.report(metrics.generations(), Instant::now()), Some(UNREADY_AFTER));
        assert!(readiness.unready_cause().is_none() && is_shown("1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_loses_what_it_needs_at_every_moment_is_not_ready_at_once() {
        let (readiness, metrics) = (Readiness::default(), Metrics::new().unwrap());
        readiness.on_loss("nats", cause("lost"));
        assert_eq!(readiness.report(metrics.generations(), Instant::now()), None);
        assert_eq!(readiness.unready_cause(), Some(cause("lost")));
        assert!(metrics.render().contains("\npod_ready 0\n"), "{}", metrics.render());
        readiness.on_success("nats");
        assert_eq!(readiness.report(metrics.generations(), Instant::now()), None);
        assert!(readiness.unready_cause().is_none());
    }
}
