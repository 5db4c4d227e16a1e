//! Plain batches: their outcome is in the row of the chain of their lane, and a batch of which a unit is not taken is
//! decided unit by unit.

use greenroom_protocol::ContentHash;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use super::{key, wait_until};
use crate::core::Unit;
use crate::idempotency::KeyStatus;
use crate::journal::{JournalError, Seq};
use crate::postgres::link::{BatchId, OutcomeRow, try_resolve};
use crate::runs::{Created, Fence, NewRun};
use crate::suite::postgres::TestDatabase;
use crate::suite::{NOW, TestStores, closing, ended, new_run, opening, reply, run_id, started, tenant};

/// The batches of lanes that were decided unit by unit.
const DECIDED: &str = "SELECT count(*) FROM batches WHERE lane >= 0";
/// The number of the last plain batch of the only lane.
const LAST_PLAIN: &str = "SELECT max(batch) FROM audit_chains";

/// A plain batch with this number that has no part but an empty list of settlements.
async fn commit_empty(connection: &mut PgConnection, batch: i64) -> Result<String, sqlx::Error> {
    let parts = "NULL, ".repeat(53);
    let sql = format!(
        "SELECT greenroom_commit_plain_v1(c.pod, {batch}, c.chain, c.number, {parts} '[]') FROM audit_chains c"
    );
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await
}

/// The row with the outcomes of the only lane, and the id of a batch of it.
async fn read_outcome_row(database: &TestDatabase, batch: i64) -> (BatchId, OutcomeRow) {
    let pod = database.count("SELECT pod FROM audit_chains").await;
    let chain = database.count("SELECT chain FROM audit_chains").await;
    (BatchId { pod, lane: 0, batch }, OutcomeRow::Chain(chain))
}

#[tokio::test]
async fn a_plain_batch_whose_number_is_void_is_never_committed_and_one_that_was_committed_is_found() {
    let stores = TestStores::postgres().await;
    let database = stores.test_database();
    let mut connection = database.connect().await;
    let (void, row) = read_outcome_row(database, 1_000).await;
    for _ in 0..2 {
        assert_eq!(try_resolve(&mut connection, void, row).await.unwrap(), None);
    }
    for batch in [1_000, 999] {
        let error = commit_empty(&mut connection, batch).await.unwrap_err();
        assert!(error.to_string().contains("is void"), "{error}");
    }
    let result = commit_empty(&mut connection, 1_001).await.unwrap();
    let (committed, row) = read_outcome_row(database, 1_001).await;
    for _ in 0..2 {
        assert_eq!(try_resolve(&mut connection, committed, row).await.unwrap(), Some(result.clone()));
    }
    assert_eq!(database.count(DECIDED).await, 0, "no batch has a row of its own");
}

#[tokio::test]
async fn the_number_of_a_plain_batch_can_become_void_while_its_transaction_runs_which_then_writes_nothing() {
    let stores = TestStores::postgres().await;
    let database = stores.test_database();
    let (id, row) = read_outcome_row(database, 1_000).await;
    let (mut own, mut blocking) = (database.connect().await, database.connect().await);
    // The transaction waits before its outcome.
    let mut blocker = blocking.begin().await.unwrap();
    sqlx::query("LOCK TABLE settlements IN SHARE MODE").execute(&mut *blocker).await.unwrap();
    let batch = commit_empty(&mut own, id.batch);
    let make_void = async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'settlements'::regclass";
        wait_until(async || database.count(waiting).await == 1).await;
        let void = try_resolve(&mut database.connect().await, id, row).await.unwrap();
        blocker.rollback().await.unwrap();
        void
    };
    let (committed, void) = tokio::join!(batch, make_void);
    assert_eq!(void, None);
    let error = committed.unwrap_err();
    assert!(error.to_string().contains("is void"), "{error}");
}

#[tokio::test]
async fn the_outcome_of_a_plain_batch_that_has_not_ended_is_waited_for() {
    let stores = TestStores::postgres().await;
    let database = stores.test_database();
    let (id, row) = read_outcome_row(database, 1_000).await;
    let mut own = database.connect().await;
    // The outcome is recorded, and the transaction has not ended.
    let mut transaction = own.begin().await.unwrap();
    let result = commit_empty(&mut transaction, id.batch).await.unwrap();
    let resolve = async { try_resolve(&mut database.connect().await, id, row).await.unwrap() };
    let end = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                       AND datname = current_database() AND query LIKE 'UPDATE audit_chains%'";
        wait_until(async || database.count(waiting).await == 1).await;
        transaction.commit().await.unwrap();
    };
    let (resolved, ()) = tokio::join!(resolve, end);
    assert_eq!(resolved, Some(result));
}

