//! What a run of the harness has observed: the input of the checker. All of it is evidence from outside of the product,
//! except for the journals and the rows of the pods, which are read from the database.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::moment::{Moment, Window};

/// Everything that was observed.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The runs that a pod has accepted: a client has a reply with the id.
    pub accepted: BTreeSet<String>,
    /// The journals of all runs, also of those that runs have called, by the id of the run.
    pub journals: BTreeMap<String, RunJournal>,
    /// The log of the model server.
    pub calls: Vec<ModelCall>,
    /// The faults that a pod does not survive.
    pub faults: Vec<PodFault>,
    /// The pods that others have declared dead.
    pub deaths: Vec<PodDeath>,
    /// The budget of each user who has one, in millionths of a US dollar.
    pub budgets: BTreeMap<String, u64>,
    /// What `greenroom audit verify` reports.
    pub audit: AuditReport,
    /// The requests over NATS.
    pub requests: RequestCounts,
    /// The requests while pods were drained.
    pub drains: DrainCounts,
    /// What the second cluster on the same NATS has.
    pub foreign: Option<ForeignReport>,
}

/// The journal of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunJournal {
    /// The run that no run called; the run itself, if that is so.
    pub root: String,
    /// The user whose run it is.
    pub owner: String,
    /// The entries, in the order of their numbers.
    pub records: Vec<Record>,
}

impl RunJournal {
    /// The end of the run.
    #[must_use]
    pub fn end(&self) -> Option<&RunEnd> {
        self.records.iter().find_map(|record| match &record.event {
            Event::Ended(end) => Some(end),
            _ => None,
        })
    }
}

/// An entry of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number: 1, 2, 3, ….
    pub seq: u64,
    /// When it became durable.
    pub window: Window,
    /// What it records.
    pub event: Event,
}

/// What an entry of a journal records, as far as the checker needs it. A call is named by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A call starts.
    CallStarted(String),
    /// The result of a call is recorded.
    CallEnded(String),
    /// A call has failed, and will be made again.
    CallRetried(String),
    /// The next owner continues the run.
    Resumed,
    /// The run has ended.
    Ended(RunEnd),
    /// Anything else.
    Other,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// The code of its error; `None` for a success.
    pub code: Option<String>,
    /// A part of its cost is a reservation whose actual usage is unknown.
    pub is_estimated: bool,
}

/// A request that has arrived at the model server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCall {
    /// Its idempotency key.
    pub key: String,
    /// When it had arrived as a whole.
    pub arrived_at: Moment,
    /// What the server charges for it in millionths of a US dollar, whether its client waits for the answer or not.
    pub cost_micro_usd: u64,
}

/// How a pod is taken out of action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageKind {
    /// `kill -9`.
    Kill,
    /// SIGSTOP, and later SIGCONT.
    Freeze,
    /// Its connections to PostgreSQL are closed, and new ones too.
    Cut,
    /// Its connections to PostgreSQL remain open, and no byte passes.
    Silence,
    /// SIGTERM. The pod ends its requests, and releases its runs.
    Drain,
    /// It was not given the time to renew its lease, although nothing was done to it: the machine was too busy.
    Starvation,
}

impl OutageKind {
    /// True if an outage takes a pod that was working, at a moment that the harness has chosen.
    #[must_use]
    pub const fn is_sudden(self) -> bool {
        match self {
            Self::Kill | Self::Freeze | Self::Cut | Self::Silence => true,
            Self::Drain | Self::Starvation => false,
        }
    }
}

impl fmt::Display for OutageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill -9",
            Self::Freeze => "SIGSTOP",
            Self::Cut => "cut from PostgreSQL",
            Self::Silence => "half-open to PostgreSQL",
            Self::Drain => "SIGTERM",
            Self::Starvation => "starved",
        })
    }
}

/// A fault that a pod does not survive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFault {
    /// The row of the pod's start.
    pub pod: i64,
    /// What was done to it.
    pub kind: OutageKind,
    /// When.
    pub at: Moment,
    /// When it ended. A frozen process continues from then on.
    pub healed_at: Option<Moment>,
    /// The trees of runs that the pod owned.
    pub trees: Vec<OwnedTree>,
}

/// A tree of runs that a pod owned, with the last entry of each run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnedTree {
    /// The run that no run called.
    pub root: String,
    /// The number of the last entry of each run of the tree.
    pub seqs: BTreeMap<String, u64>,
}

/// A pod whose row is dead: another one has declared it so, or it has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodDeath {
    /// The row of the pod's start.
    pub pod: i64,
    /// The id of the pod's start.
    pub name: String,
    /// When its row changed.
    pub window: Window,
    /// It had renewed its lease last after this moment.
    pub renewed_after: Moment,
    /// The trees of runs that it owned then.
    pub trees: Vec<OwnedTree>,
}

/// What `greenroom audit verify` reports, by a pod and with the public key only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditReport {
    /// Every chain is valid, for both.
    pub is_valid: bool,
    /// The records of all chains.
    pub records: u64,
}

/// Requests of the clients over NATS that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestCounts {
    /// All of them.
    pub sent: usize,
    /// Those with a final reply.
    pub replied: usize,
    /// Those for which one call of the client was not enough.
    pub repeated: usize,
}

/// Requests that are shorter than the bound of a drain, while pods were drained.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainCounts {
    /// All of them.
    pub requests: usize,
    /// Those for which one call of the client was not enough.
    pub repeated: usize,
    /// Why some have failed.
    pub failures: Vec<String>,
}

impl DrainCounts {
    /// Adds the requests during another drain.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.repeated += other.repeated;
        self.failures.extend(other.failures);
    }
}

/// What the second cluster has in its database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForeignReport {
    /// The runs that its clients have started.
    pub accepted: BTreeSet<String>,
    /// All runs.
    pub runs: BTreeSet<String>,
    /// The ids of the starts of its pods.
    pub pods: Vec<String>,
}

impl History {
    /// Requests without a final reply. Nothing is known of what they have caused.
    #[must_use]
    pub const fn requests_without_reply(&self) -> usize {
        self.requests.sent.saturating_sub(self.requests.replied)
    }

    /// The owner of a run, if a budget limits it. Such a run may fail.
    #[must_use]
    pub fn payer_of(&self, run: &str) -> Option<&str> {
        let owner = self.journals.get(run).map(|journal| journal.owner.as_str());
        owner.filter(|owner| self.budgets.contains_key(*owner))
    }

    /// The faults that others have noticed.
    pub fn deadly_faults(&self) -> impl Iterator<Item = &PodFault> {
        let dead: BTreeSet<i64> = self.deaths.iter().map(|death| death.pod).collect();
        self.faults.iter().filter(move |fault| dead.contains(&fault.pod))
    }
}
