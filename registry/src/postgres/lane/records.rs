//! The records of the runs that a lane writes, so that a run that is being written is read once. The database decides
//! what is taken; what an append changes of a record is computed here, from the record before it.

use std::collections::HashMap;

use greenroom_protocol::RunId;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;
use crate::journal::Seq;
use crate::postgres::connection::{STATEMENT_TIMEOUT, in_time};
use crate::postgres::runs::row::select_records;
use crate::runs::decode::decode_record;
use crate::runs::{Fence, RunRecord};

/// Records that are cached between batches.
const CACHED_RECORDS_MAX: usize = 50_000;

/// The record of a run after a unit.
pub(in crate::postgres) struct NextRun {
    /// The number of the run; none if the unit creates it.
    pub(in crate::postgres) number: Option<i64>,
    pub(in crate::postgres) record: RunRecord,
}

/// The records of the runs that a lane writes, with their numbers.
#[derive(Default)]
pub(in crate::postgres) struct RecordCache(HashMap<RunId, (i64, RunRecord)>);

impl RecordCache {
    /// The number and the record of a run, if it is that after this entry of this owner.
    pub(in crate::postgres) fn at(&self, run: &RunId, fence: Fence, after: Seq) -> Option<&(i64, RunRecord)> {
        self.0.get(run).filter(|(_, record)| record.fence == fence && record.seq == after)
    }

    /// Reads runs that are not cached as they have to be.
    pub(in crate::postgres) async fn prefetch(
        &mut self,
        connection: &mut PgConnection,
        runs: &[&str],
    ) -> Result<(), StoreError> {
        let reading = sqlx::query(select_records!("WHERE r.run = ANY ($1)")).bind(runs).fetch_all(connection);
        let rows = in_time(STATEMENT_TIMEOUT, reading).await?;
        for row in &rows {
            let (number, record) = decode_record(row)?;
            self.insert(number, record);
        }
        Ok(())
    }

    /// Stores the record of a run that may be written again. A run that has ended is not.
    pub(in crate::postgres) fn insert(&mut self, number: i64, record: RunRecord) {
        if record.status.is_terminal() {
            self.0.remove(&record.run);
            return;
        }
        if self.0.len() >= CACHED_RECORDS_MAX {
            self.0.clear();
        }
        self.0.insert(record.run.clone(), (number, record));
    }
}
