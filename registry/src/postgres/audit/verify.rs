//! Verifies the chains of a database: reads one snapshot, beside whatever is written meanwhile.

use sqlx::Connection as _;
use sqlx::postgres::{PgConnection, PgRow};

use crate::audit::ChainKey;
use crate::audit::chain::ChainRow;
use crate::audit::chains::RootVerifier;
use crate::audit::verify::ChainReport;
use crate::columns::{Columns as _, to_int};
use crate::error::StoreError;
use crate::postgres::connection::{PAGE_TIMEOUT, STATEMENT_TIMEOUT, in_time};
use crate::postgres::identity::Identity;

/// Records that are read at once.
const BATCH_RECORDS: i64 = 4_096;
/// Begins a transaction that reads one snapshot.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const SELECT_ROOT: &str = "SELECT number, hash, record FROM audit_root WHERE number > $1 ORDER BY number LIMIT $2";
const SELECT_RECORDS: &str = "SELECT chain, number, hash, record FROM audit \
                              WHERE (chain, number) > ($1, $2) ORDER BY chain, number LIMIT $3";

/// Verifies the audit of a database.
pub(in crate::postgres) async fn verify(
    connection: &mut PgConnection,
    key: &ChainKey,
) -> Result<ChainReport, StoreError> {
    // A head is saved after its record is durable, so the snapshot, which is taken later, has the record.
    let saved = key.load_head()?;
    let mut snapshot = in_time(STATEMENT_TIMEOUT, connection.begin_with(BEGIN)).await?;
    let identity = Identity::fetch(&mut snapshot).await?;
    identity.check(key, saved.as_ref())?;
    let mut root = RootVerifier::new(key, identity.database, saved.map(|saved| saved.head));
    verify_root(&mut snapshot, &mut root, 0).await?;
    let pruned_head = root.pruned_head();
    let mut chains = root.finish();
    let mut after = FIRST;
    loop {
        let rows = read_records(&mut snapshot, after).await?;
        let Some((chain, row)) = rows.last() else { break };
        after = (to_int(*chain), to_int(row.number));
        rows.iter().for_each(|(chain, row)| chains.add(*chain, row));
    }
    let report = chains.finish();
    match pruned_head {
        Some((signed, first)) if report.is_valid() => Err(StoreError::HeadPruned { signed, first }),
        Some(_) | None => Ok(report),
    }
}

/// Verifies the records of the root chain after this number, and returns the number of the last one.
pub(super) async fn verify_root(
    connection: &mut PgConnection,
    root: &mut RootVerifier<'_>,
    mut after: u64,
) -> Result<u64, StoreError> {
    loop {
        let rows = read_root(connection, after).await?;
        let Some(last) = rows.last() else { return Ok(after) };
        after = last.number;
        rows.iter().for_each(|row| root.add(row));
    }
}

/// The position before the first record of the first chain: the numbers of chains begin with 0.
pub(super) const FIRST: (i64, i64) = (-1, 0);

/// Reads records of the root chain after one.
pub(super) async fn read_root(connection: &mut PgConnection, after: u64) -> Result<Vec<ChainRow>, StoreError> {
    let reading = sqlx::query(SELECT_ROOT).bind(to_int(after)).bind(BATCH_RECORDS).fetch_all(connection);
    let rows = in_time(PAGE_TIMEOUT, reading).await?;
    rows.iter().map(decode_row).collect()
}

/// Reads records of all chains after one of a chain, each with its chain.
pub(super) async fn read_records(
    connection: &mut PgConnection,
    (chain, number): (i64, i64),
) -> Result<Vec<(u64, ChainRow)>, StoreError> {
    let reading = sqlx::query(SELECT_RECORDS).bind(chain).bind(number).bind(BATCH_RECORDS).fetch_all(connection);
    let rows = in_time(PAGE_TIMEOUT, reading).await?;
    rows.iter().map(|row| Ok((row.number("chain")?, decode_row(row)?))).collect()
}

fn decode_row(row: &PgRow) -> Result<ChainRow, StoreError> {
    Ok(ChainRow { number: row.number("number")?, hash: row.hash("hash")?, record: row.text("record")?.to_owned() })
}
