//! The protocol of pods that share a database, as a model that is explored exhaustively: leases, death, claims, fences,
//! batches, money, audit entries and the inbox, over two processes, with one crash, one freeze and one lost
//! acknowledgement, each at any moment. A defect that a test plants must be found.
//!
//! The names are those of the product: `greenroom_tick_v1` is a tick of the model, `greenroom_commit_v2` and
//! `greenroom_commit_plain_v1` are a batch, whose transaction locks the row of its pod first, and records its outcome and
//! commits in a later step; `greenroom_claim_v1`, `greenroom_clean_v1`, `greenroom_park_v1` and `greenroom_send_v1` are one
//! step each. A lane that has lost its connection makes the id of its batch void, also while the transaction runs that has
//! not recorded its outcome. That is what `greenroom_commit_plain_v1` allows; `greenroom_commit_v2` records the id first,
//! so it has a part of these orders.
//!
//! What is checked:
//! - In every state: no write of a dead pod is accepted, and at most one pod writes under a fence. A call whose result
//!   is recorded is not made again, and a call is made at most once, and once more for each death. A reservation is
//!   settled once, each result with it, and the account agrees with all of them and with its limit. A message is
//!   recorded once. An audit entry is opened and closed once. A unit that is refused to its pod is not durable. A pod
//!   is declared dead only after a fault, never because the database was away.
//! - From every state, the end can still be reached: the run has ended, with its message recorded if that was
//!   acknowledged, and nothing of a pod is reserved or open. So a fair order of steps ends all work.
//!
//! What the model assumes:
//! - All clocks are equally fast (the product subtracts a margin from a lease), and count while a process is frozen or its
//!   machine is suspended (the product takes a clock that does); a defect shows that the protocol needs this.
//! - A pod checks its lease and makes its call in one step. A freeze between the two can delay a call for any time.
//! - A healthy pod renews its lease in each tick of the clock. What is slow is frozen or has lost its connection.
//! - There is one tree with one step and one message, one unit in a batch, and one lane in a pod. A step and a message
//!   together are explored with a crash and one other fault, and apart with all three.

mod database;
mod explorer;
mod memory;
mod order;
mod pod;
mod protocol;
mod rows;
mod state;
mod steps;
mod violation;

use self::explorer::{Exploration, NEVER_ENDS, explore};
use self::memory::{Lane, ProcessId, Status};
use self::protocol::{Defects, Order, ProtocolModel, Workload};
use self::rows::{Payment, RowId};
use self::state::{Faults, State};
use self::violation::Violation;

/// More than the largest of these models has, which are 260,000 states.
const STATES_MAX: usize = 600_000;

const CRASH: Faults = Faults { crashes: 1, ..Faults::NONE };
const FREEZE: Faults = Faults { freezes: 1, ..Faults::NONE };
const LOST_ACKNOWLEDGEMENT: Faults = Faults { lost_acknowledgements: 1, ..Faults::NONE };
const ALL_FAULTS: Faults = Faults { crashes: 1, freezes: 1, lost_acknowledgements: 1, outages: 0 };

#[track_caller]
fn expect_correct(model: &ProtocolModel) -> Exploration<State> {
    let explored = explore(model, STATES_MAX).unwrap_or_else(|found| panic!("{model:?}: {found}"));
    println!("{model:?}: {} states", explored.count());
    explored
}

/// Expects that the first finding is this one. Other violations do not count.
#[track_caller]
fn expect_violation(workload: Workload, faults: Faults, defects: Defects, violation: Violation) {
    let watched = Some(violation);
    let model = ProtocolModel { defects, watched, ..ProtocolModel::new(workload, faults) };
    expect_finding(&model, violation.description());
}

#[track_caller]
fn expect_finding(model: &ProtocolModel, finding: &str) {
    match explore(model, STATES_MAX) {
        Ok(explored) => panic!("{model:?}: not found among {} states: {finding}", explored.count()),
        Err(found) => assert_eq!(found.finding, finding, "{model:?}: {found}"),
    }
}

