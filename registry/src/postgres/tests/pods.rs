//! Death of pods, and what the others do: nothing of a dead pod is written, what it has left is cleaned, its trees are
//! claimed; parked trees and messages.

use greenroom_protocol as protocol;
use protocol::audit::Event;
use protocol::{PodId, TenantId};
use sqlx::Connection as _;

use super::{COST, account, key, limits, wait_until};
use crate::audit::AuditScope;
use crate::cluster::LeaseStatus;
use crate::core::{Unit, UnitError};
use crate::error::StoreError;
use crate::idempotency::KeyStatus;
use crate::journal::{AppendPosition, JournalError, Seq};
use crate::runs::{Created, Fence, NewRun, OwnerActivity, TreeCounts};
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{MINUTE, NOW, TestStores, new_run_of, opening, run_id, started, tenant};

#[tokio::test]
async fn nothing_of_a_dead_pod_is_written() {
    let stores = TestStores::postgres().await;
    let fence = stores.create_run(1).await;
    stores.test_database().execute("UPDATE pods SET dead = true").await;
    let (run, entries) = (run_id(1), [started("a")]);
    let position = AppendPosition { run: &run, fence, after: Seq(0) };
    let appended = stores.stores.core.commit(Unit::new(NOW).append(position, &entries)).await;
    assert!(matches!(appended, Err(UnitError::Store(StoreError::PodDead | StoreError::Closed))), "{appended:?}");
    let call = protocol::CallKey::new("call").unwrap();
    assert!(stores.reserve(&account(), &limits(100), COST, &call, NOW).await.is_err());
    let hash = protocol::ContentHash::from_content(b"x");
    assert!(stores.stores.definitions.put(&hash, "x").await.is_err());
    assert_eq!(stores.test_database().count("SELECT count(*) FROM journal").await, 0);
    assert_eq!(stores.test_database().count("SELECT count(*) FROM reservations").await, 0);
}

#[tokio::test]
async fn a_pod_that_does_not_renew_its_lease_is_declared_dead_and_cleaned() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 2).await.unwrap();
    let b = open_pod(&database.url(), "pod_b", 2).await.unwrap();
    let (acme, body) = (tenant("acme"), protocol::ContentHash::from_content(b"body"));
    let fence = a.create_run(1).await;
    let (status, reserved) = a.begin(&acme, &key("k"), &body).await;
    assert_eq!(status, KeyStatus::New);
    let entry = a.stores.core.open_entry(opening(1), NOW).await.unwrap();
    let call = protocol::CallKey::new("call").unwrap();
    let reservation = a.reserve(&account(), &limits(1_000), COST, &call, NOW).await.unwrap();
    // Its tasks end with its process, so no permit can do anything any more.
    assert!(a.kill().await.is_none());
    std::mem::forget((reserved, entry, reservation));
    wait_until(async || database.count("SELECT count(*) FROM pods WHERE dead AND cleaned").await == 1).await;
    let (status, own) = b.begin(&acme, &key("k"), &body).await;
    assert_eq!(status, KeyStatus::New, "its key is free");
    drop(own);
    let records = b.stores.audit.find(&AuditScope::All, opening(1).request.as_str()).await.unwrap();
    assert!(matches!(records[..], [_, _]), "{records:?}");
    assert!(matches!(records[1].event, Event::Interrupted { .. }));
    assert_ne!(records[1].chain, records[0].chain, "it is closed in a chain of the other pod");
    let costs = b.stores.ledger.costs(None).await.unwrap();
    assert_eq!((costs[0].calls, costs[0].calls_estimated, costs[0].estimated), (0, 1, COST));
    let cluster = b.cluster();
    let pod = PodId::new("pod_b").unwrap();
    let trees = cluster.claim_due(&pod, MINUTE, 10, &[], NOW).await.unwrap();
    assert_eq!(trees.len(), 1);
    assert!(trees[0].tree.fence > fence && trees[0].attempts == 1, "{trees:?}");
    assert_eq!(trees[0].tree.last_activity, Some(OwnerActivity { since: NOW, until: NOW }), "by the clock of the pod");
    assert!(b.stores.audit.verify().await.unwrap().is_valid());
}

