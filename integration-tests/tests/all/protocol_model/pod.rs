//! What a process does by itself: it sends batches and reads their results, renews its lease, makes the call, and
//! drops everything when its pod is dead.

use super::memory::{Lane, OwnedTree, Process, ProcessId, Progress, Status, Tick, TickPhase};
use super::protocol::Defects;
use super::rows::{Batch, BatchRole, LEASE_TICKS, Life, Outcome, Phase, PodRow, RowId, Unit};
use super::state::State;
use super::violation::Violation;

/// Sends the call of `greenroom_tick_v1`, with the other pod as suspect if no renewal of it was seen for a whole lease.
pub(super) fn send_tick(state: &mut State, defects: &Defects, id: ProcessId) {
    let process = state.process_mut(id);
    let is_silent = process.observation.is_some_and(|observation| observation.age >= LEASE_TICKS);
    let phase = TickPhase::Sent { has_suspect: is_silent || defects.death_without_observation };
    process.tick = Some(Tick { phase, age: 0 });
}

/// Reads that the lease was renewed. It counts from when the renewal was sent.
pub(super) fn receive_tick(state: &mut State, defects: &Defects, id: ProcessId, age: u8) {
    let counted = if defects.lease_from_acknowledgement { 0 } else { age };
    let process = state.process_mut(id);
    process.tick = None;
    process.lease_left = LEASE_TICKS.saturating_sub(counted);
}

/// The connection of the tick is lost, and what was on it.
pub(super) fn lose_tick(state: &mut State, id: ProcessId) {
    let process = state.process_mut(id);
    process.tick = None;
    process.observation = None;
    process.is_cut = true;
}

/// Ends a process, or drops everything of its dead pod. What the database has received of it remains there.
pub(super) fn drop_memory(state: &mut State, id: ProcessId, status: Status) {
    let row = state.process(id).row;
    let unread = state.row(row).batch(BatchRole::Current).filter(|batch| matches!(batch.phase, Phase::Ended(_)));
    if unread.is_some() {
        state.row_mut(row).set_batch(BatchRole::Current, None);
    }
    *state.process_mut(id) = Process { status, lease_left: 0, ..Process::new(row) };
}

/// The row that the next start of a process gets.
pub(super) fn unused_row(state: &State) -> Option<RowId> {
    RowId::ALL.into_iter().find(|row| state.row(*row).life == Life::Unused)
}

/// Starts a process anew, as another pod.
pub(super) fn start(state: &mut State, id: ProcessId, row: RowId) {
    *state.row_mut(row) = PodRow::JOINED;
    *state.process_mut(id) = Process::new(row);
    state.process_mut(id.other()).observation = None;
}

/// Sends a unit as a batch with a new id.
pub(super) fn submit(state: &mut State, id: ProcessId, unit: Unit) {
    let process = state.process_mut(id);
    // The closing of an entry of another pod belongs to no tree.
    let tree = process.tree.filter(|_| !matches!(unit, Unit::Interrupted(_)));
    let (fence, after) = tree.map_or((0, 0), |tree| (tree.fence, tree.position));
    let row = process.row;
    process.lane = Lane::Waiting;
    let batch = Batch { unit, fence, after, phase: Phase::Sent };
    state.row_mut(row).set_batch(BatchRole::Current, Some(batch));
}

/// Reads the result of the batch.
pub(super) fn receive_batch(state: &mut State, id: ProcessId, batch: Batch, outcome: Outcome) {
    let process = state.process_mut(id);
    let row = process.row;
    process.lane = Lane::Idle;
    if !matches!(batch.unit, Unit::Interrupted(_)) {
        process.tree = process.tree.and_then(|tree| tree_after(tree, batch.unit, outcome));
    }
    // Only an own write can have changed the position of a journal that the pod owns.
    if outcome == Outcome::OutOfOrder {
        state.violate(Violation::OutcomeWrong);
    }
    state.row_mut(row).set_batch(BatchRole::Current, None);
}

/// The tree in memory after this outcome of a unit; none if it is owned no more, or has ended.
fn tree_after(tree: OwnedTree, unit: Unit, outcome: Outcome) -> Option<OwnedTree> {
    let taken = OwnedTree { position: tree.position + 1, ..tree };
    let after = match (outcome, unit) {
        (Outcome::Fenced | Outcome::OutOfOrder | Outcome::PodDead, _) | (Outcome::Taken, Unit::Fail) => return None,
        (Outcome::OverLimit, _) => OwnedTree { progress: Progress::OverLimit, ..tree },
        (Outcome::Taken, Unit::Start) => OwnedTree { progress: Progress::Started, ..taken },
        (Outcome::Taken, Unit::Done) => OwnedTree { progress: Progress::Done, ..taken },
        (Outcome::Taken, Unit::Signal) => OwnedTree { is_signalled: true, ..taken },
        (Outcome::Taken, Unit::Interrupted(_)) => tree,
    };
    let has_ended = after.is_signalled && after.progress == Progress::Done;
    (!has_ended).then_some(after)
}

/// Sends the batch again under another id.
pub(super) fn retry_batch(state: &mut State, id: ProcessId, batch: Batch) {
    let process = state.process_mut(id);
    let row = process.row;
    process.lane = Lane::Waiting;
    state.row_mut(row).set_batch(BatchRole::Current, Some(Batch { phase: Phase::Sent, ..batch }));
}

/// True if the call may be made: its start is durable, and the pod has not lapsed. The check and the call are one step.
pub(super) fn can_call(state: &State, defects: &Defects, id: ProcessId) -> bool {
    let process = state.process(id);
    let is_started = process.tree.is_some_and(|tree| tree.progress == Progress::Started);
    is_started && (process.lease_left > 0 || defects.call_without_lease)
}

/// Makes the call. Its result is in memory then.
pub(super) fn call(state: &mut State, id: ProcessId) {
    if let Some(tree) = &mut state.process_mut(id).tree {
        tree.progress = Progress::Called;
    }
    state.calls += 1;
    if state.tree.is_done {
        state.violate(Violation::RecordedCallRepeated);
    }
    if usize::from(state.calls) > 1 + state.deaths() {
        state.violate(Violation::CallRepeatedTooOften);
    }
}

/// A tick passes on every clock.
pub(super) fn pass_time(state: &mut State, defects: &Defects) {
    for row in RowId::ALL {
        let row = state.row_mut(row);
        if row.life == Life::Alive {
            row.expires_in = (row.expires_in - 1).max(-1);
        }
    }
    for id in ProcessId::ALL {
        let process = state.process_mut(id);
        let is_suspended = process.status == Status::Frozen && defects.clock_without_freezes;
        if process.has_memory() && !is_suspended {
            process.pass_time();
        }
    }
}
