//! Whether the server removes keys when its memory is used up. An operator can change that while the server runs, so it
//! is checked again and again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::RedisError;
use super::reply_monitor::to_ms;

/// How often the policy of a server in use is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The eviction policy of one server. Times are durations since the connection was opened.
#[derive(Default)]
pub(super) struct EvictionMonitor {
    /// When the next check is due, in milliseconds.
    next_check_ms: AtomicU64,
    /// The policy by which the server removes keys, if it does.
    policy: Mutex<Option<String>>,
}

impl EvictionMonitor {
    /// True if the caller has to check the server now; of concurrent callers it is one.
    pub(super) fn is_check_due(&self, now: Duration) -> bool {
        let next = self.next_check_ms.load(Ordering::Relaxed);
        to_ms(now) >= next
            && self.next_check_ms.compare_exchange(next, check_after(now), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Records the section `memory` of the server's INFO.
    pub(super) fn on_info(&self, memory: &str, now: Duration) {
        *self.policy() = evicting_policy(memory).map(ToOwned::to_owned);
        self.next_check_ms.store(check_after(now), Ordering::Relaxed);
    }

    /// Rejects a server that removes keys.
    ///
    /// # Errors
    /// [`RedisError::Evicting`]
    pub(super) fn reject_evicting(&self) -> Result<(), RedisError> {
        match &*self.policy() {
            Some(policy) => Err(RedisError::Evicting(policy.clone())),
            None => Ok(()),
        }
    }

    fn policy(&self) -> MutexGuard<'_, Option<String>> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_after(now: Duration) -> u64 {
    to_ms(now.saturating_add(CHECK_INTERVAL))
}

/// The eviction policy of a server that removes keys, from the section `memory` of its INFO.
fn evicting_policy(memory: &str) -> Option<&str> {
    let value = |name: &str| memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let policy = value("maxmemory_policy")?;
    (value("maxmemory")? != "0" && policy != "noeviction").then_some(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(bytes: u32, policy: &str) -> String {
        format!("# Memory\r\nused_memory:1\r\nmaxmemory:{bytes}\r\nmaxmemory_policy:{policy}\r\n")
    }

    #[test]
    fn a_server_evicts_only_with_a_limit_and_a_policy() {
        assert_eq!(evicting_policy(&info(100, "allkeys-lru")), Some("allkeys-lru"));
        assert_eq!(evicting_policy(&info(0, "allkeys-lru")), None);
        assert_eq!(evicting_policy(&info(100, "noeviction")), None);
        assert_eq!(evicting_policy("# Memory\r\n"), None);
    }

    #[test]
    fn one_caller_checks_at_a_time_and_the_last_check_decides() {
        let monitor = EvictionMonitor::default();
        let at = Duration::from_millis;
        assert!(monitor.is_check_due(at(0)) && !monitor.is_check_due(at(0)));
        monitor.on_info(&info(100, "allkeys-lru"), at(100));
        assert_eq!(monitor.reject_evicting(), Err(RedisError::Evicting("allkeys-lru".to_owned())));
        assert!(!monitor.is_check_due(at(2_099)));
        assert!(monitor.is_check_due(at(2_100)) && !monitor.is_check_due(at(2_100)));
        monitor.on_info(&info(100, "noeviction"), at(2_101));
        assert_eq!(monitor.reject_evicting(), Ok(()));
    }
}