/// Prevents that an entry is closed as interrupted, and counts how often a pod begins to clean what another one has left.
const PREVENT_CLOSINGS: &str = "\
    CREATE SEQUENCE cleanings; \
    CREATE FUNCTION count_cleaning() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN PERFORM nextval('cleanings'); RETURN NULL; END $$; \
    CREATE TRIGGER count_cleaning AFTER UPDATE OF cleaner ON pods FOR EACH ROW EXECUTE FUNCTION count_cleaning(); \
    CREATE FUNCTION prevent_closing() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN RAISE EXCEPTION 'for the test'; END $$; \
    CREATE TRIGGER prevent_closing BEFORE INSERT ON audit FOR EACH ROW WHEN (NEW.record LIKE '%\"interrupted\"%') \
        EXECUTE FUNCTION prevent_closing()";

#[tokio::test]
async fn an_entry_that_a_dead_pod_has_left_open_is_closed_once_however_often_that_is_repeated() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let b = open_pod(&database.url(), "pod_b", 1).await.unwrap();
    let entry = a.stores.core.open_entry(opening(1), NOW).await.unwrap();
    database.execute(PREVENT_CLOSINGS).await;
    assert!(a.kill().await.is_none());
    std::mem::forget(entry);
    // The first time it is declared dead; then each attempt leaves a closing to the lane.
    wait_until(async || database.count("SELECT last_value FROM cleanings").await >= 4).await;
    database.execute("DROP TRIGGER prevent_closing ON audit").await;
    wait_until(async || database.count("SELECT count(*) FROM pods WHERE dead AND cleaned").await == 1).await;
    let records = b.stores.audit.find(&AuditScope::All, opening(1).request.as_str()).await.unwrap();
    assert!(matches!(records[..], [_, _]), "{records:?}");
    assert!(matches!(records[1].event, Event::Interrupted { .. }));
    assert!(b.stores.audit.verify().await.unwrap().is_valid());
}

#[tokio::test]
async fn a_pod_that_leaves_releases_its_trees_at_once() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let b = open_pod(&database.url(), "pod_b", 1).await.unwrap();
    a.create_run(1).await;
    a.stores.maintenance.close(NOW).await.unwrap();
    let pod = PodId::new("pod_b").unwrap();
    let tree = b.stores.core.claim_tree(&run_id(1), &pod, MINUTE, NOW).await.unwrap();
    assert_eq!(tree.and_then(|tree| tree.last_activity), Some(OwnerActivity { since: NOW, until: NOW }));
    assert_eq!(database.count("SELECT count(*) FROM pods WHERE dead AND cleaned").await, 1);
}

#[tokio::test]
async fn due_trees_are_claimed_once_and_of_each_tenant_equally_many() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    for number in 1..=6 {
        let name = if number <= 4 { "acme" } else { "globex" };
        a.create(&new_run_of(name, number), None).await.unwrap();
        a.stores.core.release_tree(&run_id(number), Fence(1), NOW).await;
    }
    let b = open_pod(&database.url(), "pod_b", 1).await.unwrap();
    let claim = async |stores: &TestStores, name: &str| {
        let pod = PodId::new(name).unwrap();
        let trees = stores.cluster().claim_due(&pod, MINUTE, 4, &[], NOW).await.unwrap();
        trees.into_iter().map(|due| due.root).collect::<Vec<_>>()
    };
    let first = claim(&b, "pod_b").await;
    assert_eq!(first, [1, 2, 5, 6].map(run_id));
    let (second, third) = tokio::join!(claim(&a, "pod_a"), claim(&b, "pod_b"));
    let mut rest = [second, third].concat();
    rest.sort();
    let mut expected = [3, 4].map(run_id);
    expected.sort();
    assert_eq!(rest, expected);
}

