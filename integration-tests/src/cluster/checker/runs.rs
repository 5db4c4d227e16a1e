//! The rules about runs: each ends, as it should, and none was started twice.

use super::violation::Violation;
use crate::cluster::history::{Event, History, RunEnd, RunJournal};

/// The codes by which a budget ends a run.
const REFUSALS: [&str; 2] = ["budget_exceeded", "policy_denied"];

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut violations: Vec<Violation> = history.accepted.iter().filter_map(|run| check_end(history, run)).collect();
    let mut without_client = Vec::new();
    for (run, journal) in &history.journals {
        violations.extend(check_journal(run, journal));
        let is_root = journal.root == *run;
        // The repetition of a request may be refused by the budget that its run has used up.
        if is_root && !history.accepted.contains(run) && history.payer_of(run).is_none() {
            without_client.push(Violation::NotAccepted { run: run.clone() });
        }
        // The end of an accepted run is checked above.
        if !is_root && journal.end().is_none() {
            violations.push(Violation::NotEnded { run: run.clone() });
        }
    }
    // A request without a reply may have started one.
    violations.extend(without_client.into_iter().skip(history.requests_without_reply()));
    violations
}

/// The number of accepted runs that have succeeded.
pub(super) fn successes(history: &History) -> usize {
    let end = |run: &str| history.journals.get(run).and_then(RunJournal::end);
    history.accepted.iter().filter(|run| end(run).is_some_and(|end| end.code.is_none())).count()
}

fn check_end(history: &History, run: &str) -> Option<Violation> {
    match history.journals.get(run).and_then(RunJournal::end) {
        None => Some(Violation::NotEnded { run: run.to_owned() }),
        Some(RunEnd { code: None, .. }) => None,
        Some(RunEnd { code: Some(code), .. }) => {
            let is_refused = history.payer_of(run).is_some() && REFUSALS.contains(&code.as_str());
            (!is_refused).then(|| Violation::Failed { run: run.to_owned(), code: code.clone() })
        }
    }
}

/// The numbers of a journal have no gap, and nothing follows the end.
fn check_journal(run: &str, journal: &RunJournal) -> Option<Violation> {
    let broken = |seq: u64| Violation::BrokenJournal { run: run.to_owned(), seq };
    let gap = (1..).zip(&journal.records).find(|(seq, record)| *seq != record.seq);
    let mut after_end = journal.records.iter().skip_while(|record| !matches!(record.event, Event::Ended(_))).skip(1);
    gap.map(|(seq, _)| broken(seq)).or_else(|| after_end.next().map(|record| broken(record.seq)))
}
