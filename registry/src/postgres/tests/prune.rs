//! Pruning in pieces, each a transaction of its own: one that breaks off leaves a valid database, and is resumed.

use futures::future::join_all;

use super::faults::open_by_proxy;
use crate::error::StoreError;
use crate::journal::Seq;
use crate::suite::call_proxy::CallFault;
use crate::suite::postgres::TestDatabase;
use crate::suite::{MINUTE, NOW, ended, new_run, run_id, started};

/// The second transaction breaks; the first one and the third one do not.
const SECOND_IS_CUT: [CallFault; 3] = [CallFault::None, CallFault::CutBefore, CallFault::None];

#[tokio::test]
async fn the_audit_is_pruned_in_pieces_and_valid_after_each() {
    const RECORDS: u64 = 5_000;
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    let record = |number: u64| {
        let core = stores.stores.core.clone();
        async move { core.record_system_event("test", &number.to_string(), NOW).await.unwrap() }
    };
    join_all((0..RECORDS).map(record)).await;
    let later = NOW.saturating_add(MINUTE);
    proxy.fail(&["COMMIT"], &SECOND_IS_CUT);
    let broken = stores.stores.maintenance.prune_audit(later, later).await;
    assert!(matches!(broken, Err(StoreError::OutcomeUnknown)), "{broken:?}");
    let report = stores.stores.audit.verify().await.unwrap();
    // Beside the rest there is the record of the pruning.
    assert!(report.is_valid(), "{report:?}");
    assert_eq!((report.anchor, report.records), (4_096, RECORDS - 4_096 + 1));
    let pruned = stores.stores.maintenance.prune_audit(later, later).await.unwrap();
    assert_eq!(pruned.records, RECORDS - 4_096);
    let report = stores.stores.audit.verify().await.unwrap();
    assert!(report.is_valid(), "{report:?}");
    assert_eq!((report.anchor, report.records), (RECORDS, 2));
    assert_eq!(proxy.replied(), 2, "two pieces were committed");
}

#[tokio::test]
async fn replies_under_keys_are_pruned_in_pieces() {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    database
        .execute(
            "INSERT INTO idempotency_keys (key, tenant, request_hash, reply, at) \
             SELECT 'k' || n, 'acme', sha256('body'), '{}', n FROM generate_series(1, 2500) AS n",
        )
        .await;
    let count = async || database.count("SELECT count(*) FROM idempotency_keys").await;
    proxy.fail(&["COMMIT"], &[CallFault::None, CallFault::CutAfter, CallFault::None]);
    let broken = stores.stores.maintenance.prune_keys(None, NOW).await;
    assert!(matches!(broken, Err(StoreError::OutcomeUnknown)), "{broken:?}");
    assert_eq!(count().await, 500, "the second piece was committed, but its reply was lost");
    assert_eq!(stores.stores.maintenance.prune_keys(None, NOW).await.unwrap(), 500);
    assert_eq!((count().await, proxy.replied()), (0, 2));
}

#[tokio::test]
async fn runs_and_a_long_journal_are_pruned_in_pieces() {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    let (core, entries, later) = (&stores.stores.core, [started("a"), ended()], NOW.saturating_add(MINUTE));
    join_all((1..=300).map(|number| core.create_run(new_run(number), None, &entries, NOW))).await;
    let count = async || database.count("SELECT count(*) FROM runs").await;
    assert_eq!(count().await, 300);
    proxy.fail(&["COMMIT"], &SECOND_IS_CUT);
    let broken = stores.stores.maintenance.prune_runs(None, later).await;
    assert!(matches!(broken, Err(StoreError::OutcomeUnknown)), "{broken:?}");
    assert_eq!(count().await, 300 - 256);
    assert_eq!(stores.stores.maintenance.prune_runs(None, later).await.unwrap(), 300 - 256);
    assert_eq!((count().await, proxy.replied()), (0, 2));
    // The first entries of a long journal are removed before its run.
    let fence = stores.create_run(301).await;
    let mut entries = vec![started("a"); 9_000];
    entries.push(ended());
    let _ = stores.append(&run_id(301), fence, Seq(0), &entries, NOW).await.unwrap();
    proxy
        .fail(&["COMMIT"], &[CallFault::None, CallFault::CutBefore, CallFault::None, CallFault::None, CallFault::None]);
    assert!(stores.stores.maintenance.prune_runs(None, later).await.is_err());
    assert_eq!(database.count("SELECT count(*) FROM journal").await, 9_001 - 4_096);
    assert!(stores.stores.runs.reply(&run_id(301)).await.unwrap().is_some(), "its last entry remains to the end");
    assert_eq!(stores.stores.maintenance.prune_runs(None, later).await.unwrap(), 1);
    assert_eq!(database.count("SELECT count(*) FROM journal").await, 0);
}
