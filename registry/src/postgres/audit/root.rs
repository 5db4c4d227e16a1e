//! Appending to the root chain, whose records the database links, and comparing it with what this pod has signed.

use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};
use serde::Deserialize;
use sqlx::postgres::PgConnection;

use crate::audit::ChainKey;
use crate::audit::chain::ChainTip;
use crate::audit::chain_key::SavedHead;
use crate::audit::chains::read_anchor;
use crate::audit::root_chain::RootEvent;
use crate::columns::{Columns as _, to_int};
use crate::error::StoreError;
use crate::postgres::connection::{STATEMENT_TIMEOUT, in_time};

/// The lock under which `greenroom_root_v1` appends.
const ROOT_LOCK: i64 = 7_310_590_842_617_290_001;
/// The first anchor of a root chain that has no record through `$1`. Its condition is that of the index.
const SELECT_FIRST: &str = r#"SELECT number, record FROM audit_root
    WHERE strpos(record, '"event":{"kind":"anchor","part":0,') > 0
      AND NOT EXISTS (SELECT 1 FROM audit_root r WHERE r.number <= $1)
    ORDER BY number LIMIT 1"#;

#[derive(Deserialize)]
struct Appended {
    state: String,
    number: Option<u64>,
    hash: Option<ContentHash>,
}

/// Appends events, and returns the tip of the root chain.
pub(in crate::postgres) async fn append(
    connection: &mut PgConnection,
    pod: i64,
    at: Timestamp,
    events: &[RootEvent],
) -> Result<ChainTip, StoreError> {
    let texts = events.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    let appending = sqlx::query_scalar("SELECT greenroom_root_v1($1, $2, $3, $4)")
        .bind(pod)
        .bind(at.as_micros())
        .bind(at.to_string())
        .bind(texts)
        .fetch_one(connection);
    let result: String = in_time(STATEMENT_TIMEOUT, appending).await?;
    let Appended { state, number, hash } = serde_json::from_str(&result)?;
    match (number, hash) {
        (Some(number), Some(hash)) => Ok(ChainTip { number, hash }),
        _ if state == "dead" => Err(StoreError::PodDead),
        _ => Err(StoreError::Codec("the root chain has no tip".to_owned())),
    }
}

/// Locks the root chain until the end of the transaction.
pub(in crate::postgres) async fn lock_root(connection: &mut PgConnection) -> Result<(), StoreError> {
    let locking = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(ROOT_LOCK).execute(connection);
    in_time(STATEMENT_TIMEOUT, locking).await.map(drop)
}

/// Fails if the root chain does not have the record that was signed last on this pod, unless it is pruned.
pub(in crate::postgres) async fn check_saved(
    connection: &mut PgConnection,
    database: &str,
    key: &ChainKey,
    saved: Option<&SavedHead>,
) -> Result<(), StoreError> {
    let Some(head) = saved.map(|saved| &saved.head).filter(|head| head.number > 0) else { return Ok(()) };
    let reading = sqlx::query("SELECT hash FROM audit_root WHERE number = $1")
        .bind(to_int(head.number))
        .fetch_optional(&mut *connection);
    let row = in_time(STATEMENT_TIMEOUT, reading).await?;
    let number = head.number;
    if row.is_none() && is_pruned(connection, database, key, number).await? {
        tracing::info!(audit.root_signed = number, "the record of the root chain that was signed last here is pruned");
        return Ok(());
    }
    match row {
        Some(row) if row.hash("hash")? == head.hash => Ok(()),
        Some(_) => Err(StoreError::Chain(format!("record {number} of the root chain was signed, but has changed"))),
        None => Err(StoreError::Chain(format!(
            "record {number} of the root chain was signed, but the database does not have it: it is an older copy, or \
             its end was removed"
        ))),
    }
}

/// True if the root chain begins with an anchor after this record. The key has signed the anchor, so it was written when the
/// root chain was longer than when the record was signed.
async fn is_pruned(
    connection: &mut PgConnection,
    database: &str,
    key: &ChainKey,
    number: u64,
) -> Result<bool, StoreError> {
    let reading = sqlx::query(SELECT_FIRST).bind(to_int(number)).fetch_optional(connection);
    let Some(row) = in_time(STATEMENT_TIMEOUT, reading).await? else { return Ok(false) };
    let (first, part) = (row.number("number")?, read_anchor(row.text("record")?));
    Ok(part.is_some_and(|part| part.number.saturating_add(1) == first && part.is_signed_by(key, database)))
}
