//! The restart intensity of one child. Pure: the time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::child_event::ExitKind;
use super::restart_policy::{OnMaxRestarts, RestartMode, RestartPolicy};

/// The decision about a child that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartDecision {
    /// Restart it after this delay.
    RestartAfter(Duration),
    /// Do not restart it.
    NoRestart,
    /// It exceeded its restart intensity.
    MaxRestarts(OnMaxRestarts),
}

/// The restarts of one child inside its window.
#[derive(Debug, Clone, Default)]
pub struct RestartIntensity {
    restarts: VecDeque<Instant>,
}

impl RestartIntensity {
    /// Records an exit and decides by the restart policy.
    pub fn on_exit(&mut self, policy: &RestartPolicy, exit: ExitKind, now: Instant) -> RestartDecision {
        let is_voluntary = exit == ExitKind::Stopped;
        match policy.mode {
            RestartMode::Transient if is_voluntary => return RestartDecision::NoRestart,
            RestartMode::Transient | RestartMode::Permanent => {}
        }
        while self.restarts.front().is_some_and(|at| now.duration_since(*at) >= policy.window) {
            self.restarts.pop_front();
        }
        let restarts = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        if restarts >= policy.restarts_max {
            self.restarts.clear();
            return RestartDecision::MaxRestarts(policy.on_max_restarts);
        }
        self.restarts.push_back(now);
        RestartDecision::RestartAfter(policy.backoff.delay_before(restarts.saturating_add(1)))
    }

    /// True if no restart counts any more, so that the record may be removed.
    #[must_use]
    pub fn is_expired(&self, policy: &RestartPolicy, now: Instant) -> bool {
        self.restarts.back().is_none_or(|at| now.duration_since(*at) >= policy.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::restart_policy::{Backoff, ChildKind};

    const fn policy(restart: RestartMode) -> RestartPolicy {
        RestartPolicy {
            mode: restart,
            restarts_max: 2,
            window: Duration::from_secs(10),
            backoff: Backoff { first: Duration::from_millis(5), max: Duration::from_secs(1) },
            stalled_after: None,
            on_max_restarts: OnMaxRestarts::Escalate,
        }
    }

    #[test]
    fn a_third_exit_inside_the_window_exceeds_a_maximum_of_two_restarts() {
        let (policy, start) = (policy(RestartMode::Permanent), Instant::now());
        let mut intensity = RestartIntensity::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            intensity.on_exit(&policy, ExitKind::Crashed, at(0)),
            RestartDecision::RestartAfter(Duration::from_millis(5))
        );
        assert_eq!(
            intensity.on_exit(&policy, ExitKind::Killed, at(1)),
            RestartDecision::RestartAfter(Duration::from_millis(10))
        );
        assert_eq!(
            intensity.on_exit(&policy, ExitKind::Stalled, at(2)),
            RestartDecision::MaxRestarts(OnMaxRestarts::Escalate)
        );
    }

    #[test]
    fn exits_outside_the_window_do_not_count() {
        let (policy, start) = (policy(RestartMode::Permanent), Instant::now());
        let mut intensity = RestartIntensity::default();
        for seconds in [0, 10, 20, 30, 40] {
            let next = intensity.on_exit(&policy, ExitKind::Crashed, start + Duration::from_secs(seconds));
            assert_eq!(next, RestartDecision::RestartAfter(Duration::from_millis(5)));
        }
        assert!(!intensity.is_expired(&policy, start + Duration::from_secs(41)));
        assert!(intensity.is_expired(&policy, start + Duration::from_secs(50)));
    }

    #[test]
    fn a_child_that_stops_by_itself_is_restarted_only_if_permanent() {
        let now = Instant::now();
        let stop = |restart| RestartIntensity::default().on_exit(&policy(restart), ExitKind::Stopped, now);
        assert_eq!(stop(RestartMode::Transient), RestartDecision::NoRestart);
        assert!(matches!(stop(RestartMode::Permanent), RestartDecision::RestartAfter(_)));
    }

    #[test]
    fn the_first_failure_of_the_audit_writer_stops_the_pod() {
        let next = RestartIntensity::default().on_exit(
            &ChildKind::AuditWriter.restart_policy(),
            ExitKind::Crashed,
            Instant::now(),
        );
        assert_eq!(next, RestartDecision::MaxRestarts(OnMaxRestarts::StopPod));
    }
}
