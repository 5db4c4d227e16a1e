//! Each violation, planted in a small history that has none otherwise.

use super::*;
use crate::cluster::history::{
    AuditReport, DrainCounts, ForeignReport, ModelCall, OutageKind, OwnedTree, PodDeath, PodFault, Record,
    RequestCounts, RunEnd, RunJournal,
};
use crate::cluster::moment::{Moment, Window};

const BOUNDS: Bounds = Bounds { resumption_max: Duration::from_secs(5) };
const RUN: &str = "run_1";
/// The call that was recorded before the pod was killed, and the one that was in flight.
const FIRST: &str = "run_1/first";
const SECOND: &str = "run_1/second";

fn at(millis: u64) -> Moment {
    Moment(millis * 1_000)
}

/// The entry became durable in the 20 ms before this.
fn record(seq: u64, present_at: u64, event: Event) -> Record {
    Record { seq, window: Window { absent_at: at(present_at - 20), present_at: at(present_at) }, event }
}

fn call(key: &str, arrived_at: u64) -> ModelCall {
    ModelCall { key: key.to_owned(), arrived_at: at(arrived_at), cost_micro_usd: 5 }
}

fn fault(kind: OutageKind, healed_at: Option<Moment>) -> PodFault {
    let tree = OwnedTree { root: RUN.to_owned(), seqs: [(RUN.to_owned(), 4)].into() };
    PodFault { pod: 7, kind, at: at(1_000), healed_at, trees: vec![tree] }
}

fn end_with(code: Option<&str>) -> Event {
    Event::Ended(RunEnd { code: code.map(str::to_owned), is_estimated: true })
}

fn run_journal(root: &str, records: Vec<Record>) -> RunJournal {
    RunJournal { root: root.to_owned(), owner: "payer".to_owned(), records }
}

/// One run whose pod was killed after a second, with one call in flight, which its next owner has repeated.
fn history() -> History {
    let records = vec![
        record(1, 100, Event::Other),
        record(2, 100, Event::CallStarted(FIRST.to_owned())),
        record(3, 400, Event::CallEnded(FIRST.to_owned())),
        record(4, 400, Event::CallStarted(SECOND.to_owned())),
        record(5, 5_000, Event::Resumed),
        record(6, 5_400, Event::CallEnded(SECOND.to_owned())),
        record(7, 5_420, end_with(None)),
    ];
    let death = death(7, "pod-a-1", Window { absent_at: at(4_400), present_at: at(4_420) });
    History {
        accepted: [RUN.to_owned()].into(),
        journals: [(RUN.to_owned(), run_journal(RUN, records))].into(),
        calls: vec![call(FIRST, 110), call(SECOND, 420), call(SECOND, 5_010)],
        faults: vec![fault(OutageKind::Kill, None)],
        deaths: vec![death],
        budgets: BTreeMap::new(),
        audit: AuditReport { is_valid: true, records: 12 },
        requests: RequestCounts { sent: 1, replied: 1, repeated: 0 },
        drains: DrainCounts::default(),
        foreign: None,
    }
}

fn death(pod: i64, name: &str, window: Window) -> PodDeath {
    PodDeath { pod, name: name.to_owned(), window, renewed_after: at(1_000), trees: Vec::new() }
}

fn journal(history: &mut History) -> &mut Vec<Record> {
    &mut history.journals.get_mut(RUN).unwrap().records
}

/// Fails unless the history has exactly this violation.
#[track_caller]
fn expect_only(history: &History, expected: &Violation) {
    assert_eq!(check(history, BOUNDS).violations, std::slice::from_ref(expected));
}

#[track_caller]
fn expect_none(history: &History) {
    let report = check(history, BOUNDS);
    assert!(report.violations.is_empty(), "{report}");
}