fn contains_process(explored: &Exploration<State>, is_searched: impl Fn(&State, ProcessId) -> bool) -> bool {
    explored.contains(|state| ProcessId::ALL.into_iter().any(|id| is_searched(state, id)))
}

#[test]
fn a_step_is_correct_with_a_crash_a_freeze_and_a_lost_acknowledgement() {
    let explored = expect_correct(&ProtocolModel::new(Workload::Step, ALL_FAULTS));
    assert!(explored.contains(|state| state.calls == 2), "a call is repeated after a death");
    assert!(explored.contains(|state| state.deaths() == 2), "two pods die");
    assert!(explored.contains(|state| state.tree.is_failed), "the account allows no third call");
    let is_estimated = |state: &State, row: RowId| state.row(row).payment == Payment::Estimated;
    let contains_estimate = explored.contains(|state| RowId::ALL.into_iter().any(|row| is_estimated(state, row)));
    assert!(contains_estimate, "a reservation is settled by another pod");
    let is_in_doubt = |state: &State, id| state.process(id).lane == Lane::Unknown && state.row_of(id).is_locked();
    assert!(contains_process(&explored, is_in_doubt), "a transaction is in doubt");
    let is_repeated = |state: &State, id| state.process(id).queued_closing.is_some();
    assert!(contains_process(&explored, is_repeated), "a closing is repeated before the first one is known");
    let has_lapsed = |state: &State, id| {
        let process = state.process(id);
        process.status == Status::Running && process.lease_left == 0
    };
    assert!(contains_process(&explored, has_lapsed), "a running pod has lapsed");
}

#[test]
fn a_message_is_recorded_with_a_crash_a_freeze_and_a_lost_acknowledgement() {
    let explored = expect_correct(&ProtocolModel::new(Workload::Inbox, ALL_FAULTS));
    let is_parked = |state: &State| state.tree.owner.is_none() && !state.tree.is_due;
    assert!(explored.contains(is_parked), "the tree is parked");
    assert!(explored.contains(|state| state.has_message && !state.is_acknowledged), "the message is sent again");
    let has_lost_claim = |state: &State, id| state.process(id).has_lost_claim;
    assert!(contains_process(&explored, has_lost_claim), "the acknowledgement of a claim is lost");
}

#[test]
fn a_whole_run_is_correct_with_a_crash_and_another_fault() {
    for faults in [Faults { freezes: 1, ..CRASH }, Faults { lost_acknowledgements: 1, ..CRASH }] {
        expect_correct(&ProtocolModel::new(Workload::Whole, faults));
    }
}

#[test]
fn every_order_of_steps_is_correct_with_a_single_fault() {
    for workload in [Workload::Step, Workload::Inbox] {
        for faults in [CRASH, FREEZE, LOST_ACKNOWLEDGEMENT] {
            let model = ProtocolModel { order: Order::Every, ..ProtocolModel::new(workload, faults) };
            expect_correct(&model);
        }
    }
}

#[test]
fn no_pod_dies_of_a_restart_of_the_database() {
    let outage = Faults { outages: 1, ..Faults::NONE };
    let explored = expect_correct(&ProtocolModel::new(Workload::Whole, outage));
    assert!(explored.contains(|state| !state.is_database_up));
    assert!(!explored.contains(|state| state.deaths() > 0));
    expect_correct(&ProtocolModel::new(Workload::Whole, Faults { lost_acknowledgements: 1, ..outage }));
}

#[test]
fn a_lease_from_the_acknowledgement_of_its_renewal_is_found() {
    let defects = Defects { lease_from_acknowledgement: true, ..Defects::NONE };
    expect_violation(Workload::Step, FREEZE, defects, Violation::RecordedCallRepeated);
}

#[test]
fn a_settlement_without_the_guard_against_dead_pods_is_found() {
    let defects = Defects { settlement_without_guard: true, ..Defects::NONE };
    expect_violation(Workload::Step, FREEZE, defects, Violation::DeadPodWrote);
    // The reservation that a settlement moves is a second guard against one that is booked twice. Without it too:
    let defects = Defects { settlement_by_amount: true, ..defects };
    expect_violation(Workload::Step, FREEZE, defects, Violation::SettledTwice);
    expect_violation(Workload::Step, FREEZE, defects, Violation::AccountWrong);
}

