//! What pods announce to each other: a nudged pod ticks before its next second, and not arbitrarily often; what a pod has
//! left is announced; pods of one database know that it is one.

use std::time::Duration;

use tokio::time::Instant;

use super::wait_until;
use crate::cluster::Announcements;
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{NOW, TestStores, run_id};

/// Ticks that are requested.
const NUDGES: u32 = 12;

#[tokio::test]
async fn a_nudged_pod_ticks_at_once_and_at_most_ten_times_a_second() {
    let stores = TestStores::postgres().await;
    let cluster = &stores.stores.cluster;
    let mut work = cluster.watch();
    work.changed().await.unwrap();
    let started_at = Instant::now();
    for _ in 0..NUDGES {
        for _ in 0..100 {
            cluster.nudge();
        }
        work.changed().await.unwrap();
    }
    let elapsed = started_at.elapsed();
    assert!(
        elapsed < Duration::from_secs(u64::from(NUDGES) - 2),
        "without a nudge, a tick is due each second: {elapsed:?}"
    );
    assert!(elapsed > Duration::from_millis(100) * (NUDGES - 2), "ticks have a distance: {elapsed:?}");
}

#[tokio::test]
async fn what_a_pod_leaves_to_others_is_announced() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let b = open_pod(&database.url(), "pod_b", 1).await.unwrap();
    assert_eq!(a.stores.id, b.stores.id, "it is one database");
    let announced = b.stores.cluster.watch_announcements();
    assert_eq!(*announced.borrow(), Announcements::default());
    a.create_run(1).await;
    assert!(b.stores.cluster.send(&run_id(1), "m1", "{}", NOW).await.unwrap());
    b.stores.cluster.announce_tree();
    wait_until(async || *announced.borrow() == Announcements { trees: 1, messages: 1, generations: 0 }).await;
    assert!(!b.stores.cluster.send(&run_id(9), "m2", "{}", NOW).await.unwrap(), "there is no such run");
    assert_eq!(announced.borrow().messages, 1);
    let other = TestStores::postgres().await;
    assert_ne!(other.stores.id, a.stores.id);
}
