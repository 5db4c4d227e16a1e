//! Pruning of the audit: the old records of each chain, up to its oldest open entry, are replaced by a signed anchor. The
//! anchor is registered in the root chain in the transaction that deletes the records, so every chain is valid at any
//! time.

use greenroom_protocol as protocol;
use protocol::Timestamp;
use protocol::audit::Event;

use crate::audit::chain::{ChainTip, EventJson};
use crate::audit::head::HeadKind;
use crate::audit::root_chain::{ChainHead, RootEvent};
use crate::audit::{AuditSeq, PruneReport};
use crate::columns::{Columns as _, to_int};
use crate::error::StoreError;
use crate::postgres::audit::prune_root::prune_root;
use crate::postgres::audit::root::{append, lock_root};
use crate::postgres::connection::{SEARCH_TIMEOUT, connect, in_time};
use crate::postgres::error::sqlx_error;
use crate::postgres::handle::StoreHandle;
use crate::postgres::transaction::{begin, commit};
use crate::postgres::unit::QueuedUnit;

/// Records of one piece.
const PRUNED_RECORDS_MAX: u64 = 4_096;

const SELECT_BOUNDS: &str = "WITH bounds AS MATERIALIZED (\
    SELECT c.chain, LEAST(\
        COALESCE((SELECT min(o.number) FROM audit_open o WHERE o.chain = c.chain), c.number + 1), \
        COALESCE((SELECT min(n.number) FROM audit n WHERE n.chain = c.chain AND n.at >= $1), c.number + 1)) AS below \
    FROM audit_chains c WHERE c.number > 0) \
    SELECT b.chain, min(a.number) AS first, max(a.number) AS last FROM bounds b \
    JOIN audit a ON a.chain = b.chain AND a.number < b.below GROUP BY b.chain ORDER BY b.chain";

/// The old records of one chain.
struct OldRecords {
    chain: u64,
    first: u64,
    last: u64,
}

/// Removes the records older than `before`, up to the oldest open entry of each chain, and prunes the root chain.
pub(in crate::postgres) async fn prune(
    store: &StoreHandle,
    before: Timestamp,
    now: Timestamp,
) -> Result<PruneReport, StoreError> {
    let report = prune_chains(store, before, now).await?;
    // After the chains, of which it states what is pruned.
    prune_root(store, before, now).await?;
    Ok(report)
}

async fn prune_chains(store: &StoreHandle, before: Timestamp, now: Timestamp) -> Result<PruneReport, StoreError> {
    store.flush().await?;
    let old = select_old(store, before).await?;
    let Some(through) = old.iter().map(|old| AuditSeq::in_chain(old.chain, old.last)).max() else {
        return Ok(PruneReport::default());
    };
    let records: u64 = old.iter().map(|old| old.last - old.first + 1).sum();
    // Recorded before anything is removed.
    let message = format!("{records} records are pruned, through {through}");
    let event = EventJson::from_event(&Event::System { subject: "audit".into(), message })?;
    let recorded = store.submit(QueuedUnit::recording(event, now), None).await?;
    drop(recorded.wait().await?);
    for OldRecords { chain, first, last } in old {
        let mut through = first.saturating_sub(1);
        while through < last {
            through = last.min(through + PRUNED_RECORDS_MAX);
            prune_piece(store, chain, through, now).await?;
        }
    }
    Ok(PruneReport { records, through })
}

async fn select_old(store: &StoreHandle, before: Timestamp) -> Result<Vec<OldRecords>, StoreError> {
    // A connection of its own, because the search may take longer than a statement of a reader may.
    let mut connection = connect(&store.options).await?;
    let reading = sqlx::query(SELECT_BOUNDS).bind(before.as_micros()).fetch_all(&mut connection);
    let rows = in_time(SEARCH_TIMEOUT, reading).await?;
    let decode = |row: &sqlx::postgres::PgRow| {
        Ok(OldRecords { chain: row.number("chain")?, first: row.number("first")?, last: row.number("last")? })
    };
    rows.iter().map(decode).collect()
}

/// Removes the records of a chain up to one, and registers the anchor that stands for them.
async fn prune_piece(store: &StoreHandle, chain: u64, through: u64, now: Timestamp) -> Result<(), StoreError> {
    let mut transaction = begin(store).await?;
    // The record is looked up under the lock: a chain that another pod has pruned as a whole may not be named any more.
    lock_root(&mut transaction).await?;
    let row = sqlx::query("SELECT hash FROM audit WHERE chain = $1 AND number = $2")
        .bind(to_int(chain))
        .bind(to_int(through))
        .fetch_optional(&mut *transaction)
        .await
        .map_err(|error| sqlx_error(&error))?;
    // Another pod has pruned it meanwhile.
    let Some(row) = row else { return Ok(()) };
    let tip = ChainTip { number: through, hash: row.hash("hash")? };
    let head = store.signer.for_chain(&store.database, chain).sign(HeadKind::Anchor, tip, now);
    let events = [RootEvent::Heads { heads: vec![ChainHead { chain, head }] }];
    append(&mut transaction, store.pod.id, now, &events).await?;
    sqlx::query("DELETE FROM audit WHERE chain = $1 AND number <= $2")
        .bind(to_int(chain))
        .bind(to_int(through))
        .execute(&mut *transaction)
        .await
        .map_err(|error| sqlx_error(&error))?;
    commit(transaction).await
}
