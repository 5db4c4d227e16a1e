//! What only a file on a disk can show: crashes, tampering, full, locked and damaged files, copies.

use std::path::Path;

use greenroom_protocol as protocol;
use protocol::audit::Event;
use protocol::{AgentId, CallKey, MicroUsd, PriceBasis, UserId, WorkflowId};
use sqlx::{Connection, Executor};
use tempfile::TempDir;

use super::connection::connect_dedicated;
use super::{maintenance, runs};
use crate::SyncMode;
use crate::audit::ChainViolation;
use crate::error::StoreError;
use crate::journal::{JournalError, Seq};
use crate::ledger::{Account, Amount, Budget, Limit, Period, Periods, Settlement, UsageKey};
use crate::runs::DedupKey;
use crate::suite::{MINUTE, NOW, TestStores, closing, done, ended, new_run, opening, pod, run_id, started, tenant};

/// Runs a statement on the file itself, as somebody with an editor would.
async fn tamper(path: &Path, sql: &'static str) {
    let mut connection = connect_dedicated(path).await.unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}

async fn notes(stores: &TestStores, many: u32) {
    for number in 1..=many {
        stores.stores.audit.record_system_event("test", &number.to_string(), NOW).await.unwrap();
    }
}

/// Twenty records, sealed by an orderly end.
async fn sealed() -> TempDir {
    let stores = TestStores::sqlite().await;
    notes(&stores, 20).await;
    stores.close().await
}

fn database(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("greenroom.db")
}