#[tokio::test]
async fn runs_keys_replies_and_entries_are_written_by_plain_batches() {
    let stores = TestStores::postgres().await;
    let (core, database) = (&stores.stores.core, stores.test_database());
    let (acme, body) = (tenant("acme"), ContentHash::from_content(b"body"));
    let new = NewRun { journal_version: 2, ..new_run(1) };
    assert!(matches!(stores.create(&new, Some(&key("run"))).await.unwrap(), Created::New(Fence(1))));
    let (status, reserved) = stores.begin(&acme, &key("request"), &body).await;
    assert_eq!(status, KeyStatus::New);
    let entry = core.open_entry(opening(1), NOW).await.unwrap();
    let (reserved, reply) = (reserved.unwrap(), reply("run_1"));
    let unit = Unit::new(NOW).close(entry, closing()).finish_key(&reserved, &reply);
    drop(core.commit(unit).await.unwrap());
    reserved.end();
    let _ = stores.append(&run_id(1), Fence(1), Seq(0), &[started("a"), ended()], NOW).await.unwrap();
    assert_eq!(database.count(DECIDED).await, 0);
    let used = stores.stores.idempotency.lookup(&acme, &key("request"), &body).await.unwrap();
    assert!(matches!(used, KeyStatus::Completed(_)), "{used:?}");
    let repeated = stores.create(&NewRun { journal_version: 2, ..new_run(2) }, Some(&key("run"))).await.unwrap();
    assert_eq!(repeated, Created::Existing(run_id(1)));
    assert_eq!(database.count(DECIDED).await, 1, "of which a unit is not taken");
    assert_eq!(database.count("SELECT journal_version::bigint FROM trees").await, 2);
    assert_eq!(database.count("SELECT count(*) FROM trees WHERE open_runs = 0").await, 1);
    assert_eq!(database.count("SELECT count(*) FROM journal").await, 2);
    assert_eq!(database.count("SELECT count(*) FROM audit_open").await, 0);
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

#[tokio::test]
async fn of_a_plain_batch_with_a_unit_that_is_not_taken_the_others_are_taken() {
    let stores = TestStores::postgres().await;
    let database = stores.test_database();
    for number in 1..=4 {
        stores.create_run(number).await;
    }
    assert_eq!(database.count(DECIDED).await, 0);
    let append = |number: u128| {
        let (run, fence) = (run_id(number), if number == 3 { Fence(9) } else { Fence(1) });
        let stores = &stores;
        async move { stores.append(&run, fence, Seq(0), &[started("a")], NOW).await.map(drop) }
    };
    let all = futures::future::join_all((1..=4).map(append)).await;
    assert!(matches!(all[2], Err(JournalError::Fenced)), "{:?}", all[2]);
    assert!([0, 1, 3].into_iter().all(|index: usize| all[index].is_ok()), "{all:?}");
    assert!(database.count(DECIDED).await > 0);
    assert_eq!(database.count("SELECT count(*) FROM journal").await, 3);
    // The next batch is plain again.
    let plain = database.count(LAST_PLAIN).await;
    let _ = stores.append(&run_id(1), Fence(1), Seq(1), &[started("b")], NOW).await.unwrap();
    assert!(database.count(LAST_PLAIN).await > plain);
}

#[tokio::test]
async fn a_tree_that_has_ended_is_released_without_a_batch() {
    let stores = TestStores::postgres().await;
    let (core, database) = (&stores.stores.core, stores.test_database());
    let fence = stores.create_run(1).await;
    let _ = stores.append(&run_id(1), fence, Seq(0), &[started("a"), ended()], NOW).await.unwrap();
    let batches = async || (database.count(DECIDED).await, database.count(LAST_PLAIN).await);
    let before = batches().await;
    core.release_tree(&run_id(1), fence, NOW).await;
    assert_eq!(batches().await, before);
    // One that has not ended is released by a batch, and can be claimed then.
    let fence = stores.create_run(2).await;
    core.release_tree(&run_id(2), fence, NOW).await;
    assert_eq!(database.count(DECIDED).await, before.0 + 1);
    assert_eq!(database.count("SELECT count(*) FROM trees WHERE holder IS NULL").await, 1);
}
