//! Pruning in pieces, each a transaction of its own: one that breaks off leaves a valid database, and is resumed.
//! And what is swept by its age.

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

/// One call of the function that removes what nothing reads any more: on the day 10,000 and in the minute 1,000,000, with
/// executions of two days, runs of thirty and periods of four hundred.
const SWEEP: &str = "SELECT greenroom_sweep_v1(10000, 1000000, 2, 30, 400)";

/// The names in a column, in the order of their bytes.
async fn names(database: &TestDatabase, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(&mut database.connect().await).await.unwrap()
}

#[tokio::test]
async fn old_budgets_days_minutes_and_pods_are_swept_except_for_what_is_in_use() {
    let database = TestDatabase::migrated().await;
    database
        .execute(
            r#"INSERT INTO accounts (account, day, reserved_cost) VALUES
               ('{"Execution":"old"}', 9998, 0), ('{"Execution":"recent"}', 9999, 0),
               ('{"Execution":"reserved"}', 9000, 60), ('{"Run":"old"}', 9970, 0), ('{"Run":"recent"}', 9971, 0),
               ('{"Run":"reserved"}', 9000, 60), ('{"Tenant":"acme"}', 1, 0)"#,
        )
        .await;
    database
        .execute(
            "INSERT INTO account_days (account, day, tokens_input, tokens_output, cost) \
             VALUES ('of_the_period', 9601, 0, 0, 0), ('old', 9600, 0, 0, 0)",
        )
        .await;
    database
        .execute(
            "INSERT INTO usage_minutes (minute, issuer, tenant, user_id, requests, queries, tokens, cost) \
             VALUES (1000000, 'local', 'acme', 'old', 1, 1, 1, 1), (1000001, 'local', 'acme', 'recent', 1, 1, 1, 1)",
        )
        .await;
    database
        .execute(
            "INSERT INTO pods (pod, store, version, reads_from, reads_to, renewed_at, expires_at, active_at, dead, cleaned) \
             SELECT name, 'store', '1.0.0', 1, 1, now() - age, now() - age, 0, dead, cleaned \
             FROM (VALUES ('alive', interval '8 days', false, false), ('old', interval '8 days', true, true), \
                   ('open', interval '8 days', true, false), ('recent', interval '6 days', true, true)) \
                  AS pod (name, age, dead, cleaned)",
        )
        .await;
    database.execute(SWEEP).await;
    assert_eq!(
        names(&database, r#"SELECT account FROM accounts ORDER BY account COLLATE "C""#).await,
        [
            r#"{"Execution":"recent"}"#,
            r#"{"Execution":"reserved"}"#,
            r#"{"Run":"recent"}"#,
            r#"{"Run":"reserved"}"#,
            r#"{"Tenant":"acme"}"#
        ]
    );
    assert_eq!(names(&database, "SELECT account FROM account_days").await, ["of_the_period"]);
    assert_eq!(names(&database, "SELECT user_id FROM usage_minutes").await, ["recent"]);
    assert_eq!(names(&database, r#"SELECT pod FROM pods ORDER BY pod COLLATE "C""#).await, ["alive", "open", "recent"]);
}

#[tokio::test]
async fn one_sweep_removes_a_bounded_number_of_rows_and_the_next_one_continues() {
    let database = TestDatabase::migrated().await;
    database
        .execute(
            r#"INSERT INTO accounts (account, day) SELECT '{"Execution":"' || n || '"}', 1 FROM generate_series(1, 700) AS n"#,
        )
        .await;
    for left in [200, 0] {
        database.execute(SWEEP).await;
        assert_eq!(database.count("SELECT count(*) FROM accounts").await, left);
    }
}
