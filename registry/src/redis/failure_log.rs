//! The lines of the log about a server that fails: one for each kind of failure, and one once it serves again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::RedisError;

/// What was logged since the server has served.
#[derive(Default)]
pub(super) struct FailureLog {
    is_failing: AtomicBool,
    kinds: Mutex<BTreeSet<&'static str>>,
}

impl FailureLog {
    /// Logs a failure, unless one of its kind was logged already. Returns whether it did.
    pub(super) fn on_failure(&self, error: &RedisError) -> bool {
        let is_new = self.kinds().insert(error.detail());
        if is_new {
            self.is_failing.store(true, Ordering::Relaxed);
            tracing::warn!(redis.error = error.detail(), error.message = %error, "redis failed");
        }
        is_new
    }

    /// Logs that the server serves again, if a failure was logged. Returns whether it did.
    pub(super) fn on_recovery(&self) -> bool {
        let is_first = self.is_failing.load(Ordering::Relaxed) && self.is_failing.swap(false, Ordering::Relaxed);
        if is_first {
            self.kinds().clear();
            tracing::info!("redis is available again");
        }
        is_first
    }

    fn kinds(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_is_logged_once_until_the_server_serves_again() {
        let log = FailureLog::default();
        assert!(!log.on_recovery());
        assert!(log.on_failure(&RedisError::Timeout) && !log.on_failure(&RedisError::Timeout));
        assert!(log.on_failure(&RedisError::ReadOnly), "another kind");
        assert!(log.on_recovery() && !log.on_recovery());
        assert!(log.on_failure(&RedisError::Timeout));
    }
}
