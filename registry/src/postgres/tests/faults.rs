//! Connections that break within an operation: it has its result, or an error that says what became of it.

use greenroom_protocol as protocol;
use protocol::{CallKey, ContentHash, MicroUsd, PodId};

use super::{COST, account, limits};
use crate::error::StoreError;
use crate::journal::Seq;
use crate::ledger::{Amount, Budget, Settlement};
use crate::runs::Fence;
use crate::suite::call_proxy::{CallFault, CallProxy};
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{MINUTE, NOW, TestStores, closing, done, opening, run_id, started};

/// Faults that end the connection, and the call with it.
pub(super) const CUTS: [CallFault; 5] =
    [CallFault::CutBefore, CallFault::CutWithin, CallFault::CutUnderWay, CallFault::CutAfter, CallFault::CutReply];

/// A pod whose database is on the other side of a proxy.
pub(super) async fn open_by_proxy(database: &TestDatabase) -> (TestStores, CallProxy) {
    let proxy = database.proxy().await;
    (open_pod(&database.url_by(proxy.address()), "pod_a", 1).await.unwrap(), proxy)
}

#[tokio::test]
async fn a_unit_whose_connection_breaks_at_any_moment_is_taken_once_and_has_its_receipts() {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    let fence = stores.create_run(1).await;
    for (number, fault) in (0..).zip(CallFault::CUTS) {
        // After one that was overtaken, the next unit passes.
        proxy.fail(&["greenroom_commit_"], &[fault, CallFault::None]);
        let receipt = stores.append(&run_id(1), fence, Seq(number), &[done("a", "x")], NOW).await.unwrap();
        assert_eq!(receipt.through(), Seq(number + 1), "{fault:?}");
        proxy.fail(&["greenroom_commit_"], &[fault, CallFault::None]);
        let entry = stores.stores.core.open_entry(opening(number.into()), NOW).await.unwrap();
        stores.stores.core.close_entry(entry, closing(), NOW).await;
        proxy.fail(&["greenroom_accounts_"], &[fault, CallFault::None]);
        let call = CallKey::new(format!("call/{number}")).unwrap();
        let reservation = stores.reserve(&account(), &limits(1_000), COST, &call, NOW).await.unwrap();
        let actual = Settlement::Actual(Amount { cost: MicroUsd(7), ..COST });
        stores.settle(reservation, actual, NOW).await;
    }
    let count = CallFault::CUTS.len() as u64;
    let charged = stores.stores.ledger.charged(&Budget::Run(run_id(1))).await.unwrap();
    assert_eq!((charged.settled.cost, charged.reserved.cost), (MicroUsd(7 * count), MicroUsd(0)));
    assert_eq!(stores.stores.runs.get(&run_id(1)).await.unwrap().unwrap().seq, Seq(count));
    assert_eq!(database.count("SELECT count(*) FROM journal").await, 6);
    let report = stores.stores.audit.verify().await.unwrap();
    assert!(report.is_valid() && report.records == 2 * count, "{report:?}");
    assert_eq!(database.count("SELECT count(*) FROM audit_open").await, 0);
    assert!(proxy.failed() >= 3 * CallFault::CUTS.len(), "{}", proxy.failed());
    assert!(database.count("SELECT count(*) FROM batches WHERE void").await > 0);
}

#[tokio::test]
async fn a_transaction_whose_connection_breaks_is_rolled_back_or_its_outcome_is_unknown() {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    let definitions = &stores.stores.definitions;
    for target in ["BEGIN", "INSERT INTO definition_versions", "COMMIT"] {
        for fault in CUTS {
            let body = format!("{target} {fault:?}");
            let hash = ContentHash::from_content(body.as_bytes());
            proxy.fail(&[target], &[fault]);
            let error = definitions.put(&hash, &body).await.unwrap_err();
            if target == "COMMIT" {
                assert!(matches!(error, StoreError::OutcomeUnknown), "{body}: {error}");
            } else {
                assert!(matches!(error, StoreError::Unreachable(_)), "{body}: {error}");
                assert_eq!(definitions.get(&hash).await.unwrap(), None, "{body}");
            }
            definitions.put(&hash, &body).await.unwrap();
            assert_eq!(definitions.get(&hash).await.unwrap().as_deref(), Some(&*body));
        }
    }
    assert_eq!(database.count("SELECT count(*) FROM definition_versions").await, 15);
    assert_eq!(proxy.failed(), 15);
}

