//! Appending to the root chain, whose records the database links, and comparing it with what this pod has signed.

use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};
use serde::Deserialize;
use sqlx::postgres::PgConnection;

use crate::audit::chain::ChainTip;
use crate::audit::chain_key::SavedHead;
use crate::audit::root_chain::RootEvent;
use crate::columns::{Columns as _, to_int};
use crate::error::StoreError;
use crate::postgres::connection::{STATEMENT_TIMEOUT, in_time};

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

/// Fails if the root chain does not have the record that was signed last on this pod.
pub(in crate::postgres) async fn check_saved(
    connection: &mut PgConnection,
    saved: Option<&SavedHead>,
) -> Result<(), StoreError> {
    let Some(head) = saved.map(|saved| &saved.head).filter(|head| head.number > 0) else { return Ok(()) };
    let reading = sqlx::query("SELECT hash FROM audit_root WHERE number = $1")
        .bind(to_int(head.number))
        .fetch_optional(connection);
    let row = in_time(STATEMENT_TIMEOUT, reading).await?;
    let number = head.number;
    match row {
        Some(row) if row.hash("hash")? == head.hash => Ok(()),
        Some(_) => Err(StoreError::Chain(format!("record {number} of the root chain was signed, but has changed"))),
        None => Err(StoreError::Chain(format!(
            "record {number} of the root chain was signed, but the database does not have it: it is an older copy, or \
             its end was removed"
        ))),
    }
}
