//! Definitions: pinned versions, and the versions in service.

use super::*;
use crate::definition_store::VersionInService;

fn version(id: &str, body: &str) -> VersionInService {
    VersionInService {
        kind: "agent".into(),
        id: id.into(),
        file: Some(format!("agents/{id}.yaml")),
        hash: ContentHash::from_content(body.as_bytes()),
        body: body.into(),
    }
}

#[tokio::test]
async fn the_versions_in_service_are_replaced_as_a_whole_and_belong_to_one_source() {
    for stores in TestStores::each().await {
        let store = &stores.stores.definitions;
        assert_eq!(store.list_in_service("/a").await.unwrap(), []);
        store.set_in_service("/a", &[version("y", "1"), version("x", "1"), version("z", "1")]).await.unwrap();
        let expected = [version("x", "1"), version("y", "1"), version("z", "1")];
        assert_eq!(store.list_in_service("/a").await.unwrap(), expected);
        let moved = VersionInService { file: None, ..version("z", "1") };
        store.set_in_service("/a", &[version("x", "2"), moved.clone()]).await.unwrap();
        assert_eq!(store.list_in_service("/a").await.unwrap(), [version("x", "2"), moved]);
        // The text of a version that is no longer in service may be pinned by a run.
        assert_eq!(store.get(&version("y", "1").hash).await.unwrap().as_deref(), Some("1"));
        assert_eq!(store.list_in_service("/b").await.unwrap(), []);
        store.set_in_service("/b", &[version("x", "2")]).await.unwrap();
        assert_eq!(store.list_in_service("/b").await.unwrap(), [version("x", "2")]);
        assert_eq!(store.list_in_service("/a").await.unwrap(), []);
    }
}

#[tokio::test]
async fn the_versions_in_service_survive_the_process() {
    let stores = TestStores::sqlite().await;
    stores.stores.definitions.set_in_service("/a", &[version("x", "1")]).await.unwrap();
    let stores = stores.crash_and_reopen().await;
    assert_eq!(stores.stores.definitions.list_in_service("/a").await.unwrap(), [version("x", "1")]);
}

#[tokio::test]
async fn a_definition_above_the_limit_is_not_stored() {
    for stores in TestStores::each().await {
        let store = &stores.stores.definitions;
        let large = version("x", &"x".repeat(crate::definition_store::DEFINITION_BYTES_MAX + 1));
        assert!(store.put(&large.hash, &large.body).await.is_err());
        assert!(store.set_in_service("/a", std::slice::from_ref(&large)).await.is_err());
        assert_eq!((store.get(&large.hash).await.unwrap(), store.list_in_service("/a").await.unwrap()), (None, vec![]));
    }
}
