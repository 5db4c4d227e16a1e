//! The functions of the database, each as a change of the state. A batch is a transaction of two steps, because faults
//! happen between them; the other functions are one step, and a fault is that their acknowledgement is lost.

use super::memory::{Observation, ProcessId, READ_PAUSE_MAX_TICKS, Tick, TickPhase};
use super::protocol::{Defects, ProtocolModel};
use super::rows::{
    AuditEntry, Batch, BatchRole, LEASE_TICKS, Life, Outcome, Payment, Phase, RESERVATIONS_MAX, RowId, Unit,
};
use super::state::State;
use super::violation::Violation;

/// True if a batch that was sent will be refused, because its pod is dead.
pub(super) fn is_refused(state: &State, defects: &Defects, id: RowId, batch: Batch) -> bool {
    let is_guarded = !(defects.settlement_without_guard && batch.unit == Unit::Done);
    batch.phase == Phase::Sent && is_guarded && state.row(id).life != Life::Alive
}

/// Ends the batch of a pod. Its result is forgotten if no lane waits for it.
pub(super) fn end_batch(state: &mut State, id: RowId, role: BatchRole, batch: Batch, outcome: Outcome) {
    let is_awaited = role == BatchRole::Current
        && ProcessId::ALL.into_iter().any(|process| {
            let process = state.process(process);
            process.row == id && process.has_memory()
        });
    let ended = Batch { phase: Phase::Ended(outcome), ..batch };
    state.row_mut(id).set_batch(role, is_awaited.then_some(ended));
}

/// `greenroom_commit_v2` after its guard: judges the unit on the locked rows, applies it, and commits.
pub(super) fn commit_batch(state: &mut State, defects: &Defects, id: RowId, role: BatchRole, batch: Batch) {
    if state.row(id).life != Life::Alive {
        state.violate(Violation::DeadPodWrote);
    }
    let outcome = judge(state, id, batch);
    if outcome == Outcome::Taken {
        apply(state, id, batch.unit);
    }
    write_consequences(state, defects, id, batch.unit, outcome);
    state.check_account();
    end_batch(state, id, role, batch, outcome);
}

/// `greenroom_judge_v1`, and the decision of the accounts' lane about the reservation of a start.
fn judge(state: &State, id: RowId, batch: Batch) -> Outcome {
    let (tree, account) = (&state.tree, &state.account);
    if matches!(batch.unit, Unit::Interrupted(_)) {
        Outcome::Taken
    } else if state.row(id).life != Life::Alive || tree.owner != Some(id) || tree.fence != batch.fence {
        Outcome::Fenced
    } else if tree.position() != batch.after {
        Outcome::OutOfOrder
    } else if batch.unit == Unit::Start && account.reserved + account.spent >= RESERVATIONS_MAX {
        Outcome::OverLimit
    } else {
        Outcome::Taken
    }
}

/// The requests of a unit that is taken.
fn apply(state: &mut State, id: RowId, unit: Unit) {
    if !matches!(unit, Unit::Interrupted(_)) {
        if state.tree.writer.is_some_and(|writer| writer != id) {
            state.violate(Violation::TwoWriters);
        }
        state.tree.writer = Some(id);
    }
    match unit {
        Unit::Start => {
            state.tree.starts += 1;
            state.row_mut(id).payment = Payment::Reserved;
            state.account.reserved += 1;
        }
        Unit::Done => state.tree.is_done = true,
        Unit::Signal => {
            if state.tree.is_signalled {
                state.violate(Violation::SignalRecordedTwice);
            }
            state.tree.is_signalled = true;
        }
        Unit::Fail => state.tree.is_failed = true,
        Unit::Interrupted(_) => {}
    }
}

/// The parts of a unit that are written whether or not it is taken. The opening of a unit that is not taken is closed
/// in the same batch.
fn write_consequences(state: &mut State, defects: &Defects, id: RowId, unit: Unit, outcome: Outcome) {
    match unit {
        Unit::Start => {
            if state.row(id).entry == AuditEntry::Open {
                state.violate(Violation::EntryOpenedTwice);
            }
            if outcome == Outcome::Taken {
                state.row_mut(id).entry = AuditEntry::Open;
            }
        }
        Unit::Done => {
            settle(state, defects, id, outcome);
            if state.row(id).life == Life::Alive {
                close_entry(state, id);
            }
        }
        // The deletion from `audit_open` decides whether the entry is closed.
        Unit::Interrupted(dead) => {
            if state.row(dead).entry == AuditEntry::Open || defects.closing_without_look {
                close_entry(state, dead);
            }
        }
        Unit::Signal | Unit::Fail => {}
    }
}

/// `greenroom_settle_v1`: moves the reservation, so one that is settled already changes nothing.
fn settle(state: &mut State, defects: &Defects, id: RowId, outcome: Outcome) {
    let payment = state.row(id).payment;
    if payment == Payment::Reserved {
        state.row_mut(id).payment = Payment::Settled;
        state.account.settle();
    } else if outcome == Outcome::Taken {
        state.violate(Violation::ResultNotSettled);
    } else if defects.settlement_by_amount {
        state.account.settle();
        state.violate(Violation::SettledTwice);
    }
}

