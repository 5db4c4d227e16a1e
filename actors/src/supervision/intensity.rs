//! How often one child has died of late, and what follows. Pure: time comes in.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::child_event::ExitKind;
use super::restart_policy::{OnMaxRestarts, RestartMode, RestartPolicy};

/// What a parent does about an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartDecision {
    /// Start it again after this long.
    RestartAfter(Duration),
    /// Leave it ended.
    Stay,
    /// It died too often.
    MaxRestarts(OnMaxRestarts),
}

/// The restarts of one child inside its window.
#[derive(Debug, Clone, Default)]
pub struct RestartIntensity {
    restarts: VecDeque<Instant>,
}

impl RestartIntensity {
    /// Takes note of an end, and says what follows from the rule.
    pub fn on_exit(&mut self, rule: &RestartPolicy, exit: ExitKind, now: Instant) -> RestartDecision {
        let by_itself = exit == ExitKind::Stopped;
        match rule.restart {
            RestartMode::Temporary => return RestartDecision::Stay,
            RestartMode::Transient if by_itself => return RestartDecision::Stay,
            RestartMode::Transient | RestartMode::Permanent => {}
        }
        while self.restarts.front().is_some_and(|then| now.duration_since(*then) >= rule.window) {
            self.restarts.pop_front();
        }
        let restarts = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        if restarts >= rule.restarts_max {
            self.restarts.clear();
            return RestartDecision::MaxRestarts(rule.on_max_restarts);
        }
        self.restarts.push_back(now);
        RestartDecision::RestartAfter(rule.backoff.before(restarts.saturating_add(1)))
    }

    /// True if nothing of the past counts any more, so that it may be forgotten.
    #[must_use]
    pub fn is_expired(&self, rule: &RestartPolicy, now: Instant) -> bool {
        self.restarts.back().is_none_or(|then| now.duration_since(*then) >= rule.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::restart_policy::{Backoff, ChildKind};

    const fn rule(restart: RestartMode) -> RestartPolicy {
        RestartPolicy {
            restart,
            restarts_max: 2,
            window: Duration::from_secs(10),
            backoff: Backoff { first: Duration::from_millis(5), max: Duration::from_secs(1) },
            stalled_after: None,
            on_max_restarts: OnMaxRestarts::Escalate,
        }
    }

    #[test]
    fn a_third_death_inside_the_window_is_one_too_many() {
        let (rule, start) = (rule(RestartMode::Permanent), Instant::now());
        let mut intensity = RestartIntensity::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            intensity.on_exit(&rule, ExitKind::Crashed, at(0)),
            RestartDecision::RestartAfter(Duration::from_millis(5))
        );
        assert_eq!(
            intensity.on_exit(&rule, ExitKind::Killed, at(1)),
            RestartDecision::RestartAfter(Duration::from_millis(10))
        );
        assert_eq!(
            intensity.on_exit(&rule, ExitKind::Stalled, at(2)),
            RestartDecision::MaxRestarts(OnMaxRestarts::Escalate)
        );
    }

    #[test]
    fn deaths_outside_the_window_are_forgotten() {
        let (rule, start) = (rule(RestartMode::Permanent), Instant::now());
        let mut intensity = RestartIntensity::default();
        for seconds in [0, 10, 20, 30, 40] {
            let next = intensity.on_exit(&rule, ExitKind::Crashed, start + Duration::from_secs(seconds));
            assert_eq!(next, RestartDecision::RestartAfter(Duration::from_millis(5)));
        }
        assert!(!intensity.is_expired(&rule, start + Duration::from_secs(41)));
        assert!(intensity.is_expired(&rule, start + Duration::from_secs(50)));
    }

    #[test]
    fn who_stops_by_itself_is_left_unless_permanent() {
        let now = Instant::now();
        let stop = |restart| RestartIntensity::default().on_exit(&rule(restart), ExitKind::Stopped, now);
        assert_eq!(stop(RestartMode::Transient), RestartDecision::Stay);
        assert_eq!(stop(RestartMode::Temporary), RestartDecision::Stay);
        assert!(matches!(stop(RestartMode::Permanent), RestartDecision::RestartAfter(_)));
        let crash = RestartIntensity::default().on_exit(&rule(RestartMode::Temporary), ExitKind::Crashed, now);
        assert_eq!(crash, RestartDecision::Stay);
    }

    #[test]
    fn the_audit_writer_dies_once() {
        let next =
            RestartIntensity::default().on_exit(&ChildKind::AuditWriter.rule(), ExitKind::Crashed, Instant::now());
        assert_eq!(next, RestartDecision::MaxRestarts(OnMaxRestarts::StopPod));
    }
}
