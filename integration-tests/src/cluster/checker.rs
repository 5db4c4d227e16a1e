//! Checks what is promised of pods that share a database, in one pure function over what was observed: every accepted
//! run ends, no recorded call is made again, a call in flight at a death is made again at most once for each death, no
//! budget is overspent, every chain verifies, and a tree without an owner is resumed in time. Over NATS, clients have
//! replies, no short request fails while pods are drained, and another cluster on the same server receives nothing.

mod calls;
mod network;
pub mod report;
mod resumption;
mod runs;
#[cfg(test)]
mod tests;
pub mod violation;

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::{Event, History, OutageKind};
use report::{Percentiles, Report};
use violation::Violation;

/// Bounds that depend on the machine.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From a fault to the next entry of a tree of the pod, for 99 of 100 trees.
    pub resumption_max: Duration,
}

/// Checks a history.
#[must_use]
pub fn check(history: &History, bounds: Bounds) -> Report {
    let mut violations = runs::check(history);
    let calls = calls::check(history);
    violations.extend(calls.violations);
    violations.extend(check_budgets(history));
    violations.extend(check_deaths(history));
    violations.extend(network::check(history));
    if !history.audit.is_valid {
        violations.push(Violation::AuditInvalid);
    }
    let resumption = Percentiles::from_durations(resumption::latencies(history));
    if let Some(slow) = resumption.filter(|percentiles| percentiles.p99 > bounds.resumption_max) {
        violations.push(Violation::ResumedSlowly { p99: slow.p99, max: bounds.resumption_max });
    }
    Report {
        accepted: history.accepted.len(),
        successes: runs::successes(history),
        resumed: resumed_runs(history),
        calls: history.calls.len(),
        repeated_in_flight: calls.repeated_in_flight,
        repeated_recorded: calls.repeated_recorded,
        resumption,
        starved: history.deadly_faults().filter(|fault| fault.kind == OutageKind::Starvation).count(),
        requests: history.requests,
        drained_requests: history.drains.requests,
        drained_repeated: history.drains.repeated,
        foreign_runs: history.foreign.as_ref().map(|foreign| foreign.accepted.len()),
        audit: history.audit,
        violations,
    }
}

/// The accepted runs that another owner has continued.
fn resumed_runs(history: &History) -> usize {
    let is_resumed = |run: &str| {
        let journal = history.journals.get(run);
        journal.is_some_and(|journal| journal.records.iter().any(|record| record.event == Event::Resumed))
    };
    history.accepted.iter().filter(|run| is_resumed(run)).count()
}

/// What the model server has charged for the runs of a budget is within it.
fn check_budgets(history: &History) -> Vec<Violation> {
    let mut charged: BTreeMap<&str, u64> = BTreeMap::new();
    for call in &history.calls {
        // The key of a call begins with its run.
        let run = call.key.split('/').next().unwrap_or_default();
        if let Some(payer) = history.payer_of(run) {
            *charged.entry(payer).or_default() += call.cost_micro_usd;
        }
    }
    let spent = history.budgets.iter().map(|(payer, limit)| (payer, charged.get(payer.as_str()).copied(), *limit));
    let spent = spent.map(|(payer, charged, limit)| (payer, charged.unwrap_or_default(), limit));
    let overspent = spent.filter(|(_, charged, limit)| charged > limit);
    overspent.map(|(payer, charged, limit)| Violation::Overspent { payer: payer.clone(), charged, limit }).collect()
}

/// No pod is declared dead that had no fault; a restart of the database is none.
fn check_deaths(history: &History) -> Vec<Violation> {
    let is_explained = |pod: i64| history.faults.iter().any(|fault| fault.pod == pod);
    let unexplained = history.deaths.iter().filter(|death| !is_explained(death.pod));
    unexplained.map(|death| Violation::UnexplainedDeath { pod: death.name.clone() }).collect()
}
