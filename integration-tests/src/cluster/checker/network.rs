//! The rules about NATS: clients have replies, drains fail no short request, and clusters do not mix.

use super::violation::Violation;
use crate::cluster::foreign::FOREIGN_POD;
use crate::cluster::history::{ForeignReport, History, RequestCounts};

/// Of so many requests, at most one may have no final reply.
const REQUESTS_PER_LOSS: usize = 1_000;

pub(super) fn check(history: &History) -> Vec<Violation> {
    let RequestCounts { sent, replied, .. } = history.requests;
    let mut violations = Vec::new();
    if history.requests_without_reply() * REQUESTS_PER_LOSS > sent {
        violations.push(Violation::TooFewReplies { sent, replied });
    }
    let failures = history.drains.failures.iter();
    violations.extend(failures.map(|reason| Violation::FailedInDrain { reason: reason.clone() }));
    violations.extend(history.foreign.iter().flat_map(check_foreign));
    violations
}

/// The second cluster has exactly the runs that its own clients have started, and only its own pod has joined it.
fn check_foreign(foreign: &ForeignReport) -> Vec<Violation> {
    let runs = foreign.accepted.symmetric_difference(&foreign.runs).cloned();
    let pods = foreign.pods.iter().filter(|pod| !pod.starts_with(FOREIGN_POD)).cloned();
    runs.chain(pods).map(|id| Violation::ClustersMixed { id }).collect()
}
