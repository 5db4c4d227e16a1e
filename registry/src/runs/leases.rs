//! The leases of runs. They are in memory only: one process owns the data directory, so after a restart
//! no run has an owner.

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
    expires_at: Timestamp,
}

/// The leases of this process.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<HashMap<RunId, Lease>>);

impl Leases {
    fn all(&self) -> MutexGuard<'_, HashMap<RunId, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the run has an owner now.
    pub(crate) fn is_leased(&self, run: &RunId, now: Timestamp) -> bool {
        self.all().get(run).is_some_and(|lease| lease.expires_at > now)
    }

    /// Grants the lease to the owner with this fence.
    pub(crate) fn grant(&self, run: &RunId, fence: Fence, duration: Duration, now: Timestamp) {
        self.all().insert(run.clone(), Lease { fence, duration, expires_at: now.saturating_add(duration) });
    }

    /// Renews the owner's lease, for the same duration or another one.
    pub(crate) fn renew(
        &self,
        run: &RunId,
        fence: Fence,
        duration: Option<Duration>,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let mut all = self.all();
        let lease = all.get_mut(run).filter(|lease| lease.fence == fence).ok_or(JournalError::Fenced)?;
        lease.duration = duration.unwrap_or(lease.duration);
        lease.expires_at = now.saturating_add(lease.duration);
        Ok(())
    }

    /// Ends the owner's lease, but not that of another owner.
    pub(crate) fn release(&self, run: &RunId, fence: Fence) {
        let mut all = self.all();
        if all.get(run).is_some_and(|lease| lease.fence == fence) {
            all.remove(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_expires_and_an_earlier_owner_cannot_change_it() {
        let leases = Leases::default();
        let run = RunId::new("run_1").unwrap();
        let start = Timestamp::from_micros(0);
        let later = start.saturating_add(Duration::from_secs(2));
        leases.grant(&run, Fence(2), Duration::from_secs(1), start);
        assert!(leases.is_leased(&run, start));
        assert!(!leases.is_leased(&run, later));
        assert!(matches!(leases.renew(&run, Fence(1), None, start), Err(JournalError::Fenced)));
        leases.release(&run, Fence(1));
        leases.renew(&run, Fence(2), None, later).unwrap();
        assert!(leases.is_leased(&run, later));
        leases.release(&run, Fence(2));
        assert!(!leases.is_leased(&run, start));
    }
}
