//! Tests that need a file on a disk: crashes, tampering, locked and damaged files, backups.

mod ledger;
mod pods;
mod references;

use std::path::Path;

use greenroom_protocol as protocol;
use protocol::audit::Event;
use protocol::{AgentId, CallKey, MicroUsd, PriceBasis, WorkflowId};
use sqlx::{Connection, Executor};
use tempfile::TempDir;

use super::connection::connect_dedicated;
use crate::SyncMode;
use crate::audit::{AuditScope, ChainViolation};
use crate::core::Unit;
use crate::error::StoreError;
use crate::idempotency::KeyStatus;
use crate::journal::{JournalError, Seq};
use crate::ledger::{Account, Amount, Budget, Limit, Period, Periods, RequestKind, Settlement};
use crate::runs::{Created, DedupKey};
use crate::suite::{
    MINUTE, NOW, TestStores, closing, done, ended, new_run, new_run_of, opening, pod, principal, reply, run_id,
    started, tenant,
};

/// Executes a statement on the file itself, past the stores.
async fn tamper(path: &Path, sql: &'static str) {
    let mut connection = connect_dedicated(path).await.unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}

/// The number that a query returns.
async fn count(path: &Path, sql: &'static str) -> i64 {
    let mut connection = connect_dedicated(path).await.unwrap();
    let count = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    count
}

async fn record_events(stores: &TestStores, count: u32) {
    for number in 1..=count {
        stores.stores.core.record_system_event("test", &number.to_string(), NOW).await.unwrap();
    }
}

/// A closed database with twenty audit records.
async fn closed_database() -> TempDir {
    let stores = TestStores::sqlite().await;
    record_events(&stores, 20).await;
    stores.close().await
}

fn database(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("greenroom.db")
}

