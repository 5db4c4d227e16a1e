//! Which differences between the wall clock of the machine and the clock of the pod are reported: a large one once, and
//! again when it has changed by as much.

/// A larger difference is reported, and a change of a reported one by more: one second, in microseconds.
const OFFSET_MAX: u64 = 1_000_000;

/// What is to be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OffsetReport {
    /// The wall clock of the machine is wrong by this much.
    Wrong,
    /// It is right again.
    Right,
}

/// The last reported difference, in microseconds; none while the clocks agree.
#[derive(Debug, Default)]
pub(super) struct ReportedOffset(Option<i64>);

impl ReportedOffset {
    /// What is to be reported of this difference.
    pub(super) fn observe(&mut self, micros: i64) -> Option<OffsetReport> {
        let is_large = micros.unsigned_abs() > OFFSET_MAX;
        match self.0 {
            None if is_large => {
                self.0 = Some(micros);
                Some(OffsetReport::Wrong)
            }
            Some(reported) if micros.abs_diff(reported) > OFFSET_MAX => {
                self.0 = is_large.then_some(micros);
                Some(if is_large { OffsetReport::Wrong } else { OffsetReport::Right })
            }
            Some(_) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_wrong_clock_is_reported_once_and_when_it_has_changed() {
        let mut offset = ReportedOffset::default();
        let mut observe = |millis: i64| offset.observe(millis * SECOND / 1_000);
        for small in [0, 900, -1_000] {
            assert_eq!(observe(small), None, "{small}");
        }
        assert_eq!(observe(40_000), Some(OffsetReport::Wrong));
        for same in [40_000, 40_500, 39_000, 41_000] {
            assert_eq!(observe(same), None, "{same}");
        }
        assert_eq!(observe(42_000), Some(OffsetReport::Wrong));
        assert_eq!(observe(-3_000), Some(OffsetReport::Wrong), "it was set back");
        assert_eq!(observe(10), Some(OffsetReport::Right));
        assert_eq!(observe(20), None);
        // Around the bound it is not reported each time.
        assert_eq!(observe(1_001), Some(OffsetReport::Wrong));
        for near in [999, 1_002, 600] {
            assert_eq!(observe(near), None, "{near}");
        }
    }
}
