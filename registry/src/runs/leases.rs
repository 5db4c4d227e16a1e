//! The leases of trees of runs, by root. They are in memory only: one process owns the data directory, so after a
//! restart no tree has an owner.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{RunId, Timestamp};

use crate::journal::JournalError;
use crate::runs::Fence;

#[derive(Debug, Clone, Copy)]
struct Lease {
    fence: Fence,
    duration: Duration,
    renewed_at: Timestamp,
    expires_at: Timestamp,
}

/// The leases of this process.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<HashMap<RunId, Lease>>);

impl Leases {
    fn all(&self) -> MutexGuard<'_, HashMap<RunId, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the tree has an owner now.
    pub(crate) fn is_leased(&self, root: &RunId, now: Timestamp) -> bool {
        self.all().get(root).is_some_and(|lease| lease.expires_at > now)
    }

    /// When the owner renewed its lease last; `None` if the tree has no lease, expired or not.
    pub(crate) fn renewed_at(&self, root: &RunId) -> Option<Timestamp> {
        self.all().get(root).map(|lease| lease.renewed_at)
    }

    /// Grants the lease to the owner with this fence.
    pub(crate) fn grant(&self, root: &RunId, fence: Fence, duration: Duration, now: Timestamp) {
        let lease = Lease { fence, duration, renewed_at: now, expires_at: now.saturating_add(duration) };
        self.all().insert(root.clone(), lease);
    }

    /// Renews the owner's lease, for the same duration or another one.
    pub(crate) fn renew(
        &self,
        root: &RunId,
        fence: Fence,
        duration: Option<Duration>,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let mut all = self.all();
        let lease = all.get_mut(root).filter(|lease| lease.fence == fence).ok_or(JournalError::Fenced)?;
        lease.duration = duration.unwrap_or(lease.duration);
        lease.renewed_at = now;
        lease.expires_at = now.saturating_add(lease.duration);
        Ok(())
    }

    /// Ends the owner's lease, but not that of another owner.
    pub(crate) fn release(&self, root: &RunId, fence: Fence) {
        let mut all = self.all();
        if all.get(root).is_some_and(|lease| lease.fence == fence) {
            all.remove(root);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_expires_and_an_earlier_owner_cannot_change_it() {
        let leases = Leases::default();
        let root = RunId::new("run_1").unwrap();
        let start = Timestamp::from_micros(0);
        let later = start.saturating_add(Duration::from_secs(2));
        leases.grant(&root, Fence(2), Duration::from_secs(1), start);
        assert!(leases.is_leased(&root, start));
        assert!(!leases.is_leased(&root, later));
        assert!(matches!(leases.renew(&root, Fence(1), None, start), Err(JournalError::Fenced)));
        leases.release(&root, Fence(1));
        leases.renew(&root, Fence(2), None, later).unwrap();
        assert!(leases.is_leased(&root, later));
        assert_eq!(leases.renewed_at(&root), Some(later));
        leases.release(&root, Fence(2));
        assert!(!leases.is_leased(&root, start));
        assert_eq!(leases.renewed_at(&root), None);
    }
}
