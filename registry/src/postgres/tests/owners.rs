//! The owner of a tree, when the reply to its claim, its parking or its release was lost, and who writes to a tree without
//! an owner.

use std::sync::Arc;

use greenroom_protocol as protocol;
use protocol::journal::RunStarted;
use sqlx::Connection as _;

use super::wait_until;
use crate::cluster::LeaseStatus;
use crate::journal::{JournalError, Seq};
use crate::runs::{Created, Fence, NewRun};
use crate::suite::{MINUTE, NOW, TestStores, new_run, pod, run_id, started};

/// The request of a pod to claim trees, as the database receives it.
const CLAIM: &str = "SELECT greenroom_claim_v1((SELECT id FROM pods), 'pod_a', 1800000000000000, 1, 10, '{}')";
/// Until the function has its name again, the requests of a pod fail, as those do whose reply is lost.
const TAKE_CLAIM: &str = "ALTER FUNCTION greenroom_claim_v1 RENAME TO greenroom_claim_v0";
const RETURN_CLAIM: &str = "ALTER FUNCTION greenroom_claim_v0 RENAME TO greenroom_claim_v1";
const TAKE_PARK: &str = "ALTER FUNCTION greenroom_park_v1 RENAME TO greenroom_park_v0";

#[tokio::test]
async fn a_former_owner_writes_nothing_to_a_tree_without_an_owner() {
    let stores = TestStores::postgres().await;
    for number in 1..=2 {
        stores.create_run(number).await;
    }
    assert!(stores.cluster().park(&run_id(1), Fence(1), None, NOW).await.unwrap());
    stores.stores.core.release_tree(&run_id(2), Fence(1), NOW).await;
    for number in 1..=2 {
        let appended = stores.append(&run_id(number), Fence(1), Seq(0), &[started("a")], NOW).await;
        assert!(matches!(appended, Err(JournalError::Fenced)), "{number}: {appended:?}");
        let new = new_run(number + 10);
        let (parent, root) = (Some(run_id(number)), run_id(number));
        let called = Arc::new(RunStarted { parent, root, ..new.started.as_ref().clone() });
        let created = stores.create(&NewRun { started: called, tree_fence: Some(Fence(1)), ..new }, None).await;
        assert!(matches!(created, Err(JournalError::Fenced)), "{number}: {created:?}");
    }
    assert_eq!(stores.test_database().count("SELECT count(*) FROM journal").await, 0);
    assert_eq!(stores.test_database().count("SELECT count(*) FROM runs").await, 2);
}

#[tokio::test]
async fn a_tree_whose_parking_is_not_acknowledged_is_claimed_again_if_it_is_still_owned() {
    let stores = TestStores::postgres().await;
    let (database, cluster) = (stores.test_database(), stores.cluster());
    for number in 1..=2 {
        stores.create_run(number).await;
    }
    // The first one is parked.
    let park = "SELECT greenroom_park_v1(holder, root, 1, 9223372036854775807, true, 0) FROM trees WHERE number = 1";
    database.execute(park).await;
    database.execute(TAKE_PARK).await;
    for number in 1..=2 {
        assert!(cluster.park(&run_id(number), Fence(1), None, NOW).await.is_err());
    }
    let due = cluster.claim_due(&pod(), MINUTE, 10, &[], NOW).await.unwrap();
    assert!(matches!(&due[..], [due] if due.root == run_id(2) && due.tree.fence == Fence(2)), "{due:?}");
    let delayed = "SELECT count(*) FROM trees WHERE number = 2 AND greenroom_park_v0(holder, root, 1, 0, true, 0)";
    assert_eq!(database.count(delayed).await, 0, "a request that is executed late has the earlier fence");
    let _ = stores.append(&run_id(2), Fence(2), Seq(0), &[started("a")], NOW).await.unwrap();
    assert_eq!(cluster.claim_due(&pod(), MINUTE, 10, &[], NOW).await.unwrap(), []);
    assert!(cluster.send(&run_id(1), "message_1", "approve", NOW).await.unwrap());
    let due = cluster.claim_due(&pod(), MINUTE, 10, &[], NOW).await.unwrap();
    assert!(matches!(&due[..], [due] if due.root == run_id(1) && due.was_parked), "{due:?}");
}

#[tokio::test]
async fn a_tree_whose_claim_is_not_acknowledged_is_found_also_while_the_claim_is_being_committed() {
    let stores = TestStores::postgres().await;
    let (database, cluster) = (stores.test_database(), stores.cluster());
    let created = stores.create(&NewRun { is_unowned: true, ..new_run(1) }, None).await.unwrap();
    assert!(matches!(created, Created::New(Fence(1))), "{created:?}");
    let mut connection = database.connect().await;
    let mut claim = connection.begin().await.unwrap();
    sqlx::query(CLAIM).execute(&mut *claim).await.unwrap();
    database.execute(TAKE_CLAIM).await;
    let pod = pod();
    assert!(cluster.claim_due(&pod, MINUTE, 10, &[], NOW).await.is_err());
    database.execute(RETURN_CLAIM).await;
    let mut claiming = std::pin::pin!(cluster.claim_due(&pod, MINUTE, 10, &[], NOW));
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    tokio::select! {
        due = &mut claiming => panic!("it has not waited: {due:?}"),
        () = wait_until(async || database.count(waiting).await == 1) => {}
    }
    claim.commit().await.unwrap();
    let due = claiming.await.unwrap();
    assert!(matches!(&due[..], [due] if due.root == run_id(1) && due.tree.fence == Fence(3)), "{due:?}");
}

#[tokio::test]
async fn a_tree_that_is_being_created_is_not_taken_for_one_of_a_lost_claim() {
    let stores = TestStores::postgres().await;
    let (database, cluster, pod) = (stores.test_database(), stores.cluster(), pod());
    database.execute(TAKE_CLAIM).await;
    assert!(cluster.claim_due(&pod, MINUTE, 10, &[], NOW).await.is_err());
    database.execute(RETURN_CLAIM).await;
    let mut connection = database.connect().await;
    let mut lock = connection.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM pods FOR NO KEY UPDATE").execute(&mut *lock).await.unwrap();
    wait_until(async || cluster.lease_status() == LeaseStatus::Lapsed).await;
    let mut creating = std::pin::pin!(stores.create_run(1));
    tokio::select! {
        fence = &mut creating => panic!("it was released: {fence:?}"),
        () = wait_until(async || database.count("SELECT count(*) FROM trees").await == 1) => {}
    }
    // Its creator does not know yet that it is durable.
    let mut claiming = std::pin::pin!(cluster.claim_due(&pod, MINUTE, 10, &[], NOW));
    let has_read = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' \
                    AND query LIKE '%greenroom_owned_v1%' AND pid <> pg_backend_pid()";
    tokio::select! {
        due = &mut claiming => panic!("it was claimed beside its creator: {due:?}"),
        () = wait_until(async || database.count(has_read).await == 1) => {}
    }
    lock.rollback().await.unwrap();
    let (fence, due) = tokio::join!(creating, claiming);
    assert_eq!((fence, due.unwrap()), (Fence(1), Vec::new()));
    let _ = stores.append(&run_id(1), fence, Seq(0), &[started("a")], NOW).await.unwrap();
}