#[test]
fn a_call_in_flight_at_a_death_may_be_repeated_once() {
    let history = history();
    expect_none(&history);
    let report = check(&history, BOUNDS);
    assert_eq!((report.accepted, report.successes, report.resumed, report.calls), (1, 1, 1, 3));
    assert_eq!((report.repeated_in_flight, report.repeated_recorded), (1, 0));
    assert_eq!(report.resumption.unwrap().max, Duration::from_secs(4));
}

/// A call that another pod than the owner of its run may have executed, and that has arrived twice.
fn placed_history() -> History {
    const KEY: &str = "run_1/placed_first";
    let records = vec![
        record(1, 100, Event::Other),
        record(2, 400, Event::CallStarted(KEY.to_owned())),
        record(3, 5_400, Event::CallEnded(KEY.to_owned())),
        record(4, 5_420, end_with(None)),
    ];
    let death = death(7, "pod-a-1", Window { absent_at: at(4_400), present_at: at(4_420) });
    History {
        journals: [(RUN.to_owned(), run_journal(RUN, records))].into(),
        calls: vec![call(KEY, 420), call(KEY, 5_010)],
        faults: vec![PodFault { trees: Vec::new(), ..fault(OutageKind::Kill, None) }],
        deaths: vec![death],
        ..history()
    }
}

#[test]
fn a_placed_call_may_be_repeated_after_the_death_of_any_pod_and_after_none_only_once_it_is_retried() {
    let mut history = placed_history();
    expect_none(&history);
    (history.faults, history.deaths) = (Vec::new(), Vec::new());
    let key = "run_1/placed_first".to_owned();
    expect_only(&history, &Violation::RepeatedTooOften { key: key.clone(), calls: 2, calls_max: 1 });
    journal(&mut history)[2].seq = 4;
    journal(&mut history)[3].seq = 5;
    journal(&mut history).insert(2, record(3, 4_000, Event::CallRetried(key)));
    expect_none(&history);
}

#[test]
fn a_run_that_has_not_ended_is_found() {
    let mut history = history();
    journal(&mut history).pop();
    expect_only(&history, &Violation::NotEnded { run: RUN.to_owned() });
    // Nothing of the run is in the database.
    history.journals.clear();
    history.calls.clear();
    expect_only(&history, &Violation::NotEnded { run: RUN.to_owned() });
}

#[test]
fn a_called_run_that_has_not_ended_is_found() {
    let mut history = history();
    let inner = run_journal(RUN, vec![record(1, 100, Event::Other)]);
    history.journals.insert("run_2".to_owned(), inner);
    expect_only(&history, &Violation::NotEnded { run: "run_2".to_owned() });
}

#[test]
fn a_run_that_has_failed_without_a_reason_is_found() {
    let mut history = history();
    journal(&mut history)[6].event = end_with(Some("budget_exceeded"));
    expect_only(&history, &Violation::Failed { run: RUN.to_owned(), code: "budget_exceeded".to_owned() });
    // The budget of its owner is a reason.
    history.budgets = [("payer".to_owned(), 100)].into();
    expect_none(&history);
    journal(&mut history)[6].event = end_with(Some("internal"));
    expect_only(&history, &Violation::Failed { run: RUN.to_owned(), code: "internal".to_owned() });
}

#[test]
fn a_run_that_was_started_twice_is_found() {
    let mut history = history();
    let records = vec![record(1, 100, end_with(None))];
    history.journals.insert("run_2".to_owned(), run_journal("run_2", records));
    expect_only(&history, &Violation::NotAccepted { run: "run_2".to_owned() });
    // The repetition of a request may be refused by the budget that the run itself has used up.
    history.budgets = [("payer".to_owned(), 100)].into();
    expect_none(&history);
}

#[test]
fn a_journal_with_a_gap_or_an_entry_after_its_end_is_found() {
    let mut history = history();
    journal(&mut history).push(record(8, 5_440, Event::Other));
    expect_only(&history, &Violation::BrokenJournal { run: RUN.to_owned(), seq: 8 });
    journal(&mut history).pop();
    journal(&mut history)[6].seq = 8;
    expect_only(&history, &Violation::BrokenJournal { run: RUN.to_owned(), seq: 7 });
}