fn close_entry(state: &mut State, id: RowId) {
    if state.row(id).entry != AuditEntry::Open {
        state.violate(Violation::EntryClosedTwice);
    }
    state.row_mut(id).entry = AuditEntry::Closed;
}

/// `greenroom_tick_v1`: renews the lease, declares the suspect dead, and reports the other pod. The observation follows
/// at once, although the process reads the report later: nothing is decided by it before.
pub(super) fn tick(state: &mut State, model: &ProtocolModel, id: ProcessId, has_suspect: bool, age: u8) {
    let (own, other) = (state.process(id).row, id.other());
    let suspect = state.process(other).row;
    if state.row(own).life != Life::Alive {
        let process = state.process_mut(id);
        process.tick = Some(Tick { phase: TickPhase::Executed { is_alive: false }, age });
        process.observation = None;
        return;
    }
    state.row_mut(own).expires_in = LEASE_TICKS.cast_signed();
    if let Some(observation) = &mut state.process_mut(other).observation {
        observation.is_renewed = true;
    }
    let observation = state.process(id).observation;
    let is_observed = observation.is_some_and(|observation| !observation.is_renewed);
    if has_suspect && (is_observed || model.defects.death_without_observation) {
        declare_dead(state, model, own, suspect);
    }
    let has_read = state.row(suspect).life == Life::Alive && age <= READ_PAUSE_MAX_TICKS;
    let since = observation.filter(|_| is_observed).map_or(age, |observation| observation.age);
    let process = state.process_mut(id);
    process.observation = has_read.then_some(Observation { age: since, read_age: age, is_renewed: false });
    process.tick = Some(Tick { phase: TickPhase::Executed { is_alive: true }, age });
}

/// Declares a pod dead whose lease has expired by the clock of the database, unless one of its batches has locked its
/// row.
fn declare_dead(state: &mut State, model: &ProtocolModel, by: RowId, id: RowId) {
    let row = state.row(id);
    let is_locked = row.is_locked() && !model.defects.batch_without_lock;
    if row.life != Life::Alive || row.expires_in >= 0 || is_locked {
        return;
    }
    let row = state.row_mut(id);
    row.life = Life::Dead;
    row.cleaner = Some(by);
    let (before, now) = (model.faults, state.faults);
    if (before.crashes, before.freezes, before.lost_acknowledgements)
        == (now.crashes, now.freezes, now.lost_acknowledgements)
    {
        state.violate(Violation::DeathWithoutCause);
    }
}

/// True if `greenroom_claim_v1` finds the tree: it is due, and it has no owner, or one that is dead.
pub(super) fn is_claimable(state: &State, defects: &Defects, by: RowId) -> bool {
    let tree = &state.tree;
    let is_free = tree.owner.is_none_or(|owner| {
        let row = state.row(owner);
        let has_expired = defects.claim_without_death && row.life == Life::Alive && row.expires_in < 0;
        row.life == Life::Dead || has_expired && owner != by
    });
    is_free && tree.is_due && !tree.has_ended()
}

/// `greenroom_claim_v1`.
pub(super) fn claim(state: &mut State, defects: &Defects, by: RowId) {
    let tree = &mut state.tree;
    tree.owner = Some(by);
    tree.is_due = true;
    if !defects.claim_without_fence {
        tree.fence += 1;
        tree.writer = None;
    }
}

/// True if this pod cleans that one: it has declared it dead, or the pod that did has died too.
pub(super) fn is_cleaner(state: &State, by: RowId, dead: RowId) -> bool {
    let row = state.row(dead);
    let is_free = |cleaner: RowId| cleaner == by || state.row(cleaner).life != Life::Alive;
    row.life == Life::Dead && row.cleaner.is_none_or(is_free)
}

/// `greenroom_clean_v1`: releases the tree and settles the reservation of a dead pod as estimated. It is repeated until
/// nothing is left; then the pod is cleaned. The open audit entry is closed by a unit of the cleaner meanwhile.
pub(super) fn clean(state: &mut State, by: RowId, dead: RowId) {
    let is_owner = state.tree.owner == Some(dead);
    if is_owner {
        state.tree.owner = None;
    }
    let row = state.row_mut(dead);
    row.cleaner = Some(by);
    if row.payment == Payment::Reserved {
        row.payment = Payment::Estimated;
        state.account.settle();
    } else if row.entry != AuditEntry::Open && !is_owner {
        row.life = Life::Cleaned;
    }
    state.check_account();
}

/// True if `greenroom_park_v1` ends the ownership of the tree.
pub(super) fn is_parkable(state: &State, defects: &Defects, by: RowId, fence: u8) -> bool {
    let is_owner = state.tree.owner == Some(by) && state.tree.fence == fence;
    is_owner && (!state.has_message || defects.park_without_inbox)
}

/// `greenroom_park_v1`, for a tree that waits for a message only.
pub(super) fn park(state: &mut State) {
    state.tree.owner = None;
    state.tree.is_due = false;
}

/// `greenroom_send_v1`: adds the message, unless it is in the inbox, and wakes the tree.
pub(super) fn send(state: &mut State) {
    state.has_message = true;
    state.tree.is_due = true;
}
