//! What is checked: the work, the faults that may happen, the defects that a test plants, the order of the steps.

use super::memory::OwnedTree;
use super::rows::Tree;
use super::state::{Faults, State};
use super::violation::Violation;

/// The work of the one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Workload {
    /// A step with one call; then the run ends.
    Step,
    /// The step is done, and the run ends with a message.
    Inbox,
    /// A step with one call, and a message that may be sent at any time.
    Whole,
}

/// Which of the steps that may follow a state are explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Those of which the others are independent first.
    Reduced,
    Every,
}

/// Deviations from the protocol, each of which the checker must find.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defects {
    /// The lease of a pod counts from the acknowledgement of its renewal.
    pub(super) lease_from_acknowledgement: bool,
    /// The clock of a process does not run while it is frozen, as in a machine that is suspended.
    pub(super) clock_without_freezes: bool,
    /// The call is made as soon as its start is durable, also by a pod that has lapsed.
    pub(super) call_without_lease: bool,
    /// A batch with a settlement does not look at the row of its pod.
    pub(super) settlement_without_guard: bool,
    /// A settlement adds its amount, whether or not the reservation is still there.
    pub(super) settlement_by_amount: bool,
    /// A batch does not lock the row of its pod.
    pub(super) batch_without_lock: bool,
    /// A batch whose acknowledgement was lost is sent again under another id at once.
    pub(super) retry_without_resolving: bool,
    /// A batch whose id becomes void while its transaction runs is committed all the same.
    pub(super) commit_of_void: bool,
    /// A tree is claimed as soon as the lease of its owner has expired.
    pub(super) claim_without_death: bool,
    /// A claim does not raise the fence.
    pub(super) claim_without_fence: bool,
    /// A pod is declared dead by its row alone, also by a pod that has not read it throughout a lease.
    pub(super) death_without_observation: bool,
    /// The owner records each message that it reads, whatever its id.
    pub(super) signal_without_id: bool,
    /// A tree is parked also if it has a message.
    pub(super) park_without_inbox: bool,
    /// A pod that does not know whether a tree was parked does not look for it.
    pub(super) park_without_look: bool,
    /// The closing of an entry that a dead pod has left open is written also if the entry is closed.
    pub(super) closing_without_look: bool,
}

impl Defects {
    pub(super) const NONE: Self = Self {
        lease_from_acknowledgement: false,
        clock_without_freezes: false,
        call_without_lease: false,
        settlement_without_guard: false,
        settlement_by_amount: false,
        batch_without_lock: false,
        retry_without_resolving: false,
        commit_of_void: false,
        claim_without_death: false,
        claim_without_fence: false,
        death_without_observation: false,
        signal_without_id: false,
        park_without_inbox: false,
        park_without_look: false,
        closing_without_look: false,
    };
}

/// A model of the protocol.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProtocolModel {
    pub(super) workload: Workload,
    pub(super) faults: Faults,
    pub(super) defects: Defects,
    pub(super) order: Order,
    /// The only violation that counts; each of them if it is none.
    pub(super) watched: Option<Violation>,
}

impl ProtocolModel {
    pub(super) const fn new(workload: Workload, faults: Faults) -> Self {
        Self { workload, faults, defects: Defects::NONE, order: Order::Reduced, watched: None }
    }

    pub(super) fn initial_state(&self) -> State {
        let (is_done, is_signalled) = match self.workload {
            Workload::Step => (false, true),
            Workload::Inbox => (true, false),
            Workload::Whole => (false, false),
        };
        let tree = Tree {
            owner: None,
            fence: 1,
            is_due: true,
            starts: 0,
            is_done,
            is_signalled,
            is_failed: false,
            writer: None,
        };
        // A run that awaits no message has none that its sender waits for.
        State::new(tree, OwnedTree::from_row(&tree), self.faults, is_signalled)
    }
}