#[test]
fn a_recorded_call_that_is_made_again_is_found_after_a_death_and_without_one() {
    let mut history = history();
    history.calls.push(call(FIRST, 5_010));
    let repeated = Violation::RecordedCallRepeated { key: FIRST.to_owned(), arrived_at: at(5_010) };
    let too_often = Violation::RepeatedTooOften { key: FIRST.to_owned(), calls: 2, calls_max: 1 };
    let report = check(&history, BOUNDS);
    assert_eq!(report.violations, [repeated, too_often]);
    assert_eq!((report.repeated_in_flight, report.repeated_recorded), (1, 1));
    // Nothing shows when the result was recorded: the count is enough.
    journal(&mut history)[2].window.present_at = at(9_000);
    journal(&mut history)[2].window.absent_at = at(0);
    history.faults[0].trees.clear();
    history.calls.remove(1);
    expect_only(&history, &Violation::RepeatedTooOften { key: FIRST.to_owned(), calls: 2, calls_max: 1 });
}

#[test]
fn a_call_that_is_repeated_without_a_death_or_twice_for_one_is_found() {
    let mut history = history();
    history.calls.push(call(SECOND, 5_020));
    expect_only(&history, &Violation::RepeatedTooOften { key: SECOND.to_owned(), calls: 3, calls_max: 2 });
    history.calls.pop();
    // The run was resumed, but its pod had not died.
    history.faults[0].trees.clear();
    expect_only(&history, &Violation::RepeatedTooOften { key: SECOND.to_owned(), calls: 2, calls_max: 1 });
    // Its pod had died, but the next owner has not continued it.
    history.faults[0] = fault(OutageKind::Kill, None);
    journal(&mut history)[4].event = Event::Other;
    expect_only(&history, &Violation::RepeatedTooOften { key: SECOND.to_owned(), calls: 2, calls_max: 1 });
    // A retry is another call of the step.
    journal(&mut history)[4].event = Event::CallRetried(SECOND.to_owned());
    expect_none(&history);
}

#[test]
fn a_request_that_a_frozen_pod_completes_when_it_continues_was_in_flight() {
    let mut history = history();
    history.calls[1].arrived_at = at(11_100);
    let repeated = Violation::RecordedCallRepeated { key: SECOND.to_owned(), arrived_at: at(11_100) };
    expect_only(&history, &repeated);
    history.faults = vec![fault(OutageKind::Freeze, Some(at(11_000)))];
    expect_none(&history);
    history.faults = vec![fault(OutageKind::Starvation, Some(at(11_000)))];
    expect_none(&history);
    history.faults = vec![fault(OutageKind::Freeze, Some(at(11_000)))];
    // Long after that, it is a new request; and so is one of a call that was recorded before.
    history.calls[1].arrived_at = at(17_000);
    let repeated = Violation::RecordedCallRepeated { key: SECOND.to_owned(), arrived_at: at(17_000) };
    expect_only(&history, &repeated);
    history.calls[1] = call(FIRST, 11_100);
    assert_eq!(check(&history, BOUNDS).repeated_recorded, 1);
}

#[test]
fn a_call_that_no_journal_has_is_found() {
    let mut history = history();
    history.calls.push(call("run_1/third", 5_020));
    expect_only(&history, &Violation::UnknownCall { key: "run_1/third".to_owned() });
}

#[test]
fn a_call_that_was_paid_twice_without_a_mark_is_found() {
    let mut history = history();
    journal(&mut history)[6].event = Event::Ended(RunEnd { code: None, is_estimated: false });
    expect_only(&history, &Violation::OrphanNotEstimated { run: RUN.to_owned(), key: SECOND.to_owned() });
    let mut placed = placed_history();
    journal(&mut placed)[3].event = Event::Ended(RunEnd { code: None, is_estimated: false });
    let key = "run_1/placed_first".to_owned();
    expect_only(&placed, &Violation::OrphanNotEstimated { run: RUN.to_owned(), key });
}

