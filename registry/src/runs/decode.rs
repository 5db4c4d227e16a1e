//! The record of a run and the entries of its journal from rows, the same for every database: their queries name the
//! columns alike.

use greenroom_protocol as protocol;
use protocol::journal::Entry;
use protocol::{Reply, RunId};

use crate::columns::{Columns, from_int};
use crate::error::StoreError;
use crate::journal::{JournalRecord, Seq};
use crate::runs::record::parse_status;
use crate::runs::{Fence, RunPage, RunRecord};

/// Decodes a run's number and its record.
pub(crate) fn decode_record(row: &impl Columns) -> Result<(i64, RunRecord), StoreError> {
    let status = row.text("status")?;
    let unknown_status = || StoreError::Codec(format!("a run has the unknown status {status:?}"));
    let record = RunRecord {
        run: row.id("run")?,
        owner: row.principal()?,
        workflow: row.id("workflow")?,
        version: row.hash("version")?,
        team: row.optional_id("team")?,
        parent: row.optional_id("parent")?,
        root: row.id("root")?,
        request_hash: row.hash("request_hash")?,
        personal_data: row.int("personal_data")? != 0,
        status: parse_status(status).ok_or_else(unknown_status)?,
        pending_approvals: u32::try_from(row.int("pending_approvals")?).unwrap_or_default(),
        fence: Fence(row.number("fence")?),
        pod: row.id("pod")?,
        failures: u32::try_from(row.int("failures")?).unwrap_or(u32::MAX),
        seq: Seq(from_int(row.int("seq")?)),
        created: row.timestamp("created")?,
        updated: row.timestamp("updated")?,
    };
    Ok((row.int("number")?, record))
}

/// Decodes a page of runs, of which one more than `limit` was read.
pub(crate) fn decode_page(rows: &[impl Columns], limit: u32) -> Result<RunPage, StoreError> {
    let mut records = rows.iter().map(decode_record).collect::<Result<Vec<_>, _>>()?;
    let is_more = records.len() > limit as usize;
    records.truncate(limit as usize);
    let next = records.last().filter(|_| is_more).and_then(|(number, _)| u64::try_from(*number).ok());
    Ok(RunPage { runs: records.into_iter().map(|(_, record)| record).collect(), next })
}

/// Decodes an entry of a journal.
pub(crate) fn decode_entry(row: &impl Columns) -> Result<JournalRecord, StoreError> {
    let entry = Entry::from_stored(row.text("entry")?)?;
    Ok(JournalRecord { seq: Seq(row.number("seq")?), at: row.timestamp("at")?, entry })
}

/// The reply of a run that has ended, from the last entry of its journal.
pub(crate) fn decode_reply(run: &RunId, last_entry: &str) -> Result<Reply, StoreError> {
    match Entry::from_stored(last_entry)? {
        Entry::RunEnded { reply } => Ok(*reply),
        _ => Err(StoreError::Codec(format!("the run {run} has ended, but its journal has no end"))),
    }
}
