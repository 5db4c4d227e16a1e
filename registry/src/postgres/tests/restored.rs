//! A database that was restored from a copy: its pods and its runs are not confused with those that were there after the
//! copy was made.

use greenroom_protocol::PodId;

use super::wait_until;
use crate::context::{ContextData, ViewError};
use crate::error::StoreError;
use crate::raise_postgres_copy;
use crate::redis::tests::shared_redis;
use crate::restore::RaisedCopy;
use crate::runs::Fence;
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{MINUTE, NOW, run_id};

#[tokio::test]
async fn the_owner_of_a_restored_run_writes_the_view_that_a_later_owner_has_left_in_redis() {
    let database = TestDatabase::migrated().await;
    let url = database.url();
    let a = open_pod(&url, "pod_a", 1).await.unwrap();
    let fence = a.create_run(1).await;
    let (view, data) = (shared_redis().await.context_view(), ContextData::default());
    // As if the copy were made here, and others had owned the run after that.
    let later = Fence(fence.0 + 7);
    view.claim(&run_id(1), later, &data, NOW).await.unwrap();
    assert!(a.kill().await.is_none());
    let expired = "SELECT count(*) FROM pods WHERE NOT dead AND expires_at < clock_timestamp()";
    wait_until(async || database.count(expired).await == 1).await;
    assert_eq!(raise_postgres_copy(&url).await.unwrap(), RaisedCopy::Raised { trees: 1, pods: 1 });

    let b = open_pod(&url, "pod_b", 1).await.unwrap();
    assert!(database.count("SELECT max(id) FROM pods").await > 1_000_000, "no process has had this id");
    let pod = PodId::new("pod_b").unwrap();
    let tree = b.stores.core.claim_tree(&run_id(1), &pod, MINUTE, NOW).await.unwrap().unwrap();
    view.claim(&run_id(1), tree.fence, &data, NOW).await.unwrap();
    assert!(matches!(view.claim(&run_id(1), later, &data, NOW).await, Err(ViewError::Fenced)));
}

#[tokio::test]
async fn nothing_is_raised_beside_a_pod_that_is_alive() {
    let database = TestDatabase::empty().await;
    let url = database.url();
    assert!(matches!(raise_postgres_copy(&url).await, Err(StoreError::Unmigrated(_))));
    crate::migrate_postgres(&url).await.unwrap();
    let a = open_pod(&url, "pod_a", 1).await.unwrap();
    let fence = a.create_run(1).await;
    assert_eq!(raise_postgres_copy(&url).await.unwrap(), RaisedCopy::PodsAlive(vec!["pod_a".to_owned()]));
    let unchanged = "SELECT count(*) FROM pods p JOIN trees t ON t.holder = p.id WHERE NOT p.dead AND p.id = 1";
    assert_eq!(database.count(unchanged).await, 1);
    assert_eq!(u64::try_from(database.count("SELECT fence FROM trees").await).unwrap(), fence.0);
    a.stores.maintenance.close(NOW).await.unwrap();
    for _ in 0..2 {
        // It has left in order, and its tree has no owner.
        assert_eq!(raise_postgres_copy(&url).await.unwrap(), RaisedCopy::Raised { trees: 1, pods: 0 });
    }
}
