//! The bound on what the handlers of one execution write to the log.

use std::sync::atomic::{AtomicU32, Ordering};

/// Lines that one execution may write to the log; further ones are dropped.
pub(crate) const LOG_LINES_MAX: u32 = 1_000;

/// The lines that an execution has written to the log, over all attempts.
#[derive(Debug, Default)]
pub(crate) struct LogLines(AtomicU32);

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineFate {
    /// It is written.
    Written,
    /// It is the first one that is dropped.
    FirstDropped,
    /// It is dropped, as others before it.
    Dropped,
}

impl LogLines {
    /// Counts one more line.
    pub(crate) fn count(&self) -> LineFate {
        let line = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lines| lines.checked_add(1));
        match line.unwrap_or(u32::MAX) {
            0..LOG_LINES_MAX => LineFate::Written,
            LOG_LINES_MAX => LineFate::FirstDropped,
            _ => LineFate::Dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_bound_are_dropped_and_the_first_of_them_is_known() {
        let lines = LogLines::default();
        let fates: Vec<LineFate> = (0..LOG_LINES_MAX + 3).map(|_| lines.count()).collect();
        assert_eq!(fates.iter().filter(|fate| **fate == LineFate::Written).count(), LOG_LINES_MAX as usize);
        assert_eq!(fates.iter().filter(|fate| **fate == LineFate::FirstDropped).count(), 1);
        assert_eq!(fates.last(), Some(&LineFate::Dropped));
    }
}
