//! Tests that need a server of PostgreSQL: several pods on one database, death, lost outcomes, tampering, schemas.

mod abandoned;
mod agent_memory;
mod artifact_locations;
mod audit;
mod charged;
mod faults;
mod format;
mod generations;
mod lanes;
mod leases;
mod lookups;
mod many_chains;
mod nudge;
mod outage;
mod owners;
mod plain;
mod pods;
mod prune;
mod refusals;
mod restored;
mod root_anchors;
mod silence;
mod tls;

use greenroom_protocol as protocol;
use protocol::{AgentId, CallKey, ContentHash, MicroUsd, PriceBasis};

use super::link::{BatchId, OutcomeRow, try_resolve};
use super::maintenance::ARTIFACT_REFERENCES;
use crate::audit::signer::Signer;
use crate::core::Unit;
use crate::error::StoreError;
use crate::idempotency::KeyStatus;
use crate::journal::{JournalError, Seq};
use crate::ledger::{Account, Amount, Budget, Limit, Period, ReserveError, Settlement};
use crate::runs::{Created, DedupKey};
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{MINUTE, NOW, TestStores, new_run, opening, pod, principal, run_id, started, tenant};
use crate::{examine_postgres, migrate_postgres};

fn account() -> Account {
    Account {
        principal: principal("alice"),
        agent: AgentId::new("writer").unwrap(),
        workflow: None,
        run: Some(run_id(1)),
        model: "play.one".into(),
        price: PriceBasis::Listed,
    }
}

fn limits(micros: u64) -> [Limit; 1] {
    let budget = Budget::Tenant(tenant("acme"));
    [Limit { budget, period: Period::AllTime, cost_max: Some(MicroUsd(micros)), tokens_max: None }]
}

const COST: Amount = Amount { tokens: protocol::Tokens { input: 3, output: 4 }, cost: MicroUsd(60) };

fn key(text: &str) -> DedupKey {
    DedupKey::Call(CallKey::new(text).unwrap())
}