#[tokio::test]
async fn a_read_whose_connection_breaks_is_an_error_and_the_next_one_has_another_connection() {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    stores.create_run(1).await;
    for fault in CUTS {
        proxy.fail(&["FROM runs r JOIN trees t"], &[fault]);
        let error = stores.stores.runs.get(&run_id(1)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable(_)), "{fault:?}: {error}");
        assert!(stores.stores.runs.get(&run_id(1)).await.unwrap().is_some(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_message_whose_connection_breaks_has_an_unknown_outcome_and_is_added_once() {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    stores.create_run(1).await;
    for fault in CUTS {
        let id = format!("{fault:?}");
        proxy.fail(&["greenroom_send_"], &[fault]);
        let error = stores.cluster().send(&run_id(1), &id, "approve", NOW).await.unwrap_err();
        assert!(matches!(error, StoreError::OutcomeUnknown), "{fault:?}: {error}");
        assert!(stores.cluster().send(&run_id(1), &id, "approve", NOW).await.unwrap());
    }
    assert_eq!(database.count("SELECT count(*) FROM inbox").await, 5);
}

#[tokio::test]
async fn a_claim_whose_connection_breaks_loses_no_tree() {
    let database = TestDatabase::migrated().await;
    let first = open_pod(&database.url(), "pod_z", 1).await.unwrap();
    let (stores, proxy) = open_by_proxy(&database).await;
    let (cluster, pod) = (stores.cluster(), PodId::new("pod_a").unwrap());
    for (number, fault) in (1..).zip(CUTS) {
        first.create_run(number).await;
        first.stores.core.release_tree(&run_id(number), Fence(1), NOW).await;
        proxy.fail(&["greenroom_claim_"], &[fault]);
        assert!(cluster.claim_due(&pod, MINUTE, 10, &[], NOW).await.is_err(), "{fault:?}");
        let mut claimed = Vec::new();
        super::wait_until(async || {
            claimed.extend(cluster.claim_due(&pod, MINUTE, 10, &[], NOW).await.unwrap());
            !claimed.is_empty()
        })
        .await;
        let [due] = &claimed[..] else { panic!("{fault:?}: {claimed:?}") };
        // A claim that was executed is repeated with the next fence.
        assert!(due.root == run_id(number) && due.tree.fence >= Fence(2), "{fault:?}: {due:?}");
        let _ = stores.append(&run_id(number), due.tree.fence, Seq(0), &[started("a")], NOW).await.unwrap();
    }
}

#[tokio::test]
async fn a_parking_whose_connection_breaks_loses_no_tree() {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    let (cluster, pod) = (stores.cluster(), PodId::new("pod_a").unwrap());
    for (number, fault) in (1..).zip(CUTS) {
        stores.create_run(number).await;
        proxy.fail(&["greenroom_park_"], &[fault]);
        assert!(cluster.park(&run_id(number), Fence(1), None, NOW).await.is_err(), "{fault:?}");
        // It wakes the tree, if that is parked.
        assert!(cluster.send(&run_id(number), "message_1", "approve", NOW).await.unwrap());
        let mut claimed = Vec::new();
        super::wait_until(async || {
            claimed.extend(cluster.claim_due(&pod, MINUTE, 10, &[], NOW).await.unwrap());
            !claimed.is_empty()
        })
        .await;
        let [due] = &claimed[..] else { panic!("{fault:?}: {claimed:?}") };
        assert!(due.root == run_id(number) && due.tree.fence == Fence(2), "{fault:?}: {due:?}");
        let _ = stores.append(&run_id(number), Fence(2), Seq(0), &[started("a")], NOW).await.unwrap();
    }
}
