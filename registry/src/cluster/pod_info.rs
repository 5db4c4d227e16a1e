//! What the pods of a database show of themselves, and which format of the journals they have agreed on.

use greenroom_protocol as protocol;
use protocol::PodId;
use serde::Serialize;

/// The oldest version of journals that this release reads.
pub const JOURNAL_VERSION_MIN: u32 = 1;
/// The newest version of journals that this release reads, and writes once it is finalized. Version 2 has waits, and
/// approvals of calls of tools.
pub const JOURNAL_VERSION: u32 = 2;

/// A pod whose lease has not expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodInfo {
    /// The id of this start of the pod.
    pub pod: PodId,
    /// Its release.
    pub version: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// How many trees of runs it accepts at once; zero if that is not bounded.
    pub capacity: u32,
    /// How many trees of runs it owns.
    pub trees: u64,
    /// The oldest and the newest version of journals that it reads.
    pub reads: (u32, u32),
    /// Milliseconds since it has renewed its lease.
    pub lease_age_ms: u64,
    /// Milliseconds until its lease expires.
    pub expires_in_ms: u64,
}

/// The format that may be written to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClusterFormat {
    /// The newest version of journals that may be written.
    pub journal_version: u32,
    /// When it was finalized, in microseconds since 1970-01-01, UTC; `None` for the first one.
    pub finalized_at: Option<i64>,
}

/// What a finalization has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Finalized {
    /// This version may be written from now on.
    Done(ClusterFormat),
    /// It could be written before.
    Unchanged(ClusterFormat),
    /// These pods that are alive do not read it, so nothing has changed.
    Refused {
        /// The pods.
        pods: Vec<PodId>,
    },
}