/// Waits until a condition holds, for at most half a minute.
async fn wait_until(mut is_met: impl AsyncFnMut() -> bool) {
    let waiting = async {
        let mut interval = tokio::time::interval(std::time::Duration::from_millis(20));
        while !is_met().await {
            interval.tick().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.expect("the condition is met in time");
}

/// The problem of opening a database.
async fn open_error(url: &str) -> StoreError {
    match open_pod(url, "pod_z", 1).await {
        Ok(_) => panic!("the database was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_database_at_an_older_or_a_newer_migration_is_refused_and_reported_by_the_check() {
    let database = TestDatabase::empty().await;
    let error = open_error(&database.url()).await;
    assert!(matches!(&error, StoreError::Unmigrated(text) if text.contains("greenroom db migrate")), "{error}");
    let report = examine_postgres(&database.url(), None).await.unwrap();
    assert_eq!((report.schema, report.is_ok()), (0, false));
    assert!(report.problems[0].contains("greenroom db migrate"), "{report:?}");
    let newest = migrate_postgres(&database.url()).await.unwrap();
    assert_eq!(migrate_postgres(&database.url()).await.unwrap(), newest, "a second time it changes nothing");
    database
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'later', true, '', 0)",
        )
        .await;
    assert!(matches!(open_error(&database.url()).await, StoreError::Version(text) if text.contains("9999")));
    assert!(matches!(migrate_postgres(&database.url()).await, Err(StoreError::Version(_))));
}

#[tokio::test]
async fn a_read_only_database_and_one_without_a_server_have_errors_of_their_own() {
    let database = TestDatabase::migrated().await;
    let url = format!("{}&options=-c%20default_transaction_read_only%3Don", database.url());
    assert!(matches!(open_error(&url).await, StoreError::ReadOnly));
    let report = examine_postgres(&url, None).await.unwrap();
    assert!(report.problems.iter().any(|problem| problem.contains("read-only")), "{report:?}");
    let url = format!("{}&options=-c%20synchronous_commit%3Doff", database.url());
    let report = examine_postgres(&url, None).await.unwrap();
    assert!(report.problems.iter().any(|problem| problem.contains("synchronous_commit")), "{report:?}");
    assert!(matches!(open_error("postgres://nobody@127.0.0.1:1/none").await, StoreError::Unreachable(_)));
}

#[tokio::test]
async fn a_pod_with_another_key_is_refused() {
    let database = TestDatabase::migrated().await;
    drop(open_pod(&database.url(), "pod_a", 1).await.unwrap());
    let other = Signer::ephemeral([8; 32]);
    let report = examine_postgres(&database.url(), Some(other.chain_key())).await.unwrap();
    assert!(report.problems.iter().any(|problem| problem.contains("audit.key")), "{report:?}");
    let own = Signer::ephemeral([7; 32]);
    let report = examine_postgres(&database.url(), Some(own.chain_key())).await.unwrap();
    assert!(report.is_ok(), "{report:?}");
}

#[tokio::test]
async fn a_pod_that_has_opened_the_database_before_is_refused() {
    let database = TestDatabase::migrated().await;
    let first = open_pod(&database.url(), "pod_z", 1).await.unwrap();
    first.stores.maintenance.close(NOW).await.unwrap();
    let error = open_error(&database.url()).await;
    assert!(matches!(&error, StoreError::Failed(text) if text.contains("pod_z")), "{error}");
}

#[tokio::test]
async fn a_batch_whose_id_is_void_is_never_committed() {
    let stores = TestStores::postgres().await;
    let database = stores.test_database();
    let mut connection = database.connect().await;
    let pod = database.count("SELECT id FROM pods").await;
    let id = BatchId { pod, lane: 0, batch: 1_000 };
    for _ in 0..2 {
        assert_eq!(try_resolve(&mut connection, id, OutcomeRow::Batch).await.unwrap(), None);
    }
    let call = "SELECT greenroom_accounts_v2((SELECT id FROM pods), 0, 1000, '{}') LIKE '%void%' AS x";
    assert_eq!(database.count("SELECT count(*) FROM batches WHERE void").await, 1);
    let is_void: bool = sqlx::query_scalar(call).fetch_one(&mut connection).await.unwrap();
    assert!(is_void);
    // One that was committed is found with its result, and its id cannot become void.
    let committed = BatchId { batch: 1_001, ..id };
    let call = "SELECT greenroom_accounts_v2((SELECT id FROM pods), 0, 1001, '{}')";
    let result: String = sqlx::query_scalar(call).fetch_one(&mut connection).await.unwrap();
    assert_eq!(try_resolve(&mut connection, committed, OutcomeRow::Batch).await.unwrap(), Some(result));
}

#[tokio::test]
async fn a_lane_whose_connection_is_lost_continues_and_executes_each_unit_once() {
    let stores = TestStores::postgres().await;
    let fence = stores.create_run(1).await;
    for seq in 0..5 {
        stores
            .test_database()
            .count(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
        let receipt = stores.append(&run_id(1), fence, Seq(seq), &[started("a")], NOW).await.unwrap();
        assert_eq!(receipt.through(), Seq(seq + 1));
    }
    let entry = stores.stores.core.open_entry(opening(1), NOW).await.unwrap();
    stores.stores.core.close_entry(entry, crate::suite::closing(), NOW).await;
    assert_eq!(stores.stores.runs.get(&run_id(1)).await.unwrap().unwrap().seq, Seq(5));
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

#[tokio::test]
async fn of_two_pods_with_one_request_one_creates_the_run() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 2).await.unwrap();
    let b = open_pod(&database.url(), "pod_b", 2).await.unwrap();
    for number in 1..=20 {
        let (new, key) = (new_run(number), key(&format!("k{number}")));
        let (first, second) = tokio::join!(a.create(&new, Some(&key)), b.create(&new, Some(&key)));
        let created = [first.unwrap(), second.unwrap()];
        assert_eq!(created.iter().filter(|created| matches!(created, Created::New(_))).count(), 1, "{created:?}");
        assert!(created.contains(&Created::Existing(run_id(number))), "{created:?}");
    }
    let body = ContentHash::from_content(b"body");
    let (acme, key) = (tenant("acme"), key("request"));
    let (first, second) = tokio::join!(a.begin(&acme, &key, &body), b.begin(&acme, &key, &body));
    let mut statuses = [first.0, second.0];
    statuses.sort_by_key(|status| *status != KeyStatus::New);
    assert_eq!(statuses, [KeyStatus::New, KeyStatus::InProgress]);
}

#[tokio::test]
async fn two_pods_cannot_overspend_a_budget_together() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let pods = [a, open_pod(&database.url(), "pod_b", 1).await.unwrap()];
    let (account, limits) = (account(), limits(1_000));
    let call = async |number: usize| {
        let key = CallKey::new(format!("call/{number}")).unwrap();
        pods[number % 2].reserve(&account, &limits, COST, &key, NOW).await
    };
    let all = futures::future::join_all((0..200).map(call)).await;
    let (reserved, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!(reserved.len(), 1_000 / 60);
    assert!(refused.iter().all(|error| matches!(error, Err(ReserveError::Exceeded { .. }))));
}

#[tokio::test]
async fn a_settlement_in_the_unit_of_its_step_frees_the_budget() {
    let stores = TestStores::postgres().await;
    let (fence, run, entries) = (stores.create_run(1).await, run_id(1), [started("a")]);
    let call = CallKey::new("call").unwrap();
    let reservation = stores.reserve(&account(), &limits(100), COST, &call, NOW).await.unwrap();
    assert!(stores.reserve(&account(), &limits(100), COST, &call, NOW).await.is_err());
    let actual = Settlement::Actual(Amount { cost: MicroUsd(7), ..COST });
    let settled = stores.stores.ledger.settle(reservation, actual, NOW);
    let position = crate::journal::AppendPosition { run: &run, fence, after: Seq(0) };
    let unit = Unit::new(NOW).append(position, &entries).settle([settled]);
    drop(stores.stores.core.commit(unit).await.unwrap());
    let charged = stores.stores.ledger.charged(&Budget::Run(run_id(1))).await.unwrap();
    assert_eq!((charged.settled.cost, charged.reserved.cost), (MicroUsd(7), MicroUsd(0)));
    drop(stores.reserve(&account(), &limits(100), COST, &call, NOW).await.unwrap());
}

#[tokio::test]
async fn what_is_durable_survives_the_end_of_a_process() {
    let stores = TestStores::postgres().await;
    let fence = stores.create_run(1).await;
    let _ = stores.append(&run_id(1), fence, Seq(0), &[started("a")], NOW).await.unwrap();
    let database = stores.kill().await.unwrap();
    let next = open_pod(&database.url(), "pod_b", 1).await.unwrap();
    assert_eq!(next.stores.runs.get(&run_id(1)).await.unwrap().unwrap().seq, Seq(1));
    assert_eq!(next.stores.core.claim_tree(&run_id(1), &pod(), MINUTE, NOW).await.unwrap(), None, "its owner may live");
    database.execute("UPDATE pods SET dead = true WHERE pod = 'pod_a'").await;
    let tree = next.stores.core.claim_tree(&run_id(1), &pod(), MINUTE, NOW).await.unwrap().unwrap();
    assert!(tree.fence > fence);
    let stale = next.append(&run_id(1), fence, Seq(1), &[started("b")], NOW).await;
    assert!(matches!(stale, Err(JournalError::Fenced)));
    let _ = next.append(&run_id(1), tree.fence, Seq(1), &[started("b")], NOW).await.unwrap();
}

#[tokio::test]
async fn any_character_is_stored() {
    let stores = TestStores::postgres().await;
    let body = "a\u{0}b – ü";
    let hash = ContentHash::from_content(body.as_bytes());
    stores.stores.definitions.put(&hash, body).await.unwrap();
    assert_eq!(stores.stores.definitions.get(&hash).await.unwrap().as_deref(), Some(body));
    let fence = stores.create_run(1).await;
    let entries = [crate::suite::done("a", body)];
    let _ = stores.append(&run_id(1), fence, Seq(0), &entries, NOW).await.unwrap();
    assert_eq!(stores.stores.journal.read(&run_id(1), Seq(0), 1).await.unwrap()[0].entry, entries[0]);
    stores.stores.core.record_system_event("test", body, NOW).await.unwrap();
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

/// Columns of texts and bytes without values of a request: names, statuses, hashes, audit records, definitions.
const UNREFERENCING_TABLES: &[&str] = &[
    "accounts",
    "account_days",
    "api_keys",
    "audit",
    "audit_chains",
    "audit_open",
    "audit_root",
    "batches",
    "cluster_format",
    "costs",
    "credential_revision",
    "current_generations",
    "definition_versions",
    "definitions_in_service",
    "generation_files",
    "generation_members",
    "generations",
    "memory_owners",
    "pods",
    "principals",
    "reservations",
    "runs",
    "settlements",
    "store_identity",
    "subjects",
    "trees",
    "usage_minutes",
];

#[tokio::test]
async fn every_table_is_scanned_for_artifacts_or_listed_without_references() {
    let database = TestDatabase::migrated().await;
    let sql = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' \
               AND table_name NOT LIKE '\\_%' ORDER BY 1";
    let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut database.connect().await).await.unwrap();
    assert!(tables.len() > UNREFERENCING_TABLES.len());
    for table in tables {
        let is_scanned = ARTIFACT_REFERENCES.iter().any(|select| {
            let (_, from) = select.split_once(" FROM ").unwrap();
            from.split(' ').next() == Some(&*table)
        });
        let is_unreferencing = UNREFERENCING_TABLES.contains(&table.as_str());
        assert_ne!(is_scanned, is_unreferencing, "{table}: list it in postgres/maintenance.rs or here");
    }
}
