//! What the two processes have in memory: the lease of their pod, what it observes of the other one, the tree that it
//! owns, and its lane.

use super::rows::{LEASE_TICKS, RowId, Tree};

/// After a longer pause between two readings, an observer begins anew.
pub(super) const READ_PAUSE_MAX_TICKS: u8 = 1;

/// A process. It hosts one pod after the other: each start is a pod of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ProcessId {
    A,
    B,
}

impl ProcessId {
    pub(super) const ALL: [Self; 2] = [Self::A, Self::B];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Status {
    Running,
    /// As after SIGSTOP: it does nothing, and its clock runs.
    Frozen,
    /// It has learned that its pod is dead, and has dropped everything. It may start again.
    Stopped,
    Crashed,
}

/// How far the call of `greenroom_tick_v1` is that a process waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TickPhase {
    Sent { has_suspect: bool },
    Executed { is_alive: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tick {
    pub(super) phase: TickPhase,
    /// Ticks since it was sent.
    pub(super) age: u8,
}

/// What a pod has observed of the pod of the other process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Observation {
    /// Ticks for which it has read the same number of renewals.
    pub(super) age: u8,
    /// Ticks since it has last read.
    pub(super) read_age: u8,
    /// The lease was renewed since it has last read.
    pub(super) is_renewed: bool,
}

/// How far the step is, as its owner knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Progress {
    Ready,
    /// Its start is durable, so the call may be made.
    Started,
    /// The call was made; its result is in memory only.
    Called,
    OverLimit,
    Done,
}

/// A tree in the memory of its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct OwnedTree {
    pub(super) fence: u8,
    /// The number of the last entry that it knows of.
    pub(super) position: u8,
    pub(super) is_signalled: bool,
    pub(super) progress: Progress,
}

impl OwnedTree {
    /// A tree as a new owner reads it.
    pub(super) fn from_row(tree: &Tree) -> Self {
        let progress = if tree.is_done { Progress::Done } else { Progress::Ready };
        Self { fence: tree.fence, position: tree.position(), is_signalled: tree.is_signalled, progress }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Idle,
    /// It waits for the result of its batch.
    Waiting,
    /// It has lost the connection, and does not know whether its batch was committed.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) status: Status,
    /// The row of its pod.
    pub(super) row: RowId,
    /// Ticks until the pod has lapsed, by its own clock.
    pub(super) lease_left: u8,
    pub(super) tick: Option<Tick>,
    /// The connection of the tick is cut.
    pub(super) is_cut: bool,
    pub(super) observation: Option<Observation>,
    /// The acknowledgement of a claim or of a parking was lost, so the pod may own a tree that it does not know of.
    pub(super) has_lost_claim: bool,
    pub(super) tree: Option<OwnedTree>,
    pub(super) lane: Lane,
    /// A closing in the queue of the lane, for the entry that this dead pod has left open.
    pub(super) queued_closing: Option<RowId>,
}

impl Process {
    pub(super) const fn new(row: RowId) -> Self {
        Self {
            status: Status::Running,
            row,
            lease_left: LEASE_TICKS,
            tick: None,
            is_cut: false,
            observation: None,
            has_lost_claim: false,
            tree: None,
            lane: Lane::Idle,
            queued_closing: None,
        }
    }

    /// True if the process has memory, so that it will read a reply when it runs.
    pub(super) const fn has_memory(&self) -> bool {
        matches!(self.status, Status::Running | Status::Frozen)
    }

    /// The connections of its tick and of its lane are lost.
    pub(super) fn disconnect(&mut self) {
        self.tick = None;
        if self.lane == Lane::Waiting {
            self.lane = Lane::Unknown;
        }
    }

    /// A tick passes on its clock. Ages that differ in nothing any more are the same.
    pub(super) fn pass_time(&mut self) {
        self.lease_left = self.lease_left.saturating_sub(1);
        if let Some(tick) = &mut self.tick {
            tick.age = (tick.age + 1).min(LEASE_TICKS);
        }
        self.observation = self.observation.filter(|observation| observation.read_age < READ_PAUSE_MAX_TICKS);
        if let Some(observation) = &mut self.observation {
            observation.age = (observation.age + 1).min(LEASE_TICKS);
            observation.read_age += 1;
        }
    }
}