#[test]
fn a_budget_that_is_overspent_is_found() {
    let mut history = history();
    history.budgets = [("payer".to_owned(), 15)].into();
    expect_none(&history);
    history.budgets = [("payer".to_owned(), 14)].into();
    expect_only(&history, &Violation::Overspent { payer: "payer".to_owned(), charged: 15, limit: 14 });
}

#[test]
fn an_invalid_chain_an_unexplained_death_and_a_slow_resumption_are_found() {
    let mut history = history();
    history.audit.is_valid = false;
    expect_only(&history, &Violation::AuditInvalid);
    history.audit.is_valid = true;
    history.deaths.push(death(8, "pod-b-1", Window::default()));
    expect_only(&history, &Violation::UnexplainedDeath { pod: "pod-b-1".to_owned() });
    history.deaths.pop();
    let bounds = Bounds { resumption_max: Duration::from_secs(3) };
    let slow = Violation::ResumedSlowly { p99: Duration::from_secs(4), max: Duration::from_secs(3) };
    assert_eq!(check(&history, bounds).violations, [slow]);
}

#[test]
fn only_a_sudden_fault_has_a_bound_for_the_resumption() {
    let mut history = history();
    for kind in [OutageKind::Drain, OutageKind::Starvation] {
        history.faults = vec![fault(kind, None)];
        let report = check(&history, BOUNDS);
        assert!(report.violations.is_empty() && report.resumption.is_none(), "{report}");
        assert_eq!(report.starved, usize::from(kind == OutageKind::Starvation));
    }
}

#[test]
fn more_than_one_request_in_a_thousand_without_a_reply_is_found() {
    let mut history = history();
    history.requests = RequestCounts { sent: 1_000, replied: 999, repeated: 40 };
    expect_none(&history);
    // Its run is one that no client knows.
    history.journals.insert("run_2".to_owned(), run_journal("run_2", vec![record(1, 100, end_with(None))]));
    expect_none(&history);
    history.journals.remove("run_2");
    history.requests = RequestCounts { sent: 999, replied: 998, repeated: 40 };
    expect_only(&history, &Violation::TooFewReplies { sent: 999, replied: 998 });
}

#[test]
fn a_short_request_that_fails_during_a_drain_is_found() {
    let mut history = history();
    history.drains = DrainCounts { requests: 2, repeated: 0, failures: vec!["shutting_down: the pod ends".to_owned()] };
    expect_only(&history, &Violation::FailedInDrain { reason: "shutting_down: the pod ends".to_owned() });
}

#[test]
fn a_run_or_a_pod_that_is_in_the_wrong_cluster_is_found() {
    let mut history = history();
    let own = ForeignReport {
        accepted: ["run_8".to_owned()].into(),
        runs: ["run_8".to_owned()].into(),
        pods: vec!["pod-foreign-1".to_owned()],
    };
    history.foreign = Some(own.clone());
    expect_none(&history);
    let mixed = |id: &str| Violation::ClustersMixed { id: id.to_owned() };
    for (runs, pods, found) in [
        (vec!["run_8", "run_9"], vec!["pod-foreign-1"], "run_9"),
        (vec![], vec!["pod-foreign-1"], "run_8"),
        (vec!["run_8"], vec!["pod-foreign-1", "pod-a-2"], "pod-a-2"),
    ] {
        let runs = runs.into_iter().map(str::to_owned).collect();
        let pods = pods.into_iter().map(str::to_owned).collect();
        history.foreign = Some(ForeignReport { runs, pods, ..own.clone() });
        expect_only(&history, &mixed(found));
    }
}
