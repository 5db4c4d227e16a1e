//! Pruning of the root chain. A signed anchor states what the records before it have stated, so those can be removed: once
//! the anchor is older than what is kept, by which time it has been copied to JetStream. The root chain is verified before,
//! as far as it is kept, so an anchor never confirms what another person has written.

use std::collections::BTreeSet;
use std::time::Duration;

use greenroom_protocol::Timestamp;
use sqlx::postgres::PgConnection;

use crate::audit::chains::RootVerifier;
use crate::audit::root_anchor::anchor;
use crate::audit::root_chain::RootEvent;
use crate::columns::{Columns as _, from_int, to_int};
use crate::error::StoreError;
use crate::postgres::audit::root::{append, lock_root};
use crate::postgres::audit::verify::verify_root;
use crate::postgres::connection::{PAGE_TIMEOUT, STATEMENT_TIMEOUT, connect, in_time};
use crate::postgres::handle::StoreHandle;
use crate::postgres::transaction::{begin, commit};

/// How long a record of the root chain is kept at least: an outage of JetStream that is shorter leaves no gap in the copy.
const ROOT_STORED_MIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Records that follow the newest anchor before there is another one: so many at least, and one for each chain, because an
/// anchor has all of them.
const ANCHOR_RECORDS_MIN: u64 = 4_096;
/// Rows that one statement removes.
const PIECE_ROWS: i64 = 4_096;
/// The session that has this lock prunes the root chain.
const PRUNING_LOCK: i64 = 7_310_590_842_617_290_003;

const SELECT_ANCHOR: &str = r#"SELECT max(number) AS number FROM audit_root
    WHERE strpos(record, '"event":{"kind":"anchor","part":0,') > 0 AND ($1::bigint IS NULL OR at < $1)"#;
const SELECT_LIVE: &str = "SELECT c.chain FROM audit_chains c JOIN pods p ON p.id = c.pod";
const DELETE_ROOT: &str = "DELETE FROM audit_root WHERE number IN \
                           (SELECT number FROM audit_root WHERE number < $1 ORDER BY number LIMIT $2)";
const DELETE_CHAINS: &str = "DELETE FROM audit_chains WHERE chain IN (SELECT c.chain FROM audit_chains c \
                             WHERE NOT EXISTS (SELECT 1 FROM pods p WHERE p.id = c.pod) AND c.chain <> ALL ($1) LIMIT $2)";

/// Removes the records of the root chain before the newest anchor that is older than `before`, and adds an anchor if many
/// records follow the newest one. Chains that have ended and are pruned as a whole are not in it, and lose their rows.
pub(super) async fn prune_root(store: &StoreHandle, before: Timestamp, now: Timestamp) -> Result<(), StoreError> {
    let mut connection = connect(&store.options).await?;
    // Another pod would remove what this one reads. The lock ends with the connection.
    let locking = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(PRUNING_LOCK).fetch_one(&mut connection);
    let is_locked: bool = in_time(STATEMENT_TIMEOUT, locking).await?;
    if !is_locked {
        return Ok(());
    }
    let stored_from = before.min(now.saturating_sub(ROOT_STORED_MIN));
    let first = newest_anchor(&mut connection, Some(stored_from)).await?;
    let anchored = newest_anchor(&mut connection, None).await?.unwrap_or_default();
    let saved = store.signer.chain_key().load_head()?.map(|saved| saved.head);
    let mut root = RootVerifier::new(store.signer.chain_key(), store.database.clone(), saved);
    let last = verify_root(&mut connection, &mut root, first.map_or(0, |first| first.saturating_sub(1))).await?;
    if last.saturating_sub(anchored) >= ANCHOR_RECORDS_MIN.max(root.chain_count()) {
        let chains = append_anchor(store, root, last, now).await?;
        delete_chains(&mut connection, &chains).await?;
    } else {
        drop(root.into_state()?);
    }
    match first {
        Some(first) => delete_root(&mut connection, first).await,
        None => Ok(()),
    }
}

/// The first record of the newest anchor; of those that are older than `before`, if it is given.
async fn newest_anchor(connection: &mut PgConnection, before: Option<Timestamp>) -> Result<Option<u64>, StoreError> {
    let reading = sqlx::query(SELECT_ANCHOR).bind(before.map(Timestamp::as_micros)).fetch_one(connection);
    let row = in_time(PAGE_TIMEOUT, reading).await?;
    Ok(row.optional_int("number")?.map(from_int))
}

/// Appends an anchor to the verified root chain, and returns the chains that it has.
async fn append_anchor(
    store: &StoreHandle,
    mut root: RootVerifier<'_>,
    last: u64,
    now: Timestamp,
) -> Result<Vec<i64>, StoreError> {
    let mut transaction = begin(store).await?;
    // What other pods have appended meanwhile is before the anchor, and nothing follows it until the commit.
    lock_root(&mut transaction).await?;
    verify_root(&mut transaction, &mut root, last).await?;
    let state = root.into_state()?;
    let chains = state.anchored(&live_chains(&mut transaction).await?);
    let parts = anchor(&store.signer, &store.database, state.tip, &chains)?;
    let events: Vec<RootEvent> = parts.into_iter().map(RootEvent::Anchor).collect();
    append(&mut transaction, store.pod.id, now, &events).await?;
    commit(transaction).await?;
    Ok(chains.iter().map(|anchored| to_int(anchored.chain)).collect())
}

/// The chains of pods that the database remembers, of which a later record may name one. It forgets a pod a week after its
/// end, once what it has left is cleaned.
async fn live_chains(connection: &mut PgConnection) -> Result<BTreeSet<u64>, StoreError> {
    let live: Vec<i64> = in_time(PAGE_TIMEOUT, sqlx::query_scalar(SELECT_LIVE).fetch_all(connection)).await?;
    Ok(live.into_iter().map(from_int).collect())
}

/// Removes the rows of chains that are not in the anchor.
async fn delete_chains(connection: &mut PgConnection, anchored: &[i64]) -> Result<(), StoreError> {
    loop {
        let deleting = sqlx::query(DELETE_CHAINS).bind(anchored).bind(PIECE_ROWS).execute(&mut *connection);
        if in_time(PAGE_TIMEOUT, deleting).await?.rows_affected() == 0 {
            return Ok(());
        }
    }
}

/// Removes the records before an anchor, the oldest first.
async fn delete_root(connection: &mut PgConnection, first: u64) -> Result<(), StoreError> {
    let mut removed: u64 = 0;
    loop {
        let deleting = sqlx::query(DELETE_ROOT).bind(to_int(first)).bind(PIECE_ROWS).execute(&mut *connection);
        let rows = in_time(PAGE_TIMEOUT, deleting).await?.rows_affected();
        if rows == 0 {
            break;
        }
        removed = removed.saturating_add(rows);
    }
    if removed > 0 {
        tracing::info!(audit.root_removed = removed, audit.root_first = first, "the root chain of the audit is pruned");
    }
    Ok(())
}
