//! The leases of trees of runs, by root. They are in memory only: one process owns the data directory, so after a
//! restart no tree has an owner.
//!
//! Trees without an owner are indexed, so that a recovery that finds nothing to do reads nothing, however many
//! runs are active. A renewal does not touch the index of expiries: an entry that is due and whose lease was
//! renewed meanwhile moves to the new time. A lease ends with the last run of its tree, so it counts the runs that
//! have not ended: a run counts from the decision that creates it, and until the decision that ends it.
//!
//! A lease that expired or was released has the last activity of its owner, for the next owner of the tree: a run was
//! not paused while an owner worked on it, even if it was quiet.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{RunId, Timestamp};

use crate::journal::JournalError;
use crate::runs::{Fence, OwnerActivity};

/// The number of a run in its store, by which runs are ordered by age.
pub(crate) type RunNumber = u64;

/// A lease to grant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewLease<'l> {
    /// The root of the tree.
    pub(crate) root: &'l RunId,
    /// The number of the root.
    pub(crate) number: RunNumber,
    /// The fence of the owner.
    pub(crate) fence: Fence,
    /// How long it lasts without a renewal.
    pub(crate) duration: Duration,
    pub(crate) granted_at: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    number: RunNumber,
    fence: Fence,
    duration: Duration,
    granted_at: Timestamp,
    /// None if it was released.
    expires_at: Option<Timestamp>,
    /// The time of its entry in the index of expiries, if it has one.
    indexed_at: Timestamp,
    /// The activity of the last owner that has written to a run of the tree.
    last_activity: Option<OwnerActivity>,
    /// True if that is the owner of this lease.
    has_written: bool,
    /// Runs of the tree that have not ended.
    open_runs: usize,
}

impl Lease {
    /// Records that its owner is active. As long as an owner has not written that a run of the tree is resumed, the
    /// time of the runs does not pass.
    const fn on_active(&mut self, now: Timestamp) {
        if self.has_written {
            self.last_activity = Some(OwnerActivity { since: self.granted_at, until: now });
        }
    }
}

#[derive(Debug, Default)]
struct Owners {
    leases: HashMap<RunId, Lease>,
    /// No lease expires before its entry here.
    expiries: BTreeSet<(Timestamp, RunId)>,
    /// Roots of unfinished trees whose lease has expired or was released, or that have none.
    unclaimed: BTreeSet<RunNumber>,
}

impl Owners {
    /// The lease of the owner with this fence.
    fn lease_mut(&mut self, root: &RunId, fence: Fence) -> Option<&mut Lease> {
        self.leases.get_mut(root).filter(|lease| lease.fence == fence)
    }

    fn grant(&mut self, new: NewLease<'_>, open_runs: usize, last_activity: Option<OwnerActivity>, has_written: bool) {
        let NewLease { root, number, fence, duration, granted_at } = new;
        self.remove(root);
        let indexed_at = granted_at.saturating_add(duration);
        self.unclaimed.remove(&number);
        self.expiries.insert((indexed_at, root.clone()));
        let expires_at = Some(indexed_at);
        let lease = Lease {
            number,
            fence,
            duration,
            granted_at,
            expires_at,
            indexed_at,
            last_activity,
            has_written,
            open_runs,
        };
        self.leases.insert(root.clone(), lease);
    }

    /// Removes a tree from the leases and from both indexes.
    fn remove(&mut self, root: &RunId) {
        if let Some(lease) = self.leases.remove(root) {
            self.unclaimed.remove(&lease.number);
            self.expiries.remove(&(lease.indexed_at, root.clone()));
        }
    }

    /// Moves the leases that have expired to the trees without an owner.
    fn expire(&mut self, now: Timestamp) {
        let Self { leases, expiries, unclaimed } = self;
        while let Some((_, root)) = expiries.first().filter(|(expires_at, _)| *expires_at <= now).cloned() {
            expiries.pop_first();
            let Some(lease) = leases.get_mut(&root) else { continue };
            match lease.expires_at {
                Some(expires_at) if expires_at > now => {
                    lease.indexed_at = expires_at;
                    expiries.insert((expires_at, root));
                }
                Some(_) | None => drop(unclaimed.insert(lease.number)),
            }
        }
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
        let expires_at = self.owners().leases.get(root).and_then(|lease| lease.expires_at);
        expires_at.is_some_and(|expires_at| expires_at > now)
    }

    /// True if the owner with this fence has the tree, whether or not its lease has expired.
    pub(crate) fn is_owner(&self, root: &RunId, fence: Fence) -> bool {
        self.owners().lease_mut(root, fence).is_some()
    }

    /// When the last owner that has written to a run of the tree was active; `None` if it was none of this process.
    pub(crate) fn last_activity(&self, root: &RunId) -> Option<OwnerActivity> {
        self.owners().leases.get(root).and_then(|lease| lease.last_activity)
    }

