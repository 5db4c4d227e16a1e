//! How often one child has died of late, and what follows. Pure: time comes in.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::child_event::How;
use super::restart_policy::{GiveUp, Restart, Rule};

/// What a parent does about an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start it again after this long.
    RestartAfter(Duration),
    /// Leave it ended.
    Leave,
    /// It died too often.
    GiveUp(GiveUp),
}

/// The restarts of one child inside its window.
#[derive(Debug, Clone, Default)]
pub struct Intensity {
    restarts: VecDeque<Instant>,
}

impl Intensity {
    /// Takes note of an end, and says what follows from the rule.
    pub fn on_exit(&mut self, rule: &Rule, how: How, now: Instant) -> Next {
        let by_itself = how == How::Stopped;
        match rule.restart {
            Restart::Temporary => return Next::Leave,
            Restart::Transient if by_itself => return Next::Leave,
            Restart::Transient | Restart::Permanent => {}
        }
        while self.restarts.front().is_some_and(|then| now.duration_since(*then) >= rule.window) {
            self.restarts.pop_front();
        }
        let restarts = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        if restarts >= rule.restarts_max {
            self.restarts.clear();
            return Next::GiveUp(rule.give_up);
        }
        self.restarts.push_back(now);
        Next::RestartAfter(rule.backoff.before(restarts.saturating_add(1)))
    }

    /// True if nothing of the past counts any more, so that it may be forgotten.
    #[must_use]
    pub fn is_calm(&self, rule: &Rule, now: Instant) -> bool {
        self.restarts.back().is_none_or(|then| now.duration_since(*then) >= rule.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::restart_policy::{Backoff, ChildKind};

    const fn rule(restart: Restart) -> Rule {
        Rule {
            restart,
            restarts_max: 2,
            window: Duration::from_secs(10),
            backoff: Backoff { first: Duration::from_millis(5), max: Duration::from_secs(1) },
            frozen_after: None,
            give_up: GiveUp::Escalate,
        }
    }

    #[test]
    fn a_third_death_inside_the_window_is_one_too_many() {
        let (rule, start) = (rule(Restart::Permanent), Instant::now());
        let mut intensity = Intensity::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(intensity.on_exit(&rule, How::Crashed, at(0)), Next::RestartAfter(Duration::from_millis(5)));
        assert_eq!(intensity.on_exit(&rule, How::Killed, at(1)), Next::RestartAfter(Duration::from_millis(10)));
        assert_eq!(intensity.on_exit(&rule, How::Frozen, at(2)), Next::GiveUp(GiveUp::Escalate));
    }

    #[test]
    fn deaths_outside_the_window_are_forgotten() {
        let (rule, start) = (rule(Restart::Permanent), Instant::now());
        let mut intensity = Intensity::default();
        for seconds in [0, 10, 20, 30, 40] {
            let next = intensity.on_exit(&rule, How::Crashed, start + Duration::from_secs(seconds));
            assert_eq!(next, Next::RestartAfter(Duration::from_millis(5)));
        }
        assert!(!intensity.is_calm(&rule, start + Duration::from_secs(41)));
        assert!(intensity.is_calm(&rule, start + Duration::from_secs(50)));
    }

    #[test]
    fn who_stops_by_itself_is_left_unless_permanent() {
        let now = Instant::now();
        let stop = |restart| Intensity::default().on_exit(&rule(restart), How::Stopped, now);
        assert_eq!(stop(Restart::Transient), Next::Leave);
        assert_eq!(stop(Restart::Temporary), Next::Leave);
        assert!(matches!(stop(Restart::Permanent), Next::RestartAfter(_)));
        let crash = Intensity::default().on_exit(&rule(Restart::Temporary), How::Crashed, now);
        assert_eq!(crash, Next::Leave);
    }

    #[test]
    fn the_audit_writer_dies_once() {
        let next = Intensity::default().on_exit(&ChildKind::AuditWriter.rule(), How::Crashed, Instant::now());
        assert_eq!(next, Next::GiveUp(GiveUp::StopPod));
    }
}
