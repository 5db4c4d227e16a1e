//! The rows of the database: pods with their batches, the one tree, the account.

/// How long a lease lasts. A healthy pod renews it in every tick.
pub(super) const LEASE_TICKS: u8 = 2;
/// Reservations that the account allows, settled ones included.
pub(super) const RESERVATIONS_MAX: u8 = 2;

/// A row of `pods`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RowId(u8);

impl RowId {
    /// The rows of the first two pods, and those of two more starts.
    pub(super) const ALL: [Self; 4] = [Self(0), Self(1), Self(2), Self(3)];

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Life {
    Unused,
    Alive,
    Dead,
    /// Dead, and nothing of it is reserved, owned or open any more.
    Cleaned,
}

/// The reservation for the call of a pod. Each pod starts at most one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Payment {
    Absent,
    Reserved,
    Settled,
    /// Settled by the pod that has cleaned.
    Estimated,
}

/// The audit entry of the call of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum AuditEntry {
    Absent,
    Open,
    Closed,
}

/// What a batch writes. The model has one unit in each batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Unit {
    /// The start of the step, with the reservation for its call and the opening of its audit entry.
    Start,
    /// The result of the step, with the settlement of its call and the closing of its audit entry.
    Done,
    /// A message that was in the inbox.
    Signal,
    /// The end of a run whose call exceeds the limit of its account.
    Fail,
    /// The closing of the audit entry that this dead pod has left open.
    Interrupted(RowId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Taken,
    Fenced,
    OutOfOrder,
    OverLimit,
    PodDead,
}

/// How far the database is with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// On its way: the database may execute it at any time, whatever its sender does meanwhile.
    Sent,
    /// Its transaction has locked the row of its pod.
    Locked,
    /// The result is on its way to the lane, and recorded.
    Ended(Outcome),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Batch {
    pub(super) unit: Unit,
    pub(super) fence: u8,
    /// The position in the journal after which the unit is appended.
    pub(super) after: u8,
    pub(super) phase: Phase,
}

/// Which batch of a pod: the one of its lane, or an earlier one that only a defect leaves after it was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchRole {
    Current,
    Unresolved,
}

impl BatchRole {
    pub(super) const ALL: [Self; 2] = [Self::Current, Self::Unresolved];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PodRow {
    pub(super) life: Life,
    /// Ticks until the lease expires; negative if it has.
    pub(super) expires_in: i8,
    /// The pod that cleans what this dead one has left.
    pub(super) cleaner: Option<RowId>,
    pub(super) payment: Payment,
    pub(super) entry: AuditEntry,
    current: Option<Batch>,
    unresolved: Option<Batch>,
}

impl PodRow {
    pub(super) const UNUSED: Self = Self {
        life: Life::Unused,
        expires_in: 0,
        cleaner: None,
        payment: Payment::Absent,
        entry: AuditEntry::Absent,
        current: None,
        unresolved: None,
    };

    pub(super) const JOINED: Self = Self { life: Life::Alive, expires_in: LEASE_TICKS.cast_signed(), ..Self::UNUSED };

    pub(super) const fn batch(&self, role: BatchRole) -> Option<Batch> {
        match role {
            BatchRole::Current => self.current,
            BatchRole::Unresolved => self.unresolved,
        }
    }

    pub(super) const fn set_batch(&mut self, role: BatchRole, batch: Option<Batch>) {
        match role {
            BatchRole::Current => self.current = batch,
            BatchRole::Unresolved => self.unresolved = batch,
        }
    }

    /// The database stops: no transaction is committed, but a batch on its way may be executed later.
    pub(super) fn roll_back(&mut self) {
        for role in BatchRole::ALL {
            let batch = self.batch(role).filter(|batch| batch.phase == Phase::Locked);
            if let Some(batch) = batch {
                self.set_batch(role, Some(Batch { phase: Phase::Sent, ..batch }));
            }
        }
    }

    /// True if a transaction has locked the row, so that no pod can declare this one dead.
    pub(super) fn is_locked(&self) -> bool {
        BatchRole::ALL.into_iter().filter_map(|role| self.batch(role)).any(|batch| batch.phase == Phase::Locked)
    }
}

/// The row of the one tree, with what its journal contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tree {
    pub(super) owner: Option<RowId>,
    pub(super) fence: u8,
    /// `wake_at` has passed.
    pub(super) is_due: bool,
    /// Starts of the step: one, and one for each owner that died before the result was recorded.
    pub(super) starts: u8,
    pub(super) is_done: bool,
    pub(super) is_signalled: bool,
    pub(super) is_failed: bool,
    /// The pod that has written under the current fence; only invariants read it.
    pub(super) writer: Option<RowId>,
}

impl Tree {
    /// The number of the last entry of the journal.
    pub(super) fn position(&self) -> u8 {
        self.starts + u8::from(self.is_done) + u8::from(self.is_signalled) + u8::from(self.is_failed)
    }

    pub(super) const fn has_ended(&self) -> bool {
        self.is_failed || self.is_done && self.is_signalled
    }
}

/// The row of the account that every call reserves in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Account {
    pub(super) reserved: u8,
    pub(super) spent: u8,
}

impl Account {
    /// Replaces a reservation by what was spent. As in the database, no sum falls below zero.
    pub(super) const fn settle(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
        self.spent += 1;
    }
}