    /// Grants the lease of a new tree, which has one run, to its creator.
    pub(crate) fn grant_created(&self, new: NewLease<'_>) {
        let activity = OwnerActivity { since: new.granted_at, until: new.granted_at };
        self.owners().grant(new, 1, Some(activity), true);
    }

    /// Grants the lease of a claimed tree with this many unfinished runs. The last activity is that of the owner
    /// before.
    pub(crate) fn grant_claimed(&self, new: NewLease<'_>, open_runs: usize, last_activity: Option<OwnerActivity>) {
        self.owners().grant(new, open_runs, last_activity, false);
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
        // A lease that was released is not renewed: its tree waits for the next owner.
        let had_expired = lease.expires_at.ok_or(JournalError::Fenced)? <= now;
        // Another task may have found that it has expired by a time that is later than this one.
        let was_unclaimed = unclaimed.remove(&lease.number);
        lease.duration = duration.unwrap_or(lease.duration);
        let expires_at = now.saturating_add(lease.duration);
        lease.expires_at = Some(expires_at);
        lease.on_active(now);
        if had_expired || was_unclaimed {
            expiries.remove(&(lease.indexed_at, root.clone()));
            lease.indexed_at = expires_at;
            expiries.insert((expires_at, root.clone()));
        }
        Ok(())
    }

    /// Records that the owner has written to a run of the tree, which it has claimed: from now on it works on it.
    pub(crate) fn on_written(&self, root: &RunId, fence: Fence) {
        if let Some(lease) = self.owners().lease_mut(root, fence) {
            lease.has_written = true;
        }
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

    /// Releases the owner's lease, but not that of another owner; the tree can be claimed at once. If the last run of
    /// the tree is being ended, the lease ends with it.
    pub(crate) fn release(&self, root: &RunId, fence: Fence, now: Timestamp) {
        let mut owners = self.owners();
        let lease = owners.lease_mut(root, fence).filter(|lease| lease.open_runs > 0 && lease.expires_at.is_some());
        if let Some(lease) = lease {
            lease.expires_at = None;
            lease.on_active(now);
            let number = lease.number;
            owners.unclaimed.insert(number);
        }
    }

    /// Forgets the tree that this owner has released in a store that processes share: it may be claimed by any of them.
    pub(crate) fn forget_released(&self, root: &RunId, fence: Fence) {
        let mut owners = self.owners();
        if owners.lease_mut(root, fence).is_some() {
            owners.remove(root);
        }
    }

    /// Forgets those of these trees that have no owner here and that, in a store that processes share, this one does not
    /// own either.
    pub(crate) fn forget_unowned(&self, numbers: &BTreeSet<RunNumber>) {
        if numbers.is_empty() {
            return;
        }
        let mut owners = self.owners();
        let Owners { leases, expiries, unclaimed } = &mut *owners;
        let unowned = &*unclaimed & numbers;
        unclaimed.retain(|number| !unowned.contains(number));
        leases.retain(|root, lease| {
            let is_owned = !unowned.contains(&lease.number);
            if !is_owned {
                expiries.remove(&(lease.indexed_at, root.clone()));
            }
            is_owned
        });
    }

    /// Forgets the tree of this owner if its last run has ended.
    pub(crate) fn forget_ended(&self, root: &RunId, fence: Fence) {
        let mut owners = self.owners();
        if owners.lease_mut(root, fence).is_some_and(|lease| lease.open_runs == 0) {
            owners.remove(root);
        }
    }

    /// Forgets a root that was not created after all.
    pub(crate) fn forget(&self, root: &RunId, number: RunNumber) {
        let mut owners = self.owners();
        owners.remove(root);
        owners.unclaimed.remove(&number);
    }

    /// The roots of the unfinished trees that have no owner now, the oldest first.
    pub(crate) fn unclaimed(&self, now: Timestamp) -> Vec<RunNumber> {
        let mut owners = self.owners();
        owners.expire(now);
        owners.unclaimed.iter().copied().collect()
    }

    /// The number of unfinished trees that have an owner now.
    pub(crate) fn owned(&self, now: Timestamp) -> usize {
        let owners = self.owners();
        let is_owned =
            |lease: &&Lease| lease.open_runs > 0 && lease.expires_at.is_some_and(|expires_at| expires_at > now);
        owners.leases.values().filter(is_owned).count()
    }

    /// True if an unfinished tree has no owner now.
    pub(crate) fn has_unclaimed(&self, now: Timestamp) -> bool {
        let mut owners = self.owners();
        owners.expire(now);
        !owners.unclaimed.is_empty()
    }
}

#[cfg(test)]
mod tests;
