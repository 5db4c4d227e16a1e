//! The rules about calls of the model: the log of its server against the journals.

use std::collections::BTreeMap;
use std::time::Duration;

use super::violation::Violation;
use crate::cluster::history::{Event, History, OutageKind, PodFault, Record, RunJournal};
use crate::cluster::moment::{Moment, Window};
use crate::cluster::workload::is_placed;

/// How long a process that was frozen, or had no time, may need to send the rest of a request after it continues.
const THAWED_SEND_MAX: Duration = Duration::from_secs(5);

/// The result of the rules.
#[derive(Debug, Default)]
pub(super) struct CallFindings {
    pub(super) violations: Vec<Violation>,
    pub(super) repeated_in_flight: usize,
    pub(super) repeated_recorded: usize,
}

/// What a journal has of a call.
struct RecordedCall<'h> {
    root: &'h str,
    started: Window,
    ended: Option<Window>,
    /// How often the next owner has continued the run while the call was in flight.
    resumptions: usize,
    retries: usize,
    /// True if any pod may have executed the call, and not only the owner of its run.
    is_placed: bool,
}

impl RecordedCall<'_> {
    /// True if the pod of the fault owned the call, or may have executed it, while it was in flight.
    fn is_in_flight_at(&self, fault: &PodFault) -> bool {
        (self.is_placed || fault.trees.iter().any(|tree| tree.root == self.root))
            && self.started.absent_at <= fault.at
            && self.ended.is_none_or(|ended| fault.at <= ended.present_at)
    }

    /// True if a request was in flight when its pod was frozen or had no time, and the pod has sent the rest of it when it
    /// continued.
    fn is_thawed(&self, history: &History, arrived_at: Moment) -> bool {
        history.deadly_faults().any(|fault| {
            let thawed_at = fault.healed_at.filter(|_| is_paused(fault.kind));
            let is_rest = |thawed_at: Moment| thawed_at <= arrived_at && arrived_at <= thawed_at.plus(THAWED_SEND_MAX);
            thawed_at.is_some_and(is_rest) && self.is_in_flight_at(fault)
        })
    }
}

/// True if the process continues afterwards with what it had begun to send.
const fn is_paused(kind: OutageKind) -> bool {
    match kind {
        OutageKind::Freeze | OutageKind::Starvation => true,
        OutageKind::Kill | OutageKind::Cut | OutageKind::Silence | OutageKind::Drain => false,
    }
}

pub(super) fn check(history: &History) -> CallFindings {
    let recorded = recorded_calls(history);
    let mut arrivals: BTreeMap<&str, Vec<Moment>> = BTreeMap::new();
    for call in &history.calls {
        arrivals.entry(&call.key).or_default().push(call.arrived_at);
    }
    let mut findings = CallFindings::default();
    for (key, arrivals) in arrivals {
        match recorded.get(key) {
            Some(call) => check_call(history, key, call, &arrivals, &mut findings),
            None => findings.violations.push(Violation::UnknownCall { key: key.to_owned() }),
        }
    }
    findings
}

fn check_call(history: &History, key: &str, call: &RecordedCall<'_>, arrivals: &[Moment], findings: &mut CallFindings) {
    let is_recorded_at = |arrived_at: Moment| call.ended.is_some_and(|ended| ended.present_at < arrived_at);
    let repeated = arrivals.iter().filter(|arrived_at| is_recorded_at(**arrived_at));
    let repeated: Vec<Moment> = repeated.copied().filter(|arrived_at| !call.is_thawed(history, *arrived_at)).collect();
    findings.repeated_recorded += repeated.len();
    let violation = |arrived_at| Violation::RecordedCallRepeated { key: key.to_owned(), arrived_at };
    findings.violations.extend(repeated.iter().copied().map(violation));

    let deaths = history.deadly_faults().filter(|fault| call.is_in_flight_at(fault)).count();
    // The owner that lives has another pod repeat a call whose pod has died, and its run is not resumed.
    let deaths_max = if call.is_placed { deaths } else { deaths.min(call.resumptions) };
    let calls_max = 1 + call.retries + deaths_max;
    if arrivals.len() > calls_max {
        let calls = arrivals.len();
        findings.violations.push(Violation::RepeatedTooOften { key: key.to_owned(), calls, calls_max });
    }
    let orphans = arrivals.len().saturating_sub(1 + call.retries);
    findings.repeated_in_flight += orphans.saturating_sub(repeated.len());
    let end = history.journals.get(call.root).and_then(RunJournal::end);
    // Also of a placed call: the ledger of the run has what the pod had reserved that died with it.
    if orphans > 0 && end.is_some_and(|end| !end.is_estimated) {
        findings.violations.push(Violation::OrphanNotEstimated { run: call.root.to_owned(), key: key.to_owned() });
    }
}

/// The calls of all journals.
fn recorded_calls(history: &History) -> BTreeMap<&str, RecordedCall<'_>> {
    let mut calls = BTreeMap::new();
    for journal in history.journals.values() {
        let mut of_run: BTreeMap<&str, RecordedCall<'_>> = BTreeMap::new();
        for record in &journal.records {
            add_record(&mut of_run, &journal.root, record);
        }
        calls.extend(of_run);
    }
    calls
}

fn add_record<'h>(calls: &mut BTreeMap<&'h str, RecordedCall<'h>>, root: &'h str, record: &'h Record) {
    match &record.event {
        Event::CallStarted(key) => {
            let started = record.window;
            let is_placed = is_placed(key);
            let call = RecordedCall { root, started, ended: None, resumptions: 0, retries: 0, is_placed };
            calls.entry(key).or_insert(call);
        }
        Event::CallEnded(key) => {
            if let Some(call) = calls.get_mut(key.as_str()) {
                call.ended.get_or_insert(record.window);
            }
        }
        Event::CallRetried(key) => {
            if let Some(call) = calls.get_mut(key.as_str()) {
                call.retries += 1;
            }
        }
        Event::Resumed => {
            calls.values_mut().filter(|call| call.ended.is_none()).for_each(|call| call.resumptions += 1);
        }
        Event::Ended(_) | Event::Other => {}
    }
}
