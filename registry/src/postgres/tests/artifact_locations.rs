//! Where the pods of a database store artifacts: a pod that would not find those of the others does not join them.

use greenroom_protocol::ErrorCode;

use crate::ArtifactLocation;
use crate::error::StoreError;
use crate::suite::NOW;
use crate::suite::postgres::{TestDatabase, open_pod_at};

fn bucket(name: &str) -> ArtifactLocation {
    ArtifactLocation::Bucket(format!("http://s3.example/{name}/artifacts"))
}

/// Fails unless a pod with artifacts in `own` is refused because of `pod_a` with artifacts in `location`.
async fn expect_refused(database: &TestDatabase, own: &ArtifactLocation, location: &str) {
    let error = open_pod_at(&database.url(), "pod_z", own).await.err();
    assert!(matches!(error, Some(StoreError::ArtifactsNotShared { .. })), "{own}: {error:?}");
    let cause = error.unwrap().cause();
    assert_eq!(cause.code, ErrorCode::ArtifactsNotShared);
    let details = serde_json::json!({ "pod": "pod_a", "pod_artifacts": location, "artifacts": own.as_str() });
    assert_eq!(cause.details, details);
    assert!(cause.message.contains(location) && cause.message.contains(own.as_str()), "{cause}");
    assert_eq!(database.count("SELECT count(*) FROM pods WHERE pod = 'pod_z'").await, 0, "it has not joined");
}

#[tokio::test]
async fn a_pod_joins_only_pods_that_store_artifacts_where_it_does() {
    for first in [ArtifactLocation::OwnFolder, ArtifactLocation::SharedFolder, bucket("one")] {
        let database = TestDatabase::migrated().await;
        let a = open_pod_at(&database.url(), "pod_a", &first).await.unwrap();
        for own in [ArtifactLocation::OwnFolder, ArtifactLocation::SharedFolder, bucket("one"), bucket("two")] {
            if own == first && own.is_shared() {
                open_pod_at(&database.url(), "pod_b", &own).await.unwrap().stores.maintenance.close(NOW).await.unwrap();
            } else {
                expect_refused(&database, &own, first.as_str()).await;
            }
        }
        a.stores.maintenance.close(NOW).await.unwrap();
        open_pod_at(&database.url(), "pod_c", &bucket("two")).await.unwrap();
    }
}

#[tokio::test]
async fn of_pods_with_different_locations_that_start_together_one_joins() {
    for locations in [[ArtifactLocation::OwnFolder, ArtifactLocation::OwnFolder], [bucket("one"), bucket("two")]] {
        let database = TestDatabase::migrated().await;
        let url = database.url();
        let (first, second) = tokio::join!(
            Box::pin(open_pod_at(&url, "pod_a", &locations[0])),
            Box::pin(open_pod_at(&url, "pod_b", &locations[1])),
        );
        assert!(first.is_ok() != second.is_ok(), "one of them joins");
        let refused = first.err().or_else(|| second.err());
        assert!(matches!(refused, Some(StoreError::ArtifactsNotShared { .. })), "{refused:?}");
        assert_eq!(database.count("SELECT count(*) FROM pods").await, 1);
    }
}

#[tokio::test]
async fn a_pod_with_a_folder_of_its_own_joins_once_the_lease_of_one_that_was_killed_has_expired() {
    let database = TestDatabase::migrated().await;
    let a = open_pod_at(&database.url(), "pod_a", &ArtifactLocation::OwnFolder).await.unwrap();
    assert!(a.kill().await.is_none());
    let b = open_pod_at(&database.url(), "pod_b", &ArtifactLocation::OwnFolder).await.unwrap();
    b.stores.maintenance.close(NOW).await.unwrap();
    open_pod_at(&database.url(), "pod_c", &ArtifactLocation::OwnFolder).await.unwrap();
}

#[tokio::test]
async fn a_pod_of_an_earlier_release_has_no_known_location() {
    let database = TestDatabase::migrated().await;
    let a = open_pod_at(&database.url(), "pod_a", &bucket("one")).await.unwrap();
    database.execute("UPDATE pods SET artifacts = NULL").await;
    expect_refused(&database, &ArtifactLocation::OwnFolder, "not known").await;
    open_pod_at(&database.url(), "pod_b", &bucket("one")).await.unwrap();
    drop(a);
}
