//! The pods of one database: the processes that own it one after the other, each with an id of its own and with the
//! time in which it was active.
//!
//! One process owns the file at a time, so every other pod is dead when it is opened. Its death is recorded before what
//! it has left open is settled, released and closed. What remains of it is until when it was active, to a few seconds,
//! for as long as it is the last owner of a run that has not ended.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{PodId, Timestamp};
use rusqlite::Connection;

use crate::error::StoreError;
use crate::runs::OwnerActivity;
use crate::sqlite::columns::{Columns as _, select};
use crate::sqlite::statement_batch::StatementBatch;

/// How often the activity of the pod is recorded, and so how exactly it is known after a crash.
const RECORD_INTERVAL: Duration = Duration::from_secs(5);

const SELECT_PODS: &str = "SELECT pod, started_at, active_at FROM pods";
const MARK_DEAD: &str = "UPDATE pods SET dead = 1 WHERE pod <> ?";
const INSERT_POD: &str = "INSERT INTO pods (pod, started_at, active_at, dead) VALUES (?, ?, ?, 0)";
const DELETE_PODS: &str = "DELETE FROM pods WHERE dead = 1 AND pod NOT IN (SELECT pod FROM runs WHERE ended = 0)";
const UPDATE_ACTIVE: &str = "UPDATE pods SET active_at = MAX(active_at, ?) WHERE pod = ?";

/// This pod, and the pods before it.
#[derive(Debug)]
pub(super) struct Pods {
    own: PodId,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    /// When the pods before this one were active.
    dead: HashMap<PodId, OwnerActivity>,
    /// When the activity of this pod was recorded last.
    recorded_at: Option<Timestamp>,
}

impl Pods {
    pub(super) fn new(own: PodId) -> Self {
        Self { own, times: Mutex::default() }
    }

    /// This pod.
    pub(super) const fn own(&self) -> &PodId {
        &self.own
    }

    /// True for a pod that does not own the file any more. Its row may be deleted already.
    pub(super) fn is_dead(&self, pod: &PodId) -> bool {
        *pod != self.own
    }

    /// When a pod before this one was active; `None` if that is not known.
    pub(super) fn activity_of_dead(&self, pod: &PodId) -> Option<OwnerActivity> {
        self.times().dead.get(pod).copied()
    }

    /// Reads the pods before this one, and adds the statements by which they are dead and this one is alive.
    pub(super) fn begin(
        &self,
        conn: &Connection,
        now: Timestamp,
        statements: &mut StatementBatch,
    ) -> Result<(), StoreError> {
        let dead: HashMap<_, _> = select(conn, SELECT_PODS, [], |row| {
            let activity = OwnerActivity { since: row.timestamp("started_at")?, until: row.timestamp("active_at")? };
            Ok((row.id::<PodId>("pod")?, activity))
        })?
        .into_iter()
        .collect();
        if dead.contains_key(&self.own) {
            // What it has left open could not be distinguished from what it does.
            return Err(StoreError::Failed(format!("the pod {} has owned the database before", self.own)));
        }
        let (own, now_micros) = (self.own.as_str(), now.as_micros());
        statements.add(MARK_DEAD, vec![own.into()]);
        statements.add(INSERT_POD, vec![own.into(), now_micros.into(), now_micros.into()]);
        statements.add(DELETE_PODS, Vec::new());
        *self.times() = Times { dead, recorded_at: Some(now) };
        Ok(())
    }

    /// True if the activity of this pod has to be recorded now; the caller records it. If that fails, it is due again
    /// after the interval.
    pub(super) fn take_due(&self, now: Timestamp) -> bool {
        let mut times = self.times();
        let is_due = times.recorded_at.is_none_or(|at| now.saturating_duration_since(at) >= RECORD_INTERVAL);
        if is_due {
            times.recorded_at = Some(now);
        }
        is_due
    }

    /// Adds the statement that records that this pod is active.
    pub(super) fn record_active(&self, now: Timestamp, statements: &mut StatementBatch) {
        statements.add(UPDATE_ACTIVE, vec![now.as_micros().into(), self.own.as_str().into()]);
    }

    /// Locks the times. A poisoned lock is still consistent: each value is changed in one step.
    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_activity_of_a_pod_is_recorded_once_in_each_interval() {
        let pods = Pods::new(PodId::new("pod_1").unwrap());
        let is_due = |seconds| pods.take_due(Timestamp::from_micros(0).saturating_add(Duration::from_secs(seconds)));
        assert_eq!([0, 1, 4, 5, 9, 3, 10].map(is_due), [true, false, false, true, false, false, true]);
    }
}