#[tokio::test]
async fn a_parked_tree_is_claimed_in_time_or_when_a_message_comes() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let b = open_pod(&database.url(), "pod_b", 1).await.unwrap();
    let (cluster, pod, later) = (b.cluster(), PodId::new("pod_b").unwrap(), NOW.saturating_add(MINUTE));
    for number in 1..=2 {
        a.create_run(number).await;
    }
    assert!(a.cluster().park(&run_id(1), Fence(1), Some(later), NOW).await.unwrap());
    assert!(a.cluster().park(&run_id(2), Fence(1), None, NOW).await.unwrap());
    assert!(!a.cluster().park(&run_id(2), Fence(1), None, NOW).await.unwrap(), "it has no owner any more");
    assert_eq!(cluster.claim_due(&pod, MINUTE, 10, &[], NOW).await.unwrap(), []);
    assert_eq!(b.stores.runs.list_unclaimed(None, NOW, 10).await.unwrap(), []);
    let due = cluster.claim_due(&pod, MINUTE, 10, &[], later).await.unwrap();
    assert_eq!(due.iter().map(|due| &due.root).collect::<Vec<_>>(), [&run_id(1)]);
    for _ in 0..2 {
        assert!(a.cluster().send(&run_id(2), "message_1", "approve", NOW).await.unwrap());
    }
    assert!(a.cluster().has_message(&run_id(2), "message_1").await.unwrap());
    assert!(!a.cluster().has_message(&run_id(1), "message_1").await.unwrap());
    assert!(!a.cluster().send(&run_id(9), "message_1", "approve", NOW).await.unwrap());
    let due = cluster.claim_due(&pod, MINUTE, 10, &[], NOW).await.unwrap();
    assert_eq!(due.iter().map(|due| &due.root).collect::<Vec<_>>(), [&run_id(2)]);
    assert!(due[0].was_parked);
    assert!(!cluster.park(&run_id(2), due[0].tree.fence, None, NOW).await.unwrap(), "it has a message");
    let mut work = cluster.watch();
    let mut messages = Vec::new();
    wait_until(async || {
        messages.clone_from(&work.borrow_and_update().messages);
        !messages.is_empty()
    })
    .await;
    assert_eq!(messages.iter().map(|message| &*message.body).collect::<Vec<_>>(), ["approve"]);
    cluster.remove_message(&run_id(2), "message_1").await.unwrap();
    assert!(cluster.park(&run_id(2), due[0].tree.fence, None, NOW).await.unwrap());
    let stale = a.append(&run_id(2), Fence(1), Seq(0), &[started("a")], NOW).await;
    assert!(matches!(stale, Err(JournalError::Fenced)));
}

#[tokio::test]
async fn the_trees_of_another_pod_are_counted_as_owned_until_it_is_dead() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let b = open_pod(&database.url(), "pod_b", 1).await.unwrap();
    a.create_run(1).await;
    let new = NewRun { is_unowned: true, ..new_run_of("globex", 2) };
    assert!(matches!(a.create(&new, None).await.unwrap(), Created::New(_)));
    assert_eq!(b.stores.runs.count_trees(NOW, 10).await.unwrap(), TreeCounts { waiting: 1, owned: 1 });
    assert!(a.kill().await.is_none());
    wait_until(async || database.count("SELECT count(*) FROM pods WHERE dead").await == 1).await;
    assert_eq!(b.stores.runs.count_trees(NOW, 10).await.unwrap(), TreeCounts { waiting: 2, owned: 0 });
}

#[tokio::test]
async fn no_tree_of_a_tenant_that_is_full_is_claimed() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    for (number, name) in [(1, "acme"), (2, "globex")] {
        let new = NewRun { is_unowned: true, ..new_run_of(name, number) };
        assert!(matches!(a.create(&new, None).await.unwrap(), Created::New(_)));
    }
    let pod = PodId::new("pod_a").unwrap();
    let claim = async |full: &[TenantId]| {
        let trees = a.cluster().claim_due(&pod, MINUTE, 10, full, NOW).await.unwrap();
        trees.into_iter().map(|due| due.root).collect::<Vec<_>>()
    };
    assert_eq!(claim(&[tenant("acme")]).await, [run_id(2)]);
    assert_eq!(claim(&[]).await, [run_id(1)], "it was created without an owner");
    assert_eq!(claim(&[]).await, []);
}

