//! A state of the model: the rows of the database, the memory of the two processes, and the faults that may still
//! happen. Which steps change it is not decided here.

use super::memory::{OwnedTree, Process, ProcessId};
use super::rows::{Account, Life, Payment, PodRow, RESERVATIONS_MAX, RowId, Tree};
use super::violation::{Violation, Violations};

/// How often each fault may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Faults {
    pub(super) crashes: u8,
    pub(super) freezes: u8,
    pub(super) lost_acknowledgements: u8,
    /// Restarts of the database.
    pub(super) outages: u8,
}

impl Faults {
    pub(super) const NONE: Self = Self { crashes: 0, freezes: 0, lost_acknowledgements: 0, outages: 0 };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    rows: [PodRow; 4],
    processes: [Process; 2],
    pub(super) tree: Tree,
    pub(super) account: Account,
    /// The message is in the inbox.
    pub(super) has_message: bool,
    /// The sender of the message knows that it was inserted.
    pub(super) is_acknowledged: bool,
    /// Calls that were made.
    pub(super) calls: u8,
    pub(super) is_database_up: bool,
    pub(super) faults: Faults,
    violations: Violations,
}

impl State {
    /// Two pods, of which the first one owns this tree.
    pub(super) fn new(tree: Tree, owned: OwnedTree, faults: Faults, is_acknowledged: bool) -> Self {
        let [first, second, _, _] = RowId::ALL;
        let owner = Process { tree: Some(owned), ..Process::new(first) };
        Self {
            rows: [PodRow::JOINED, PodRow::JOINED, PodRow::UNUSED, PodRow::UNUSED],
            processes: [owner, Process::new(second)],
            tree: Tree { owner: Some(first), ..tree },
            account: Account { reserved: 0, spent: 0 },
            has_message: false,
            is_acknowledged,
            calls: 0,
            is_database_up: true,
            faults,
            violations: Violations::default(),
        }
    }

    pub(super) fn row(&self, id: RowId) -> &PodRow {
        &self.rows[id.index()]
    }

    pub(super) fn row_mut(&mut self, id: RowId) -> &mut PodRow {
        &mut self.rows[id.index()]
    }

    pub(super) const fn process(&self, id: ProcessId) -> &Process {
        let [a, b] = &self.processes;
        match id {
            ProcessId::A => a,
            ProcessId::B => b,
        }
    }

    pub(super) const fn process_mut(&mut self, id: ProcessId) -> &mut Process {
        let [a, b] = &mut self.processes;
        match id {
            ProcessId::A => a,
            ProcessId::B => b,
        }
    }

    /// The row of the pod that a process hosts.
    pub(super) fn row_of(&self, id: ProcessId) -> &PodRow {
        self.row(self.process(id).row)
    }

    /// Pods whose death is recorded.
    pub(super) fn deaths(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.life, Life::Dead | Life::Cleaned)).count()
    }

    /// Compares the account with the reservations and settlements of all pods.
    pub(super) fn check_account(&mut self) {
        let count = |payments: &[Payment]| self.rows.iter().filter(|row| payments.contains(&row.payment)).count();
        let reserved = count(&[Payment::Reserved]);
        let spent = count(&[Payment::Settled, Payment::Estimated]);
        if reserved != usize::from(self.account.reserved) || spent != usize::from(self.account.spent) {
            self.violate(Violation::AccountWrong);
        }
        if reserved + spent > usize::from(RESERVATIONS_MAX) {
            self.violate(Violation::LimitExceeded);
        }
    }

    pub(super) const fn violate(&mut self, violation: Violation) {
        self.violations.insert(violation);
    }

    pub(super) const fn violations(&self) -> Violations {
        self.violations
    }
}
