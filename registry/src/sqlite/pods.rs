//! The pods that have owned the store. One process owns the file at a time, so when it is opened, every other pod is
//! dead; the times of their last activity remain, because a run was not paused while its owner was active.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{PodId, Timestamp};
use rusqlite::Connection;

use crate::error::StoreError;
use crate::group_commit::LINGER;
use crate::sqlite::columns::{Columns as _, select};
use crate::sqlite::command::WriteCommand;
use crate::sqlite::commit::Commit;
use crate::sqlite::statement_batch::StatementBatch;
use crate::sqlite::writer_state::WriterState;

/// How exactly the last activity of a pod is known after its process has ended.
const ACTIVE_INTERVAL: Duration = Duration::from_secs(5);

const INSERT_POD: &str = "INSERT INTO pods (pod, started_at, active_at, dead) VALUES (?, ?, ?, 0)";
const MARK_DEAD: &str = "UPDATE pods SET dead = 1 WHERE pod <> ?";
/// A pod without a run that has not ended is of no interest any more.
const DELETE_PODS: &str = "DELETE FROM pods WHERE dead = 1 AND pod NOT IN (SELECT pod FROM runs WHERE ended = 0)";
const UPDATE_ACTIVE: &str = "UPDATE pods SET active_at = max(active_at, ?) WHERE pod = ?";

/// This pod, and the pods before it.
#[derive(Debug)]
pub(super) struct Pods {
    pod: PodId,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    /// When the pods before this one were last active.
    dead: HashMap<PodId, Timestamp>,
    /// When the activity of this pod was last recorded.
    recorded_at: Option<Timestamp>,
}

impl Pods {
    pub(super) fn new(pod: PodId) -> Self {
        Self { pod, times: Mutex::default() }
    }

    /// This pod.
    pub(super) const fn own(&self) -> &PodId {
        &self.pod
    }

    /// When a pod before this one was last active; `None` if it is not known.
    pub(super) fn last_active(&self, pod: &PodId) -> Option<Timestamp> {
        self.times().dead.get(pod).copied()
    }

    /// True if the activity of this pod has to be recorded now.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let mut times = self.times();
        let is_due = times.recorded_at.is_none_or(|at| now.saturating_duration_since(at) >= ACTIVE_INTERVAL);
        if is_due {
            times.recorded_at = Some(now);
        }
        is_due
    }

    /// Reads the pods before this one, and adds the statements by which it replaces them.
    pub(super) fn start(
        &self,
        conn: &Connection,
        now: Timestamp,
        statements: &mut StatementBatch,
    ) -> Result<(), StoreError> {
        let rows = select(conn, "SELECT pod, active_at FROM pods", [], |row| {
            Ok((row.id::<PodId>("pod")?, row.timestamp("active_at")?))
        })?;
        self.times().dead = rows.into_iter().filter(|(pod, _)| *pod != self.pod).collect();
        let pod = || self.pod.as_str().into();
        statements.add(MARK_DEAD, vec![pod()]);
        statements.add(DELETE_PODS, Vec::new());
        statements.add(INSERT_POD, vec![pod(), now.as_micros().into(), now.as_micros().into()]);
        Ok(())
    }

    /// Adds the statement that records that this pod is active.
    pub(super) fn record_active(&self, now: Timestamp, statements: &mut StatementBatch) {
        statements.add(UPDATE_ACTIVE, vec![now.as_micros().into(), self.pod.as_str().into()]);
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records that this pod is active.
pub(super) struct RecordActive {
    pub(super) now: Timestamp,
}

impl WriteCommand for RecordActive {
    type Output = ();
    type Error = StoreError;

    fn max_delay(&self) -> Duration {
        LINGER
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        state.shared.pods.record_active(self.now, &mut commit.statements);
        Ok(())
    }
}
