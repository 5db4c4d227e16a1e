//! Whether the server replies. While it does not, an operation is sent from time to time to find out, and all others fail
//! at once instead of waiting for their timeout.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A server that does not reply for this long after the last command is disconnected.
pub(super) const UNRESPONSIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an unresponsive server is looked for.
pub(super) const UNRESPONSIVE_INTERVAL: Duration = Duration::from_millis(500);
/// How often an operation is sent to a server that does not reply. The client takes a connection for lost a certain time
/// after the *last* command on it, so a probe that follows earlier would keep a connection that is silent for ever.
const PROBE_INTERVAL: Duration = UNRESPONSIVE_TIMEOUT.saturating_add(UNRESPONSIVE_INTERVAL.saturating_mul(2));

/// The replies of one server. Times are durations since the monitor was made.
pub(super) struct ReplyMonitor {
    created_at: Instant,
    /// The time of the last reply, in milliseconds.
    last_reply_ms: AtomicU64,
    /// When the next operation may be sent, in milliseconds; zero while the server replies.
    next_probe_ms: AtomicU64,
}

impl ReplyMonitor {
    pub(super) fn new() -> Self {
        Self { created_at: Instant::now(), last_reply_ms: AtomicU64::new(0), next_probe_ms: AtomicU64::new(0) }
    }

    pub(super) fn now(&self) -> Duration {
        self.created_at.elapsed()
    }

    /// True if an operation may be sent now.
    pub(super) fn allows(&self, now: Duration) -> bool {
        let next = self.next_probe_ms.load(Ordering::Relaxed);
        let later = to_ms(now.saturating_add(PROBE_INTERVAL));
        // Of concurrent operations, the one that sets the time of the next probe is this one.
        next == 0
            || (to_ms(now) >= next
                && self.next_probe_ms.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok())
    }

    /// The server has replied.
    pub(super) fn on_reply(&self, now: Duration) {
        self.last_reply_ms.store(to_ms(now), Ordering::Relaxed);
        if self.next_probe_ms.load(Ordering::Relaxed) != 0 {
            self.next_probe_ms.store(0, Ordering::Relaxed);
        }
    }

    /// An operation that started at this time had no reply. If another one had, the server is only slow.
    pub(super) fn on_timeout(&self, started_at: Duration, now: Duration) {
        if self.last_reply_ms.load(Ordering::Relaxed) <= to_ms(started_at) {
            self.next_probe_ms.store(to_ms(now.saturating_add(PROBE_INTERVAL)), Ordering::Relaxed);
        }
    }
}

/// Whole milliseconds, as the atomic numbers have them.
pub(super) fn to_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_server_gets_one_operation_in_each_interval_until_it_replies() {
        let monitor = ReplyMonitor::new();
        let at = Duration::from_millis;
        assert!(monitor.allows(at(0)) && monitor.allows(at(0)));
        monitor.on_timeout(at(1), at(2_001));
        assert!(!monitor.allows(at(5_000)));
        assert!(monitor.allows(at(5_001)) && !monitor.allows(at(5_001)), "one of two");
        assert!(monitor.allows(at(8_001)));
        monitor.on_reply(at(8_002));
        assert!(monitor.allows(at(8_003)) && monitor.allows(at(8_003)));
    }

    #[test]
    fn a_slow_operation_beside_others_with_replies_stops_none() {
        let monitor = ReplyMonitor::new();
        let at = Duration::from_millis;
        monitor.on_reply(at(1_000));
        monitor.on_timeout(at(500), at(2_500));
        assert!(monitor.allows(at(2_501)));
        monitor.on_timeout(at(1_500), at(3_500));
        assert!(!monitor.allows(at(3_501)));
    }
}
