//! The result of a check, as a table.

use std::fmt;
use std::time::Duration;

use super::violation::Violation;
use crate::cluster::history::{AuditReport, RequestCounts};

/// Violations that a report prints; the first ones explain the others.
const PRINTED_MAX: usize = 20;

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Runs that a pod has accepted.
    pub accepted: usize,
    /// Accepted runs that have succeeded. A run with a budget may be refused by it.
    pub successes: usize,
    /// Accepted runs that another owner has continued.
    pub resumed: usize,
    /// Requests that have arrived at the model server.
    pub calls: usize,
    /// Calls in flight at a death that have arrived again.
    pub repeated_in_flight: usize,
    /// Calls that have arrived after their result was recorded.
    pub repeated_recorded: usize,
    /// From a fault to the next entry of each tree of the pod; `None` if no pod owned one.
    pub resumption: Option<Percentiles>,
    /// Pods that were declared dead because the machine gave them no time to renew their leases.
    pub starved: usize,
    /// The requests over NATS.
    pub requests: RequestCounts,
    /// Short requests while pods were drained.
    pub drained_requests: usize,
    /// Those of them for which one call of the client was not enough.
    pub drained_repeated: usize,
    /// Runs of the second cluster on the same NATS.
    pub foreign_runs: Option<usize>,
    /// What `greenroom audit verify` reports.
    pub audit: AuditReport,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audit = if self.audit.is_valid { "yes" } else { "no" };
        let mut rows = vec![
            ("accepted runs", self.accepted.to_string()),
            ("successes", self.successes.to_string()),
            ("runs resumed", self.resumed.to_string()),
            ("calls of the model", self.calls.to_string()),
            ("calls in flight at a death, repeated", self.repeated_in_flight.to_string()),
            ("recorded calls repeated", self.repeated_recorded.to_string()),
            ("from a fault to the resumption", self.resumption.map_or_else(|| "–".to_owned(), |each| each.to_string())),
            ("pods without time for their lease", self.starved.to_string()),
        ];
        let RequestCounts { sent, replied, repeated } = self.requests;
        if sent > 0 {
            rows.push(("requests over NATS", format!("{sent}, with a final reply {replied}, repeated {repeated}")));
        }
        if let Some(foreign_runs) = self.foreign_runs {
            rows.extend([
                (
                    "short requests during drains",
                    format!("{}, repeated {}", self.drained_requests, self.drained_repeated),
                ),
                ("runs of the second cluster", foreign_runs.to_string()),
            ]);
        }
        rows.extend([
            ("audit verified", format!("{audit}, {} records", self.audit.records)),
            ("violations", self.violations.len().to_string()),
        ]);
        for (name, value) in rows {
            writeln!(f, "{name:38} {value}")?;
        }
        for violation in self.violations.iter().take(PRINTED_MAX) {
            writeln!(f, "  {violation}")?;
        }
        Ok(())
    }
}

/// Percentiles of durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percentiles {
    /// The median.
    pub p50: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The largest one.
    pub max: Duration,
}

impl Percentiles {
    /// The percentiles of these durations; `None` of none.
    #[must_use]
    pub fn from_durations(mut durations: Vec<Duration>) -> Option<Self> {
        durations.sort_unstable();
        let count = durations.len();
        // The nearest rank: the smallest duration that so many are not above.
        let percentile = |percent: usize| durations.get((count * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self { p50: percentile(50)?, p99: percentile(99)?, max: *durations.last()? })
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.1?}, p99 {:.1?}, max {:.1?}", self.p50, self.p99, self.max)
    }
}
