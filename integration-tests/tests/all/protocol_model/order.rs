//! The model, and the order in which its steps are explored.
//!
//! The order is reduced where it makes no difference. While a healthy pod waits for its tick or its batch, no step of
//! another one changes what becomes of that, so only the steps of this pod and its faults follow. A batch of a dead pod
//! is refused first; a process whose pod is dead, and that cannot make a call, acts first; and a dead pod is cleaned
//! as soon as it does not own the tree, since a claim commutes with it. A step that is the only one that may follow is
//! joined to the step before it.

use super::database;
use super::explorer::Model;
use super::memory::{Lane, ProcessId, Status};
use super::pod;
use super::protocol::{Order, ProtocolModel};
use super::rows::{AuditEntry, BatchRole, LEASE_TICKS, Life, Payment, RowId};
use super::state::State;
use super::steps::{Step, Steps};
use super::violation::Violation;

type Successors = Vec<(Step, State)>;

impl Model for ProtocolModel {
    type State = State;
    type Step = Step;

    fn initial(&self) -> State {
        self.initial_state()
    }

    fn successors(&self, state: &State) -> Successors {
        match self.order {
            Order::Reduced => reduced_steps(self, state).unwrap_or_else(|| every_step(self, state)),
            Order::Every => every_step(self, state),
        }
    }

    fn is_joined(&self, step: Step) -> bool {
        // Time passes in a cycle if nothing else happens.
        self.order == Order::Reduced && step != Step::PassTime
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let violations = state.violations();
        if violations.is_empty() {
            return None;
        }
        let violation = match self.watched {
            Some(watched) => violations.contains(watched).then_some(watched),
            None => violations.first(),
        };
        violation.map(Violation::description)
    }

    /// The run has ended, so its message was recorded or is needed no more, and nothing of a pod is reserved or open.
    fn is_complete(&self, state: &State) -> bool {
        let is_open = |row: RowId| {
            let row = state.row(row);
            row.payment == Payment::Reserved || row.entry == AuditEntry::Open
        };
        state.tree.has_ended() && !RowId::ALL.into_iter().any(is_open)
    }
}

fn every_step(model: &ProtocolModel, state: &State) -> Successors {
    let mut steps = Steps::new(model, state);
    steps.time();
    steps.outages();
    for row in RowId::ALL {
        steps.batches(row);
    }
    for id in ProcessId::ALL {
        steps.faults(id);
        steps.ticks(id);
        if state.process(id).status != Status::Running {
            continue;
        }
        steps.results(id);
        steps.run(id);
        steps.claims(id);
        for dead in RowId::ALL {
            steps.cleaning(id, dead);
        }
        steps.messages(id);
    }
    steps.into_found()
}

/// The steps of which all others are independent, if there are such.
fn reduced_steps(model: &ProtocolModel, state: &State) -> Option<Successors> {
    if !state.is_database_up {
        return None;
    }
    let first = |steps: fn(&ProtocolModel, &State, ProcessId) -> Option<Successors>| {
        ProcessId::ALL.into_iter().find_map(|id| steps(model, state, id))
    };
    let refused = RowId::ALL.into_iter().find_map(|row| refusal(model, state, row));
    let healthy = || first(steps_of_healthy);
    refused.or_else(healthy).or_else(|| first(steps_of_dead)).or_else(|| first(steps_of_cleaner))
}

/// The refusal of a batch of a dead pod.
fn refusal(model: &ProtocolModel, state: &State, id: RowId) -> Option<Successors> {
    let is_refused = |role: BatchRole| {
        let batch = state.row(id).batch(role);
        batch.is_some_and(|batch| database::is_refused(state, &model.defects, id, batch))
    };
    if !BatchRole::ALL.into_iter().any(is_refused) {
        return None;
    }
    let mut steps = Steps::new(model, state);
    steps.batches(id);
    Some(steps.into_found())
}

/// True if no pod can declare this one dead before time passes.
fn is_healthy(state: &State, id: ProcessId) -> bool {
    let row = state.row_of(id);
    state.process(id).status == Status::Running && row.life == Life::Alive && row.expires_in >= 0
}

/// The tick of a healthy pod, or else its batch, with its faults.
fn steps_of_healthy(model: &ProtocolModel, state: &State, id: ProcessId) -> Option<Successors> {
    if !is_healthy(state, id) {
        return None;
    }
    let process = state.process(id);
    let is_tick_next = match process.tick {
        Some(tick) => tick.age == 0,
        None => !process.is_cut && process.lease_left == LEASE_TICKS - 1,
    };
    let mut steps = Steps::new(model, state);
    if is_tick_next {
        steps.ticks(id);
    } else if process.lane == Lane::Waiting {
        steps.batches(process.row);
        steps.results(id);
    } else {
        return None;
    }
    steps.faults(id);
    Some(steps.into_found())
}

/// The steps of a process whose pod is dead, and that cannot make a call: it will learn of its death.
fn steps_of_dead(model: &ProtocolModel, state: &State, id: ProcessId) -> Option<Successors> {
    let process = state.process(id);
    let is_reader = process.status == Status::Running && !process.is_cut;
    if !is_reader || state.row(process.row).life == Life::Alive || pod::can_call(state, &model.defects, id) {
        return None;
    }
    let mut steps = Steps::new(model, state);
    steps.ticks(id);
    steps.results(id);
    steps.run(id);
    if steps.is_empty() {
        return None;
    }
    steps.faults(id);
    Some(steps.into_found())
}

/// The steps of a healthy pod that cleans one which owns nothing any more.
fn steps_of_cleaner(model: &ProtocolModel, state: &State, id: ProcessId) -> Option<Successors> {
    // A settlement without the guard of its batch depends on the cleaning.
    if !is_healthy(state, id) || model.defects.settlement_without_guard {
        return None;
    }
    let mut steps = Steps::new(model, state);
    let mut dead = RowId::ALL.into_iter().filter(|dead| state.tree.owner != Some(*dead));
    while steps.is_empty() {
        steps.cleaning(id, dead.next()?);
    }
    steps.faults(id);
    Some(steps.into_found())
}
