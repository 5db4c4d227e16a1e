//! What pods show of themselves, and the format that they have agreed to write.

use greenroom_protocol::PodId;

use super::wait_until;
use crate::cluster::{Finalized, JOURNAL_VERSION, JOURNAL_VERSION_MIN, PodInfo};
use crate::error::StoreError;
use crate::runs::{Created, NewRun};
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{MINUTE, NOW, new_run, run_id};
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
    assert!(pods.iter().all(|pod| pod.expires_in_ms > 0 && pod.reads == (1, 2)), "{pods:?}");
    let (of_command, format) = read_postgres_pods(&database.url()).await.unwrap();
    assert_eq!((names(&of_command), format.journal_version), (vec!["pod_a", "pod_b"], 2));
    database.execute("UPDATE pods SET dead = true WHERE pod = 'pod_b'").await;
    assert_eq!(names(&a.stores.cluster.live_pods().await.unwrap()), ["pod_a"]);
    assert!(matches!(b.stores.cluster.describe(&labels, 1).await, Err(StoreError::PodDead)));
}

#[tokio::test]
async fn a_format_is_finalized_only_if_every_pod_that_is_alive_reads_it() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let unchanged = finalize_postgres(&database.url(), NOW).await.unwrap();
    assert!(matches!(unchanged, Finalized::Unchanged(format) if format.journal_version == 2), "{unchanged:?}");
    // As if the pod were of the release that has written version 1.
    database.execute("UPDATE cluster_format SET journal_version = 1").await;
    database.execute("UPDATE pods SET reads_to = 1").await;
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
    database.execute("UPDATE cluster_format SET journal_version = 3").await;
    let refused = open_pod(&database.url(), "pod_a", 1).await.err();
    assert!(matches!(&refused, Some(StoreError::Version(text)) if text.contains("version 3")), "{refused:?}");
    wait_until(async || database.count("SELECT count(*) FROM pods").await == 0).await;
}

#[tokio::test]
async fn no_pod_claims_a_tree_whose_journal_it_does_not_read() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let pod = PodId::new("pod_a").unwrap();
    let unowned = |number| NewRun { is_unowned: true, ..new_run(number) };
    let waits = NewRun { journal_version: JOURNAL_VERSION, ..unowned(1) };
    assert!(matches!(a.create(&waits, None).await.unwrap(), Created::New(_)));
    assert!(matches!(a.create(&unowned(2), None).await.unwrap(), Created::New(_)));
    // A pod of the release that has written version 1 has joined before, and claims what is due.
    database.execute("SELECT greenroom_join_v1('pod_old', '0.0.1', 1, 1, 1, 60000, 0)").await;
    let claims = "SELECT jsonb_array_length(greenroom_claim_v1(p.id, p.pod, 4102444800000000, 1, 10, '{}')::jsonb->'claimed') \
                  ::bigint FROM pods p WHERE p.pod = 'pod_old'";
    assert_eq!(database.count(claims).await, 1);
    let versions = "SELECT count(*) FROM trees WHERE holder IS NULL AND journal_version = 2";
    assert_eq!(database.count(versions).await, 1, "the tree with waits has no owner");
    let trees = a.stores.cluster.claim_due(&pod, MINUTE, 10, &[], NOW).await.unwrap();
    assert_eq!(trees.iter().map(|due| &due.root).collect::<Vec<_>>(), [&run_id(1)]);
}

#[tokio::test]
async fn a_database_with_pods_of_an_earlier_release_is_not_finalized_by_its_migration() {
    let database = TestDatabase::migrated().await;
    let a = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    assert_eq!(a.stores.cluster.journal_version().await.unwrap(), JOURNAL_VERSION, "the database was new");
    database.execute("UPDATE cluster_format SET journal_version = 1").await;
    assert_eq!(a.stores.cluster.journal_version().await.unwrap(), JOURNAL_VERSION_MIN);
    finalize_postgres(&database.url(), NOW).await.unwrap();
    assert_eq!(a.stores.cluster.journal_version().await.unwrap(), JOURNAL_VERSION);
}
