//! Locks of values that are changed in one step.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a value. A poisoned lock is still consistent: each value is changed in one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
