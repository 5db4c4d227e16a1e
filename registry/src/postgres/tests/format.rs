//! What pods show of themselves, and the format that they have agreed to write.

use super::wait_until;
use crate::cluster::{Finalized, PodInfo};
use crate::error::StoreError;
use crate::suite::NOW;
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::{finalize_postgres, read_postgres_pods};

fn names(pods: &[PodInfo]) -> Vec<&str> {
    pods.iter().map(|pod| pod.pod.as_str()).collect()
}

#[tokio::test]
async fn a_pod_shows_its_labels_its_capacity_and_its_trees_to_the_others() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let b = open_pod(&database.url(), "pod_b", 1).await.unwrap();
    let labels = ["eu".to_owned(), "gpu".to_owned()];
    b.stores.cluster.describe(&labels, 100).await.unwrap();
    b.create_run(1).await;
    let pods = a.stores.cluster.live_pods().await.unwrap();
    assert_eq!(names(&pods), ["pod_a", "pod_b"]);
    assert_eq!((pods[0].labels.len(), pods[0].capacity, pods[0].trees), (0, 0, 0));
    assert_eq!((&pods[1].labels[..], pods[1].capacity, pods[1].trees), (&labels[..], 100, 1));
    assert!(pods.iter().all(|pod| pod.expires_in_ms > 0 && pod.reads == (1, 1)), "{pods:?}");
    let (of_command, format) = read_postgres_pods(&database.url()).await.unwrap();
    assert_eq!((names(&of_command), format.journal_version), (vec!["pod_a", "pod_b"], 1));
    database.execute("UPDATE pods SET dead = true WHERE pod = 'pod_b'").await;
    assert_eq!(names(&a.stores.cluster.live_pods().await.unwrap()), ["pod_a"]);
    assert!(matches!(b.stores.cluster.describe(&labels, 1).await, Err(StoreError::PodDead)));
}

#[tokio::test]
async fn a_format_is_finalized_only_if_every_pod_that_is_alive_reads_it() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let unchanged = finalize_postgres(&database.url(), NOW).await.unwrap();
    assert!(matches!(unchanged, Finalized::Unchanged(format) if format.journal_version == 1), "{unchanged:?}");
    // As if this release had written version 1 first.
    database.execute("UPDATE cluster_format SET journal_version = 0").await;
    database.execute("UPDATE pods SET reads_to = 0").await;
    let refused = finalize_postgres(&database.url(), NOW).await.unwrap();
    let Finalized::Refused { pods } = &refused else { panic!("{refused:?}") };
    assert_eq!(pods.iter().map(|pod| pod.as_str()).collect::<Vec<_>>(), ["pod_a"]);
    database.execute("UPDATE pods SET dead = true").await;
    let done = finalize_postgres(&database.url(), NOW).await.unwrap();
    assert!(matches!(done, Finalized::Done(format) if format.finalized_at == Some(NOW.as_micros())), "{done:?}");
    drop(a);
}

#[tokio::test]
async fn a_pod_that_does_not_read_the_finalized_format_cannot_join() {
    let database = TestDatabase::migrated().await;
    database.execute("UPDATE cluster_format SET journal_version = 2").await;
    let refused = open_pod(&database.url(), "pod_a", 1).await.err();
    assert!(matches!(&refused, Some(StoreError::Version(text)) if text.contains("version 2")), "{refused:?}");
    wait_until(async || database.count("SELECT count(*) FROM pods").await == 0).await;
}
