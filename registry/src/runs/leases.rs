//! The leases of the unfinished runs. They are in memory only: one process owns the data directory, so after a
//! restart no run has an owner.
//!
//! Runs without an owner are indexed, so that a recovery that finds nothing to do reads nothing, however many
//! runs are active. A renewal does not touch the index of expiries: an entry that is due and whose lease was
//! renewed meanwhile moves to the new time.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{RunId, Timestamp};

use crate::journal::JournalError;
use crate::runs::Fence;

/// The number of a run in its store, by which runs are ordered by age.
pub(crate) type RunNumber = u64;

#[derive(Debug, Clone, Copy)]
struct Lease {
    number: RunNumber,
    fence: Fence,
    duration: Duration,
    expires_at: Timestamp,
}

#[derive(Debug, Default)]
struct Owners {
    leases: HashMap<RunId, Lease>,
    /// No lease expires before its entry here.
    expiries: BTreeSet<(Timestamp, RunId)>,
    /// Unfinished runs whose lease has expired, or that have none.
    unclaimed: BTreeSet<RunNumber>,
}

/// The leases of this process.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Owners>);

impl Leases {
    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the unfinished runs that the process before has left.
    pub(crate) fn add_unclaimed(&self, numbers: impl IntoIterator<Item = RunNumber>) {
        self.owners().unclaimed.extend(numbers);
    }

    /// True if the run has an owner now.
    pub(crate) fn is_leased(&self, run: &RunId, now: Timestamp) -> bool {
        self.owners().leases.get(run).is_some_and(|lease| lease.expires_at > now)
    }

    /// Grants the lease to the owner with this fence.
    pub(crate) fn grant(&self, run: &RunId, number: RunNumber, fence: Fence, duration: Duration, now: Timestamp) {
        let expires_at = now.saturating_add(duration);
        let mut owners = self.owners();
        owners.unclaimed.remove(&number);
        owners.expiries.insert((expires_at, run.clone()));
        owners.leases.insert(run.clone(), Lease { number, fence, duration, expires_at });
    }

    /// Renews the owner's lease, for the same duration or another one.
    pub(crate) fn renew(
        &self,
        run: &RunId,
        fence: Fence,
        duration: Option<Duration>,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let mut owners = self.owners();
        let Owners { leases, expiries, unclaimed } = &mut *owners;
        let lease = leases.get_mut(run).filter(|lease| lease.fence == fence).ok_or(JournalError::Fenced)?;
        let had_expired = lease.expires_at <= now;
        lease.duration = duration.unwrap_or(lease.duration);
        lease.expires_at = now.saturating_add(lease.duration);
        if had_expired {
            unclaimed.remove(&lease.number);
            expiries.insert((lease.expires_at, run.clone()));
        }
        Ok(())
    }

    /// Ends the owner's lease, but not that of another owner; the run can be claimed at once.
    pub(crate) fn release(&self, run: &RunId, fence: Fence) {
        let mut owners = self.owners();
        if owners.leases.get(run).is_some_and(|lease| lease.fence == fence)
            && let Some(lease) = owners.leases.remove(run)
        {
            owners.unclaimed.insert(lease.number);
        }
    }

    /// Forgets a run that has ended, or that was not created after all.
    pub(crate) fn forget(&self, run: &RunId, number: RunNumber) {
        let mut owners = self.owners();
        owners.leases.remove(run);
        owners.unclaimed.remove(&number);
    }

    /// The unfinished runs that have no owner now, the oldest first.
    pub(crate) fn unclaimed(&self, now: Timestamp) -> Vec<RunNumber> {
        let mut owners = self.owners();
        let Owners { leases, expiries, unclaimed } = &mut *owners;
        while let Some((_, run)) = expiries.first().filter(|(expires_at, _)| *expires_at <= now).cloned() {
            expiries.pop_first();
            match leases.get(&run) {
                Some(lease) if lease.expires_at > now => drop(expiries.insert((lease.expires_at, run))),
                Some(lease) => drop(unclaimed.insert(lease.number)),
                None => {}
            }
        }
        unclaimed.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const START: Timestamp = Timestamp::from_micros(0);

    fn run(name: &str) -> RunId {
        RunId::new(name).unwrap()
    }

    #[test]
    fn a_lease_expires_and_an_earlier_owner_cannot_change_it() {
        let (leases, run) = (Leases::default(), run("run_1"));
        let later = START.saturating_add(SECOND * 2);
        leases.grant(&run, 1, Fence(2), SECOND, START);
        assert!(leases.is_leased(&run, START));
        assert!(!leases.is_leased(&run, later));
        assert!(matches!(leases.renew(&run, Fence(1), None, START), Err(JournalError::Fenced)));
        leases.release(&run, Fence(1));
        leases.renew(&run, Fence(2), None, later).unwrap();
        assert!(leases.is_leased(&run, later));
        leases.release(&run, Fence(2));
        assert!(!leases.is_leased(&run, START));
    }

    #[test]
    fn the_runs_without_an_owner_are_known_without_a_look_at_the_others() {
        let leases = Leases::default();
        leases.add_unclaimed([7, 3]);
        assert_eq!(leases.unclaimed(START), [3, 7]);
        leases.grant(&run("run_3"), 3, Fence(1), SECOND, START);
        leases.grant(&run("run_9"), 9, Fence(1), SECOND, START);
        assert_eq!(leases.unclaimed(START), [7]);
        let (half, end) = (START.saturating_add(SECOND / 2), START.saturating_add(SECOND));
        leases.renew(&run("run_9"), Fence(1), None, half).unwrap();
        assert_eq!(leases.unclaimed(end), [3, 7], "a renewed lease has not expired");
        let later = end.saturating_add(SECOND);
        assert_eq!(leases.unclaimed(later), [3, 7, 9]);
        // Nobody else has claimed it, so its owner goes on.
        leases.renew(&run("run_9"), Fence(1), None, later).unwrap();
        assert_eq!(leases.unclaimed(later), [3, 7]);
        leases.forget(&run("run_3"), 3);
        leases.forget(&run("run_7"), 7);
        leases.release(&run("run_9"), Fence(1));
        assert_eq!(leases.unclaimed(later), [9]);
        leases.forget(&run("run_9"), 9);
        assert!(leases.unclaimed(later.saturating_add(SECOND * 9)).is_empty());
    }
}