async fn open_error(dir: TempDir) -> StoreError {
    match TestStores::open(dir).await {
        Ok(_) => panic!("the file was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn every_durable_write_survives_a_crash() {
    let stores = TestStores::sqlite().await;
    let fence = stores.create_run(1).await;
    let entries = [started("a"), done("a", "x")];
    let _ = stores.append(&run_id(1), fence, Seq(0), &entries, NOW).await.unwrap();
    let entry = stores.stores.core.open_entry(opening(7), NOW).await.unwrap();
    let dir = stores.crash().await;
    std::mem::forget(entry);
    let stores = TestStores::open(dir).await.unwrap();
    let free = stores.stores.runs.list_unclaimed(None, NOW, 10).await.unwrap();
    assert_eq!((free.len(), &free[0].run, free[0].seq), (1, &run_id(1), Seq(2)));
    let second = stores.stores.core.claim_tree(&run_id(1), &pod(), MINUTE, NOW).await.unwrap().unwrap().fence;
    let stale = stores.append(&run_id(1), fence, Seq(2), &[ended()], NOW).await;
    assert!(matches!(stale, Err(JournalError::Fenced)));
    let _ = stores.append(&run_id(1), second, Seq(2), &[ended()], NOW).await.unwrap();
    let records = stores.stores.audit.find(&AuditScope::All, opening(7).request.as_str()).await.unwrap();
    assert_eq!(records[1].event, Event::Interrupted { opened: 1 });
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

#[tokio::test]
async fn the_owners_of_runs_are_stored_once_and_survive_a_crash() {
    let stores = TestStores::sqlite().await;
    for new in [new_run(1), new_run(2), new_run_of("globex", 3)] {
        stores.create(&new, None).await.unwrap();
    }
    let refused = stores.create(&new_run_of("initech", 3), None).await.unwrap();
    assert_eq!(refused, Created::Conflict);
    assert_eq!(count(&stores.database(), "SELECT COUNT(*) FROM principals").await, 2, "none of a unit that is refused");
    let stores = stores.crash_and_reopen().await;
    for new in [new_run(1), new_run(2), new_run_of("globex", 3)] {
        let record = stores.stores.runs.get(new.id()).await.unwrap().unwrap();
        assert_eq!(record.owner, new.started.owner);
    }
    tamper(&stores.database(), "DELETE FROM principals WHERE tenant = 'globex'").await;
    let unreadable = stores.stores.runs.get(&run_id(3)).await;
    assert!(
        matches!(unreadable, Err(StoreError::Codec(_))),
        "a run without its owner is no unknown run: {unreadable:?}"
    );
}

#[tokio::test]
async fn limits_survive_a_crash_and_open_reservations_are_settled_as_estimated() {
    let stores = TestStores::sqlite().await;
    let alice = principal("alice");
    let account = Account {
        principal: alice.clone(),
        agent: AgentId::new("writer").unwrap(),
        workflow: Some(WorkflowId::new("report").unwrap()),
        run: Some(run_id(1)),
        model: "play.one".into(),
        price: PriceBasis::Listed,
    };
    let (run, key) = (Budget::Run(run_id(1)), CallKey::new("call/1").unwrap());
    let limits = [Limit { budget: run, period: Period::AllTime, cost_max: Some(MicroUsd(100)), tokens_max: None }];
    let upper_bound = |micros| Amount::of_cost(MicroUsd(micros));
    let ledger = &stores.stores.ledger;
    ledger.count(&alice, RequestKind::Call, Periods::default(), NOW).await.unwrap();
    ledger.count(&alice, RequestKind::Query, Periods::default(), NOW).await.unwrap();
    let settled = stores.reserve(&account, &limits, upper_bound(20), &key, NOW).await.unwrap();
    stores.settle(settled, Settlement::Actual(upper_bound(10)), NOW).await;
    let open = stores.reserve(&account, &limits, upper_bound(60), &key, NOW).await.unwrap();
    let dir = stores.crash().await;
    std::mem::forget(open);
    let stores = TestStores::open(dir).await.unwrap();
    let ledger = &stores.stores.ledger;
    let usage = ledger.usage(&alice, Periods::default(), NOW).await.unwrap();
    assert_eq!((usage.calls_hour, usage.queries_hour), (1, 1));
    assert_eq!(ledger.usage(&alice, Periods::default(), NOW).await.unwrap().cost_spent, MicroUsd(70));
    assert!(stores.reserve(&account, &limits, upper_bound(31), &key, NOW).await.is_err());
    assert!(stores.reserve(&account, &limits, upper_bound(30), &key, NOW).await.is_ok());
    let stores = stores.crash_and_reopen().await;
    let costs = stores.stores.ledger.costs(None).await.unwrap();
    let estimated: u64 = costs.iter().map(|row| row.estimated.cost.0).sum();
    assert_eq!((costs[0].actual, estimated), (upper_bound(10), 90), "the dropped reservation counts, once");
}

#[tokio::test]
async fn a_request_in_flight_at_a_crash_can_be_repeated() {
    let stores = TestStores::sqlite().await;
    let (request_hash, key) = (protocol::ContentHash::from_content(b"x"), DedupKey::Call(CallKey::new("k").unwrap()));
    let (_, reserved) = stores.begin(&tenant("acme"), &key, &request_hash).await;
    let stores = stores.crash_and_reopen().await;
    drop(reserved);
    assert_eq!(stores.begin(&tenant("acme"), &key, &request_hash).await.0, KeyStatus::New);
}

#[tokio::test]
async fn a_changed_and_a_removed_record_are_reported() {
    let stores = TestStores::sqlite().await;
    record_events(&stores, 20).await;
    tamper(&stores.database(), "UPDATE audit SET record = replace(record, '\"7\"', '\"8\"') WHERE number = 7").await;
    assert_eq!(stores.stores.audit.verify().await.unwrap().violation, Some(ChainViolation::Changed { number: 7 }));
    tamper(&stores.database(), "DELETE FROM audit WHERE number = 5").await;
    assert_eq!(stores.stores.audit.verify().await.unwrap().violation, Some(ChainViolation::Removed { number: 5 }));
    assert!(!stores.stores.maintenance.check().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_truncated_audit_is_detected_and_the_file_is_not_opened() {
    let dir = closed_database().await;
    tamper(&database(&dir), "DELETE FROM audit WHERE number > 15").await;
    tamper(&database(&dir), "DELETE FROM audit_heads").await;
    let error = open_error(dir).await;
    assert!(matches!(&error, StoreError::Chain(text) if text.contains("20")), "{error}");
}

#[tokio::test]
async fn a_record_after_the_closed_end_is_detected() {
    let dir = closed_database().await;
    let insert = "INSERT INTO audit SELECT number + 1, hash, at, request, tenant, record FROM audit WHERE number = 20";
    tamper(&database(&dir), insert).await;
    assert!(matches!(open_error(dir).await, StoreError::Chain(_)));
}

#[tokio::test]
async fn a_closed_database_can_be_opened_again() {
    let stores = TestStores::open(closed_database().await).await.unwrap();
    record_events(&stores, 1).await;
    let report = stores.stores.audit.verify().await.unwrap();
    assert!(report.is_valid(), "{report:?}");
    let dir = stores.close().await;
    let stores = TestStores::open_with(dir, SyncMode::Normal).await.unwrap();
    assert_eq!(stores.stores.audit.verify().await.unwrap().signed, 21);
    assert!(stores.stores.maintenance.check().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_database_and_a_data_directory_that_do_not_belong_together_are_reported() {
    let dir = closed_database().await;
    std::fs::write(dir.path().join("audit.key"), "08".repeat(32)).unwrap();
    let error = open_error(dir).await;
    assert!(matches!(&error, StoreError::OtherDirectory(text) if text.contains("another data directory")), "{error}");
    // The database was removed, or its place was taken by another one that the same key signs.
    let dir = closed_database().await;
    std::fs::remove_file(database(&dir)).unwrap();
    let error = open_error(dir).await;
    assert!(
        matches!(&error, StoreError::OtherDatabase(text) if text.contains("audit.head names the database")),
        "{error}"
    );
    let (dir, other) = (closed_database().await, closed_database().await);
    std::fs::copy(database(&other), database(&dir)).unwrap();
    let error = open_error(dir).await;
    assert!(matches!(&error, StoreError::OtherDatabase(text) if text.contains("another database")), "{error}");
    // Who changes the key that the database names gains nothing.
    let dir = closed_database().await;
    tamper(&database(&dir), "UPDATE store_identity SET audit_key = NULL").await;
    std::fs::write(dir.path().join("audit.key"), "08".repeat(32)).unwrap();
    assert!(matches!(open_error(dir).await, StoreError::Chain(text) if text.contains("not the key's")));
}

#[tokio::test]
async fn a_damaged_file_and_a_newer_one_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(database(&dir), "this is not a database, but long enough to be read as one".repeat(99)).unwrap();
    assert!(matches!(open_error(dir).await, StoreError::Corrupt(_)));
    let dir = closed_database().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', 1, x'00', 0)";
    tamper(&database(&dir), newer).await;
    assert!(matches!(open_error(dir).await, StoreError::Version(_)));
}

#[tokio::test]
async fn a_locked_file_fails_writes_until_it_is_unlocked() {
    let stores = TestStores::sqlite().await;
    let fence = stores.create_run(1).await;
    let mut other = connect_dedicated(&stores.database()).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let error = stores.append(&run_id(1), fence, Seq(0), &[started("a")], NOW).await;
    assert!(matches!(error, Err(JournalError::Store(StoreError::Locked))), "{error:?}");
    assert!(stores.stores.core.open_entry(opening(1), NOW).await.is_err());
    other.execute("ROLLBACK").await.unwrap();
    let receipt = stores.append(&run_id(1), fence, Seq(0), &[started("a")], NOW).await.unwrap();
    assert_eq!(receipt.through(), Seq(1));
    let report = stores.stores.audit.verify().await.unwrap();
    assert!(report.is_valid(), "{report:?}");
    let records = stores.stores.audit.read(&AuditScope::All, None, 10).await.unwrap().records;
    assert_eq!(records, [], "an entry that was never open is not closed");
}

#[tokio::test]
async fn a_closing_that_could_not_be_written_is_written_later() {
    let stores = TestStores::sqlite().await;
    let entry = stores.stores.core.open_entry(opening(1), NOW).await.unwrap();
    let mut other = connect_dedicated(&stores.database()).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    stores.stores.core.close_entry(entry, closing(), NOW).await;
    assert!(stores.stores.core.record_system_event("test", "x", NOW).await.is_err());
    other.execute("ROLLBACK").await.unwrap();
    let records = stores.stores.audit.find(&AuditScope::All, opening(1).request.as_str()).await.unwrap();
    assert_eq!(records.len(), 2);
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

#[tokio::test]
async fn the_reply_under_a_key_that_could_not_be_written_is_written_by_a_repetition() {
    let stores = TestStores::sqlite().await;
    let (acme, request_hash) = (tenant("acme"), protocol::ContentHash::from_content(b"x"));
    let (key, reply) = (DedupKey::Call(CallKey::new("k").unwrap()), reply("req_1"));
    let reserved = stores.begin(&acme, &key, &request_hash).await.1.unwrap();
    let finish = async || stores.stores.core.commit(Unit::new(NOW).finish_key(&reserved, &reply)).await.map(drop);
    let mut other = connect_dedicated(&stores.database()).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    assert!(finish().await.is_err());
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(stores.begin(&acme, &key, &request_hash).await.0, KeyStatus::InProgress);
    for _ in 0..2 {
        finish().await.unwrap();
    }
    reserved.end();
    assert!(matches!(stores.begin(&acme, &key, &request_hash).await.0, KeyStatus::Completed(_)));
}

#[tokio::test]
async fn a_backup_is_complete_and_never_overwritten() {
    let stores = TestStores::sqlite().await;
    stores.create(&new_run(1), None).await.unwrap();
    let backup_dir = tempfile::tempdir().unwrap();
    let to = backup_dir.path().join("greenroom.db");
    stores.stores.maintenance.backup(&to).await.unwrap();
    assert!(stores.stores.maintenance.backup(&to).await.is_err());
    let copy = TestStores::open(backup_dir).await.unwrap();
    assert!(copy.stores.runs.get(&run_id(1)).await.unwrap().is_some());
}

/// Prints the cost of the hot path on this machine; run with `GREENROOM_MEASURE=1` and `--nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_entries_of_many_callers_share_their_commits() {
    let stores = TestStores::sqlite().await;
    let count = if std::env::var_os("GREENROOM_MEASURE").is_some() { 2_000 } else { 20 };
    for callers in [1_u128, 64, 512] {
        let start = std::time::Instant::now();
        let call = |caller: u128| {
            let (core, ledger) = (stores.stores.core.clone(), stores.stores.ledger.clone());
            let alice = principal("alice");
            async move {
                for number in 0..count / callers.min(8) {
                    let entry = core.open_entry(opening(caller * 100_000 + number), NOW).await.unwrap();
                    ledger.count(&alice, RequestKind::Call, Periods::default(), NOW).await.unwrap();
                    core.close_entry(entry, closing(), NOW).await;
                }
            }
        };
        let mut tasks = tokio::task::JoinSet::new();
        (0..callers).for_each(|caller| {
            tasks.spawn(call(caller));
        });
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
        let calls = callers * (count / callers.min(8));
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{callers} callers: {:.0} calls/s, {:.3} ms each",
            calls as f64 / seconds,
            seconds * 1e3 * callers as f64 / calls as f64
        );
    }
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}
