//! The lease of a pod at the moment of an act: after its machine was suspended, and after its death.

use std::sync::Arc;

use greenroom_protocol as protocol;
use sqlx::Connection as _;

use super::{COST, account, limits, wait_until};
use crate::cluster::LeaseStatus;
use crate::error::StoreError;
use crate::ledger::ReserveError;
use crate::suite::postgres::{TestDatabase, open_pod_with};
use crate::suite::{MINUTE, NOW, SuspendedClock, TestStores};

/// The renewal of a lease changes the row, which this lock prevents; a batch locks its key only.
const PREVENT_RENEWALS: &str = "SELECT 1 FROM pods FOR NO KEY UPDATE";

#[tokio::test]
async fn a_pod_of_a_machine_that_was_suspended_has_no_lease_until_it_is_renewed() {
    let database = TestDatabase::migrated().await;
    let clock = Arc::new(SuspendedClock::default());
    let stores = open_pod_with(&database.url(), "pod_a", 1, clock.clone()).await.unwrap();
    let cluster = stores.cluster();
    cluster.wait_lease().await.unwrap();
    let mut connection = database.connect().await;
    let mut lock = connection.begin().await.unwrap();
    sqlx::query(PREVENT_RENEWALS).execute(&mut *lock).await.unwrap();
    clock.suspend(MINUTE);
    assert_eq!(cluster.lease_status(), LeaseStatus::Lapsed, "before it ticks");
    assert!(matches!(cluster.check_lease(), Err(StoreError::Lapsed)));
    assert!(futures::poll!(Box::pin(cluster.wait_lease())).is_pending());
    lock.rollback().await.unwrap();
    cluster.wait_lease().await.unwrap();
    assert_eq!(cluster.lease_status(), LeaseStatus::Live);
}

#[tokio::test]
async fn nothing_is_reserved_for_a_pod_that_is_dead_before_it_learns_of_it() {
    let stores = TestStores::postgres().await;
    let mut connection = stores.test_database().connect().await;
    let mut lock = connection.begin().await.unwrap();
    sqlx::query(PREVENT_RENEWALS).execute(&mut *lock).await.unwrap();
    wait_until(async || stores.cluster().lease_status() == LeaseStatus::Lapsed).await;
    let (account, limits) = (account(), limits(1_000));
    let call = protocol::CallKey::new("call").unwrap();
    let mut reserving = std::pin::pin!(stores.reserve(&account, &limits, COST, &call, NOW));
    let is_written = async || stores.test_database().count("SELECT count(*) FROM reservations").await == 1;
    tokio::select! {
        reserved = &mut reserving => panic!("it was released: {:?}", reserved.is_ok()),
        () = wait_until(is_written) => {}
    }
    sqlx::query("UPDATE pods SET dead = true").execute(&mut *lock).await.unwrap();
    lock.commit().await.unwrap();
    let reserved = reserving.await;
    assert!(matches!(reserved, Err(ReserveError::Store(StoreError::OutcomeUnknown))), "{:?}", reserved.err());
}
