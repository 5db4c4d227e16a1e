//! The leases of trees of runs, by root. They are in memory only: one process owns the data directory, so after a
//! restart no tree has an owner.
//!
//! Trees without an owner are indexed, so that a recovery that finds nothing to do reads nothing, however many
//! runs are active. A renewal does not touch the index of expiries: an entry that is due and whose lease was
//! renewed meanwhile moves to the new time. A lease ends with the last run of its tree, so it counts the runs that
//! have not ended: a run counts from the decision that creates it, and until the decision that ends it.

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
    /// The number of the root.
    number: RunNumber,
    fence: Fence,
    duration: Duration,
    renewed_at: Timestamp,
    expires_at: Timestamp,
    /// Runs of the tree that have not ended.
    open_runs: usize,
}

#[derive(Debug, Default)]
struct Owners {
    leases: HashMap<RunId, Lease>,
    /// No lease expires before its entry here.
    expiries: BTreeSet<(Timestamp, RunId)>,
    /// Roots of unfinished trees whose lease has expired, or that have none.
    unclaimed: BTreeSet<RunNumber>,
}

impl Owners {
    /// The lease of the owner with this fence.
    fn lease_mut(&mut self, root: &RunId, fence: Fence) -> Option<&mut Lease> {
        self.leases.get_mut(root).filter(|lease| lease.fence == fence)
    }
}

/// The leases of this process.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Owners>);

impl Leases {
    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the unfinished trees that the process before has left, by the numbers of their roots.
    pub(crate) fn add_unclaimed(&self, numbers: impl IntoIterator<Item = RunNumber>) {
        self.owners().unclaimed.extend(numbers);
    }

    /// True if the tree has an owner now.
    pub(crate) fn is_leased(&self, root: &RunId, now: Timestamp) -> bool {
        self.owners().leases.get(root).is_some_and(|lease| lease.expires_at > now)
    }

    /// When the owner renewed its lease last; `None` if the tree has no lease, expired or not.
    pub(crate) fn renewed_at(&self, root: &RunId) -> Option<Timestamp> {
        self.owners().leases.get(root).map(|lease| lease.renewed_at)
    }

    /// Grants the lease of a tree with this many unfinished runs to the owner with this fence.
    pub(crate) fn grant(
        &self,
        (root, number): (&RunId, RunNumber),
        open_runs: usize,
        fence: Fence,
        duration: Duration,
        now: Timestamp,
    ) {
        let expires_at = now.saturating_add(duration);
        let mut owners = self.owners();
        owners.unclaimed.remove(&number);
        owners.expiries.insert((expires_at, root.clone()));
        let lease = Lease { number, fence, duration, renewed_at: now, expires_at, open_runs };
        owners.leases.insert(root.clone(), lease);
    }

    /// Renews the owner's lease, for the same duration or another one.
    pub(crate) fn renew(
        &self,
        root: &RunId,
        fence: Fence,
        duration: Option<Duration>,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let mut owners = self.owners();
        let Owners { leases, expiries, unclaimed } = &mut *owners;
        let lease = leases.get_mut(root).filter(|lease| lease.fence == fence).ok_or(JournalError::Fenced)?;
        let had_expired = lease.expires_at <= now;
        lease.duration = duration.unwrap_or(lease.duration);
        lease.renewed_at = now;
        lease.expires_at = now.saturating_add(lease.duration);
        if had_expired {
            unclaimed.remove(&lease.number);
            expiries.insert((lease.expires_at, root.clone()));
        }
        Ok(())
    }

    /// Counts a run that the owner creates, or whose end could not be written.
    pub(crate) fn add_run(&self, root: &RunId, fence: Fence) {
        if let Some(lease) = self.owners().lease_mut(root, fence) {
            lease.open_runs += 1;
        }
    }

    /// Counts a run that the owner ends, or that could not be created.
    pub(crate) fn remove_run(&self, root: &RunId, fence: Fence) {
        if let Some(lease) = self.owners().lease_mut(root, fence) {
            lease.open_runs = lease.open_runs.saturating_sub(1);
        }
    }

    /// Ends the owner's lease, but not that of another owner; the tree can be claimed at once. If the last run of the
    /// tree is being ended, the lease ends with it.
    pub(crate) fn release(&self, root: &RunId, fence: Fence) {
        let mut owners = self.owners();
        if owners.lease_mut(root, fence).is_some_and(|lease| lease.open_runs > 0)
            && let Some(lease) = owners.leases.remove(root)
        {
            owners.unclaimed.insert(lease.number);
        }
    }