async fn refused(folder: TempDir) -> StoreError {
    match TestStores::open(folder).await {
        Ok(_) => panic!("the file was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn everything_answered_survives_a_crash() {
    let stores = TestStores::sqlite().await;
    let fence = stores.create_run(1).await;
    let entries = [started("a"), done("a", "x")];
    let _ = stores.stores.journal.append(&run_id(1), fence, Seq(0), &entries, NOW).await.unwrap();
    let entry = stores.stores.audit.open(opening(7), NOW).await.unwrap();
    let folder = stores.crash().await;
    std::mem::forget(entry);
    let stores = TestStores::open(folder).await.unwrap();
    let free = stores.stores.runs.list_unclaimed(NOW, 10).await.unwrap();
    assert_eq!((free.len(), &free[0].run, free[0].seq), (1, &run_id(1), Seq(2)));
    let second = stores.stores.runs.claim(&run_id(1), &pod(), MINUTE, NOW).await.unwrap().unwrap();
    let stale = stores.stores.journal.append(&run_id(1), fence, Seq(2), &[ended()], NOW).await;
    assert!(matches!(stale, Err(JournalError::Fenced)));
    let _ = stores.stores.journal.append(&run_id(1), second, Seq(2), &[ended()], NOW).await.unwrap();
    let found = stores.stores.audit.find(opening(7).request.as_str()).await.unwrap();
    assert_eq!(found[1].event, Event::Interrupted { opened: 1 });
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

#[tokio::test]
async fn a_run_that_could_not_be_looked_up_is_looked_up_again() {
    let stores = TestStores::sqlite().await;
    stores.create_run(1).await;
    // This database has no tables, so every read fails.
    let unreadable = rusqlite::Connection::open_in_memory().unwrap();
    let mut cache = runs::cache::RunRecordCache::default();
    assert!(cache.prefetch(&unreadable, vec![run_id(1)]).is_err());
    assert!(!cache.contains(&run_id(1)), "it would pass for a run that does not exist");
}

#[tokio::test]
async fn limits_survive_a_crash_and_what_was_reserved_is_settled_as_estimated() {
    let stores = TestStores::sqlite().await;
    let who = UsageKey { tenant: tenant("acme"), user: UserId::new("alice").unwrap() };
    let account = Account {
        tenant: who.tenant.clone(),
        user: who.user.clone(),
        agent: AgentId::new("writer").unwrap(),
        workflow: Some(WorkflowId::new("report").unwrap()),
        run: Some(run_id(1)),
        price: PriceBasis::Listed,
    };
    let run = Budget::Run(run_id(1));
    let limits = [Limit { budget: run, period: Period::AllTime, cost_max: Some(MicroUsd(100)), tokens_max: None }];
    let worst = |micros| Amount::of_cost(MicroUsd(micros));
    let key = CallKey::new("call/1").unwrap();
    let ledger = &stores.stores.ledger;
    ledger.count(&who, Periods::default(), NOW).await.unwrap();
    ledger.count(&who, Periods::default(), NOW).await.unwrap();
    let settled = ledger.reserve(&account, &limits, worst(20), &key, NOW).await.unwrap();
    ledger.settle(settled, Settlement::Actual(worst(10)), NOW).await.unwrap();
    let lost = ledger.reserve(&account, &limits, worst(60), &key, NOW).await.unwrap();
    let folder = stores.crash().await;
    std::mem::forget(lost);
    let stores = TestStores::open(folder).await.unwrap();
    let ledger = &stores.stores.ledger;
    assert_eq!(ledger.usage(&who, Periods::default(), NOW).await.unwrap().requests_hour, 2);
    assert_eq!(ledger.usage(&who, Periods::default(), NOW).await.unwrap().cost_spent, MicroUsd(70));
    assert!(ledger.reserve(&account, &limits, worst(31), &key, NOW).await.is_err());
    assert!(ledger.reserve(&account, &limits, worst(30), &key, NOW).await.is_ok());
    let stores = stores.crash_and_reopen().await;
    let costs = stores.stores.ledger.costs(None).await.unwrap();
    let estimated: u64 = costs.iter().map(|row| row.estimated.cost.0).sum();
    assert_eq!((costs[0].actual, estimated), (worst(10), 90), "the dropped reservation counts, once");
}

#[tokio::test]
async fn a_request_under_way_at_the_crash_can_be_asked_again() {
    let stores = TestStores::sqlite().await;
    let (body, key) = (protocol::ContentHash::of(b"x"), DedupKey::Call(CallKey::new("k").unwrap()));
    stores.stores.idempotency.begin(&tenant("acme"), &key, &body, NOW).await.unwrap();
    let stores = stores.crash_and_reopen().await;
    let again = stores.stores.idempotency.begin(&tenant("acme"), &key, &body, NOW).await.unwrap();
    assert_eq!(again, crate::idempotency::KeyStatus::New);
}

#[tokio::test]
async fn a_changed_and_a_removed_record_are_named() {
    let stores = TestStores::sqlite().await;
    notes(&stores, 20).await;
    tamper(&stores.database(), "UPDATE audit SET record = replace(record, '\"7\"', '\"8\"') WHERE number = 7").await;
    assert_eq!(stores.stores.audit.verify().await.unwrap().violation, Some(ChainViolation::Changed { number: 7 }));
    tamper(&stores.database(), "DELETE FROM audit WHERE number = 5").await;
    assert_eq!(stores.stores.audit.verify().await.unwrap().violation, Some(ChainViolation::Removed { number: 5 }));
    assert!(!stores.stores.maintenance.check().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_cut_tail_is_found_and_nothing_is_written_behind_it() {
    let folder = sealed().await;
    tamper(&database(&folder), "DELETE FROM audit WHERE number > 15").await;
    tamper(&database(&folder), "DELETE FROM audit_heads").await;
    let error = refused(folder).await;
    assert!(matches!(&error, StoreError::Chain(text) if text.contains("20")), "{error}");
}

#[tokio::test]
async fn a_record_behind_the_sealed_end_is_found() {
    let folder = sealed().await;
    let insert = "INSERT INTO audit SELECT number + 1, hash, at, request, record FROM audit WHERE number = 20";
    tamper(&database(&folder), insert).await;
    assert!(matches!(refused(folder).await, StoreError::Chain(_)));
}

#[tokio::test]
async fn an_orderly_end_is_followed_by_an_orderly_start() {
    let stores = TestStores::open(sealed().await).await.unwrap();
    notes(&stores, 1).await;
    let verdict = stores.stores.audit.verify().await.unwrap();
    assert!(verdict.is_valid(), "{verdict:?}");
    let folder = stores.close().await;
    let stores = TestStores::open_as(folder, SyncMode::Normal).await.unwrap();
    assert_eq!(stores.stores.audit.verify().await.unwrap().signed, 21);
    assert!(stores.stores.maintenance.check().await.unwrap().is_ok());
}

#[tokio::test]
async fn another_key_is_not_accepted() {
    let folder = sealed().await;
    std::fs::write(folder.path().join("audit.key"), "08".repeat(32)).unwrap();
    assert!(matches!(refused(folder).await, StoreError::Chain(text) if text.contains("not the key's")));
}

#[tokio::test]
async fn a_damaged_file_and_a_newer_one_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(database(&folder), "this is no database, and it is long enough to be looked at".repeat(99)).unwrap();
    assert!(matches!(refused(folder).await, StoreError::Corrupt(_)));
    let folder = sealed().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', 1, x'00', 0)";
    tamper(&database(&folder), newer).await;
    assert!(matches!(refused(folder).await, StoreError::Version(_)));
}

#[tokio::test]
async fn a_locked_file_refuses_and_goes_on_when_it_is_free() {
    let stores = TestStores::sqlite().await;
    let fence = stores.create_run(1).await;
    let mut other = connect_dedicated(&stores.database()).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let refused = stores.stores.journal.append(&run_id(1), fence, Seq(0), &[started("a")], NOW).await;
    assert!(matches!(refused, Err(JournalError::Store(StoreError::Locked))), "{refused:?}");
    assert!(stores.stores.audit.open(opening(1), NOW).await.is_err());
    other.execute("ROLLBACK").await.unwrap();
    let receipt = stores.stores.journal.append(&run_id(1), fence, Seq(0), &[started("a")], NOW).await.unwrap();
    assert_eq!(receipt.through(), Seq(1));
    let verdict = stores.stores.audit.verify().await.unwrap();
    assert!(verdict.is_valid(), "{verdict:?}");
}

#[tokio::test]
async fn a_closing_that_could_not_be_written_is_written_later() {
    let stores = TestStores::sqlite().await;
    let entry = stores.stores.audit.open(opening(1), NOW).await.unwrap();
    let mut other = connect_dedicated(&stores.database()).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    stores.stores.audit.close(entry, closing(), NOW).await;
    assert!(stores.stores.audit.record_system_event("test", "x", NOW).await.is_err());
    other.execute("ROLLBACK").await.unwrap();
    let found = stores.stores.audit.find(opening(1).request.as_str()).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

#[tokio::test]
async fn a_copy_is_whole_and_never_written_over() {
    let stores = TestStores::sqlite().await;
    stores.stores.runs.create(&new_run(1), None, NOW).await.unwrap();
    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().join("greenroom.db");
    stores.stores.maintenance.backup(&to).await.unwrap();
    assert!(stores.stores.maintenance.backup(&to).await.is_err());
    let copy = TestStores::open(copies).await.unwrap();
    assert!(copy.stores.runs.get(&run_id(1)).await.unwrap().is_some());
}

/// Prints what the hot path costs here; run with `GREENROOM_MEASURE=1` and `--nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brackets_of_many_callers_share_their_commits() {
    let stores = TestStores::sqlite().await;
    let many = if std::env::var_os("GREENROOM_MEASURE").is_some() { 2_000 } else { 20 };
    for callers in [1_u128, 64, 512] {
        let begun = std::time::Instant::now();
        let act = |caller: u128| {
            let (audit, ledger) = (stores.stores.audit.clone(), stores.stores.ledger.clone());
            let who = UsageKey { tenant: tenant("acme"), user: UserId::new("alice").unwrap() };
            async move {
                for number in 0..many / callers.min(8) {
                    let entry = audit.open(opening(caller * 100_000 + number), NOW).await.unwrap();
                    ledger.count(&who, Periods::default(), NOW).await.unwrap();
                    audit.close(entry, closing(), NOW).await;
                }
            }
        };
        let mut tasks = tokio::task::JoinSet::new();
        (0..callers).for_each(|caller| {
            tasks.spawn(act(caller));
        });
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        let acts = callers * (many / callers.min(8));
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{callers} callers: {:.0} acts/s, {:.3} ms each",
            acts as f64 / seconds,
            seconds * 1e3 * callers as f64 / acts as f64
        );
    }
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

/// Texts that hold no value of a request: names, states, records of the audit, bodies of definitions.
const NAMELESS: &[&str] = &[
    "audit.record",
    "audit.request",
    "audit_heads.head",
    "audit_open.open",
    "budgets.budget",
    "context_values.key",
    "context_values.run",
    "contexts.run",
    "costs.agent",
    "costs.tenant",
    "costs.user",
    "costs.workflow",
    "definition_versions.body",
    "idempotency_keys.key",
    "idempotency_keys.run",
    "idempotency_keys.tenant",
    "memories.agent",
    "memories.tenant",
    "reservations.reservation",
    "runs.owner",
    "runs.parent",
    "runs.pod",
    "runs.run",
    "runs.status",
    "runs.team",
    "runs.tenant",
    "runs.workflow",
    "usage_minutes.tenant",
    "usage_minutes.user",
];

#[tokio::test]
async fn every_text_of_the_schema_is_searched_for_artifacts_or_known_to_name_none() {
    let stores = TestStores::sqlite().await;
    let mut connection = connect_dedicated(&stores.database()).await.unwrap();
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT tables.name, columns.name FROM sqlite_master tables, pragma_table_info(tables.name) columns \
         WHERE tables.type = 'table' AND tables.name NOT LIKE '\\_%' ESCAPE '\\' AND columns.type = 'TEXT' \
         ORDER BY 1, 2",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    assert!(columns.len() > NAMELESS.len());
    for (table, column) in columns {
        let is_searched = maintenance::ARTIFACT_REFERENCES
            .iter()
            .any(|select| select.starts_with(&format!("SELECT {column} FROM {table}")));
        let is_nameless = NAMELESS.contains(&format!("{table}.{column}").as_str());
        assert_ne!(is_searched, is_nameless, "{table}.{column}: say in sqlite/upkeep.rs or here what it may hold");
    }
}
