//! Who holds which run, for how long. Leases live in memory only: one process owns the data
//! directory, so after a restart nobody holds anything.

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
    span: Duration,
    until: Timestamp,
}

/// The leases of this process.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<HashMap<RunId, Lease>>);

impl Leases {
    fn all(&self) -> MutexGuard<'_, HashMap<RunId, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if somebody holds the run now.
    pub(crate) fn is_held(&self, run: &RunId, now: Timestamp) -> bool {
        self.all().get(run).is_some_and(|lease| lease.until > now)
    }

    /// Gives the run to the owner of this fence.
    pub(crate) fn grant(&self, run: &RunId, fence: Fence, span: Duration, now: Timestamp) {
        self.all().insert(run.clone(), Lease { fence, span, until: now.saturating_add(span) });
    }

    /// Starts the owner's lease anew, for its own span or another one.
    pub(crate) fn renew(
        &self,
        run: &RunId,
        fence: Fence,
        span: Option<Duration>,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let mut all = self.all();
        let lease = all.get_mut(run).filter(|lease| lease.fence == fence).ok_or(JournalError::Fenced)?;
        lease.span = span.unwrap_or(lease.span);
        lease.until = now.saturating_add(lease.span);
        Ok(())
    }

    /// Ends the owner's lease; another owner's stays.
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
    fn a_lease_ends_by_itself_and_a_stale_owner_cannot_touch_it() {
        let leases = Leases::default();
        let run = RunId::new("run_1").unwrap();
        let start = Timestamp::from_micros(0);
        let later = start.saturating_add(Duration::from_secs(2));
        leases.grant(&run, Fence(2), Duration::from_secs(1), start);
        assert!(leases.is_held(&run, start));
        assert!(!leases.is_held(&run, later));
        assert!(matches!(leases.renew(&run, Fence(1), None, start), Err(JournalError::Fenced)));
        leases.release(&run, Fence(1));
        leases.renew(&run, Fence(2), None, later).unwrap();
        assert!(leases.is_held(&run, later));
        leases.release(&run, Fence(2));
        assert!(!leases.is_held(&run, start));
    }
}