    /// Forgets the tree of this owner if its last run has ended.
    pub(crate) fn forget_ended(&self, root: &RunId, fence: Fence) {
        let mut owners = self.owners();
        if owners.lease_mut(root, fence).is_some_and(|lease| lease.open_runs == 0)
            && let Some(lease) = owners.leases.remove(root)
        {
            owners.unclaimed.remove(&lease.number);
        }
    }

    /// Forgets a root that was not created after all.
    pub(crate) fn forget(&self, root: &RunId, number: RunNumber) {
        let mut owners = self.owners();
        owners.leases.remove(root);
        owners.unclaimed.remove(&number);
    }

    /// The roots of the unfinished trees that have no owner now, the oldest first.
    pub(crate) fn unclaimed(&self, now: Timestamp) -> Vec<RunNumber> {
        let mut owners = self.owners();
        let Owners { leases, expiries, unclaimed } = &mut *owners;
        while let Some((_, root)) = expiries.first().filter(|(expires_at, _)| *expires_at <= now).cloned() {
            expiries.pop_first();
            match leases.get(&root) {
                Some(lease) if lease.expires_at > now => drop(expiries.insert((lease.expires_at, root))),
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
        let (leases, root) = (Leases::default(), run("run_1"));
        let later = START.saturating_add(SECOND * 2);
        leases.grant((&root, 1), 1, Fence(2), SECOND, START);
        assert!(leases.is_leased(&root, START));
        assert!(!leases.is_leased(&root, later));
        assert!(matches!(leases.renew(&root, Fence(1), None, START), Err(JournalError::Fenced)));
        leases.release(&root, Fence(1));
        leases.renew(&root, Fence(2), None, later).unwrap();
        assert!(leases.is_leased(&root, later));
        assert_eq!(leases.renewed_at(&root), Some(later));
        leases.release(&root, Fence(2));
        assert!(!leases.is_leased(&root, START));
        assert_eq!(leases.renewed_at(&root), None);
    }

    #[test]
    fn the_trees_without_an_owner_are_known_without_a_look_at_the_others() {
        let leases = Leases::default();
        leases.add_unclaimed([7, 3]);
        assert_eq!(leases.unclaimed(START), [3, 7]);
        leases.grant((&run("run_3"), 3), 1, Fence(1), SECOND, START);
        leases.grant((&run("run_9"), 9), 1, Fence(1), SECOND, START);
        assert_eq!(leases.unclaimed(START), [7]);
        let (half, end) = (START.saturating_add(SECOND / 2), START.saturating_add(SECOND));
        leases.renew(&run("run_9"), Fence(1), None, half).unwrap();
        assert_eq!(leases.unclaimed(end), [3, 7], "a renewed lease has not expired");
        let later = end.saturating_add(SECOND);
        assert_eq!(leases.unclaimed(later), [3, 7, 9]);
        // Nobody else has claimed it, so its owner goes on.
        leases.renew(&run("run_9"), Fence(1), None, later).unwrap();
        assert_eq!(leases.unclaimed(later), [3, 7]);
        leases.remove_run(&run("run_3"), Fence(1));
        leases.forget_ended(&run("run_3"), Fence(1));
        leases.forget(&run("run_7"), 7);
        leases.release(&run("run_9"), Fence(1));
        assert_eq!(leases.unclaimed(later), [9]);
        leases.forget(&run("run_9"), 9);
        assert!(leases.unclaimed(later.saturating_add(SECOND * 9)).is_empty());
    }

    #[test]
    fn a_lease_lasts_until_the_last_run_of_its_tree_has_ended() {
        let (leases, root) = (Leases::default(), run("run_1"));
        leases.grant((&root, 1), 1, Fence(1), SECOND, START);
        leases.add_run(&root, Fence(1));
        // The root ends before the run that it has called.
        leases.remove_run(&root, Fence(1));
        leases.forget_ended(&root, Fence(1));
        assert!(leases.is_leased(&root, START));
        leases.remove_run(&root, Fence(1));
        leases.release(&root, Fence(1));
        assert!(leases.is_leased(&root, START), "the end is not durable yet");
        leases.forget_ended(&root, Fence(1));
        assert_eq!((leases.is_leased(&root, START), leases.unclaimed(START)), (false, Vec::new()));
    }
}
