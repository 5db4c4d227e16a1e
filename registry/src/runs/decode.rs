//! The record of a run from a row, the same for every database: their queries name the columns alike.

use crate::columns::{Columns, from_int};
use crate::error::StoreError;
use crate::journal::Seq;
use crate::runs::record::parse_status;
use crate::runs::{Fence, RunRecord};

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
