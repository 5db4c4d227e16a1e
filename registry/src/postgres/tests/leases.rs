//! The lease of a pod at the moment of an act: after its machine was suspended or paused, and after its death.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{BootTime, Clock, DatabaseTime, Timestamp};
use sqlx::Connection as _;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{COST, account, limits, wait_until};
use crate::cluster::LeaseStatus;
use crate::error::StoreError;
use crate::ledger::ReserveError;
use crate::suite::postgres::{TestDatabase, open_pod_with};
use crate::suite::{FixedClock, MINUTE, NOW, SuspendedClock, TestStores};

/// The clock of a machine that a test pauses from outside, which none of its clocks shows. It records what it is to follow.
struct PausedClock {
    paused_seconds: AtomicU64,
    followed: watch::Sender<Option<DatabaseTime>>,
}

impl PausedClock {
    fn new() -> Self {
        Self { paused_seconds: AtomicU64::new(0), followed: watch::Sender::new(None) }
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn boot_time(&self) -> BootTime {
        let passed = FixedClock.boot_time().saturating_add(MINUTE).saturating_duration_since(BootTime::default());
        let paused = Duration::from_secs(self.paused_seconds.load(Ordering::SeqCst));
        BootTime::from_duration(passed.saturating_sub(paused))
    }

    fn follow(&self, reading: DatabaseTime) {
        self.followed.send_replace(Some(reading));
    }
}

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
async fn a_pod_of_a_machine_that_was_paused_from_outside_has_no_lease_until_it_is_renewed_once_more() {
    let database = TestDatabase::migrated().await;
    let clock = Arc::new(PausedClock::new());
    let stores = open_pod_with(&database.url(), "pod_a", 1, clock.clone()).await.unwrap();
    let cluster = stores.cluster();
    wait_until(async || database.count("SELECT renewals FROM pods").await > 0).await;
    let mut lease = cluster.watch_lease();
    assert_eq!(lease.status(), LeaseStatus::Live);
    // By the clock of the machine, the last renewal lasts long enough for the next ones.
    clock.paused_seconds.store(10, Ordering::SeqCst);
    let has_lapsed = async {
        while lease.status() != LeaseStatus::Lapsed {
            assert!(lease.changed().await);
        }
    };
    timeout(MINUTE, has_lapsed).await.unwrap();
    assert!(matches!(cluster.check_lease(), Err(StoreError::Lapsed)));
    timeout(MINUTE, cluster.wait_lease()).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_clock_of_a_pod_follows_the_database_from_its_start_and_with_each_renewal() {
    let database = TestDatabase::migrated().await;
    let clock = Arc::new(PausedClock::new());
    let mut followed = clock.followed.subscribe();
    let before = database.count("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").await;
    let _stores = open_pod_with(&database.url(), "pod_a", 1, clock).await.unwrap();
    let mut last = followed.borrow_and_update().expect("it has read the clock before it has joined");
    assert!(last.at >= Timestamp::from_micros(before));
    for _ in 0..2 {
        timeout(MINUTE, followed.changed()).await.unwrap().unwrap();
        let next = followed.borrow_and_update().unwrap();
        assert!(next.at > last.at && next.sent_at >= last.received_at && next.received_at >= next.sent_at);
        last = next;
    }
    let after = database.count("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").await;
    assert!(last.at <= Timestamp::from_micros(after));
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