#[tokio::test]
async fn a_tree_that_has_failed_or_was_deferred_is_due_later() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let (cluster, pod, later) = (a.cluster(), PodId::new("pod_a").unwrap(), NOW.saturating_add(MINUTE));
    for number in 1..=2 {
        a.create_run(number).await;
    }
    a.stores.core.fail_tree_until(&run_id(1), Fence(1), later, NOW).await.unwrap();
    assert!(cluster.defer(&run_id(2), Fence(1), later, NOW).await.unwrap());
    assert!(!cluster.defer(&run_id(2), Fence(1), later, NOW).await.unwrap(), "it has no owner any more");
    assert_eq!(cluster.claim_due(&pod, MINUTE, 10, &[], NOW).await.unwrap(), []);
    let due = cluster.claim_due(&pod, MINUTE, 10, &[], later).await.unwrap();
    let found: Vec<_> = due.iter().map(|due| (due.root.clone(), due.was_parked, due.tree.failures)).collect();
    assert_eq!(found, [(run_id(1), false, 1), (run_id(2), false, 0)]);
}

#[tokio::test]
async fn a_tree_of_this_pod_whose_lease_is_over_is_claimed_again() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let fence = a.create_run(1).await;
    let (pod, later) = (PodId::new("pod_a").unwrap(), NOW.saturating_add(MINUTE * 2));
    assert_eq!(a.cluster().claim_due(&pod, MINUTE, 10, &[], NOW).await.unwrap(), []);
    let due = a.cluster().claim_due(&pod, MINUTE, 10, &[], later).await.unwrap();
    assert!(matches!(&due[..], [due] if due.tree.fence > fence && due.attempts == 0), "{due:?}");
}

#[tokio::test]
async fn a_pod_whose_lease_has_lapsed_releases_no_receipt_until_it_is_renewed() {
    let stores = TestStores::postgres().await;
    let fence = stores.create_run(1).await;
    // The renewal changes the row, which this lock prevents; a batch locks its key only.
    let mut connection = stores.test_database().connect().await;
    let mut lock = connection.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM pods FOR NO KEY UPDATE").execute(&mut *lock).await.unwrap();
    wait_until(async || stores.cluster().lease_status() == LeaseStatus::Lapsed).await;
    assert!(matches!(stores.cluster().check_lease(), Err(StoreError::Lapsed)));
    let (run, entries) = (run_id(1), [started("a")]);
    let append = stores.append(&run, fence, Seq(0), &entries, NOW);
    let mut append = std::pin::pin!(append);
    let is_written = async || stores.test_database().count("SELECT count(*) FROM journal").await == 1;
    tokio::select! {
        appended = &mut append => panic!("it was released: {appended:?}"),
        () = wait_until(is_written) => {}
    }
    assert!(futures::poll!(&mut append).is_pending(), "it is durable, and not released");
    lock.rollback().await.unwrap();
    assert_eq!(append.await.unwrap().through(), Seq(1));
    assert_eq!(stores.cluster().lease_status(), LeaseStatus::Live);
}

#[tokio::test]
async fn what_a_pod_has_written_is_not_released_once_it_is_dead() {
    let stores = TestStores::postgres().await;
    let fence = stores.create_run(1).await;
    let mut connection = stores.test_database().connect().await;
    let mut lock = connection.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM pods FOR NO KEY UPDATE").execute(&mut *lock).await.unwrap();
    wait_until(async || stores.cluster().lease_status() == LeaseStatus::Lapsed).await;
    let (run, entries) = (run_id(1), [started("a")]);
    let mut append = std::pin::pin!(stores.append(&run, fence, Seq(0), &entries, NOW));
    let is_written = async || stores.test_database().count("SELECT count(*) FROM journal").await == 1;
    tokio::select! {
        appended = &mut append => panic!("it was released: {appended:?}"),
        () = wait_until(is_written) => {}
    }
    sqlx::query("UPDATE pods SET dead = true").execute(&mut *lock).await.unwrap();
    lock.commit().await.unwrap();
    let appended = append.await;
    assert!(matches!(appended, Err(JournalError::Store(StoreError::OutcomeUnknown))), "{appended:?}");
    stores.cluster().wait_dead().await;
    assert!(matches!(stores.cluster().check_lease(), Err(StoreError::PodDead)));
}