#[test]
fn a_batch_that_is_sent_again_before_it_is_resolved_is_found() {
    let defects = Defects { retry_without_resolving: true, ..Defects::NONE };
    expect_violation(Workload::Step, LOST_ACKNOWLEDGEMENT, defects, Violation::OutcomeWrong);
    expect_violation(Workload::Step, LOST_ACKNOWLEDGEMENT, defects, Violation::EntryOpenedTwice);
    expect_violation(Workload::Inbox, LOST_ACKNOWLEDGEMENT, defects, Violation::OutcomeWrong);
}

#[test]
fn a_batch_that_is_committed_although_it_became_void_is_found() {
    let defects = Defects { commit_of_void: true, ..Defects::NONE };
    expect_violation(Workload::Step, LOST_ACKNOWLEDGEMENT, defects, Violation::OutcomeWrong);
    expect_violation(Workload::Step, LOST_ACKNOWLEDGEMENT, defects, Violation::EntryOpenedTwice);
    expect_violation(Workload::Inbox, LOST_ACKNOWLEDGEMENT, defects, Violation::OutcomeWrong);
}

#[test]
fn a_call_of_a_pod_that_has_lapsed_is_found() {
    let defects = Defects { call_without_lease: true, ..Defects::NONE };
    expect_violation(Workload::Step, FREEZE, defects, Violation::RecordedCallRepeated);
}

#[test]
fn a_lease_by_a_clock_that_stops_with_its_machine_is_found() {
    let defects = Defects { clock_without_freezes: true, ..Defects::NONE };
    expect_violation(Workload::Step, FREEZE, defects, Violation::RecordedCallRepeated);
}

#[test]
fn a_batch_that_does_not_lock_the_row_of_its_pod_is_found() {
    let defects = Defects { batch_without_lock: true, ..Defects::NONE };
    expect_violation(Workload::Step, CRASH, defects, Violation::DeadPodWrote);
}

#[test]
fn a_claim_before_the_death_of_the_owner_is_recorded_is_found() {
    let defects = Defects { claim_without_death: true, ..Defects::NONE };
    expect_violation(Workload::Step, FREEZE, defects, Violation::CallRepeatedTooOften);
}

#[test]
fn a_claim_that_does_not_raise_the_fence_is_found() {
    let defects = Defects { claim_without_fence: true, ..Defects::NONE };
    expect_violation(Workload::Step, FREEZE, defects, Violation::TwoWriters);
}

#[test]
fn a_death_that_no_pod_has_observed_is_found() {
    let outage = Faults { outages: 1, ..Faults::NONE };
    let defects = Defects { death_without_observation: true, ..Defects::NONE };
    expect_violation(Workload::Whole, outage, defects, Violation::DeathWithoutCause);
}

#[test]
fn a_message_that_is_not_recorded_by_its_id_is_found() {
    let defects = Defects { signal_without_id: true, ..Defects::NONE };
    expect_violation(Workload::Whole, LOST_ACKNOWLEDGEMENT, defects, Violation::SignalRecordedTwice);
}

#[test]
fn a_closing_that_is_repeated_without_a_look_at_the_entry_is_found() {
    let defects = Defects { closing_without_look: true, ..Defects::NONE };
    let faults = Faults { lost_acknowledgements: 1, ..CRASH };
    expect_violation(Workload::Step, faults, defects, Violation::EntryClosedTwice);
}

#[test]
fn a_tree_that_is_not_looked_for_after_its_parking_has_failed_is_found() {
    let defects = Defects { park_without_look: true, ..Defects::NONE };
    let model = ProtocolModel { defects, ..ProtocolModel::new(Workload::Inbox, LOST_ACKNOWLEDGEMENT) };
    expect_finding(&model, NEVER_ENDS);
}

#[test]
fn a_parked_tree_with_a_message_is_found() {
    let defects = Defects { park_without_inbox: true, ..Defects::NONE };
    let model = ProtocolModel { defects, ..ProtocolModel::new(Workload::Inbox, Faults::NONE) };
    expect_finding(&model, NEVER_ENDS);
}
