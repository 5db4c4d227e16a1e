//! Shared contexts: versions, compare-and-set, appending, expiry, watching, fences.

use futures::StreamExt;
use protocol::request::ContextChange;
use protocol::{ContextKey, Json};
use serde_json::json;

use super::*;
use crate::context::{ContextError, ContextPut, Version};
use crate::runs::Fence;

fn key(name: &str) -> ContextKey {
    ContextKey::new(name).unwrap()
}

fn put(name: &str, value: Json) -> ContextPut {
    ContextPut { key: key(name), expect: None, change: ContextChange::Put(value), ttl: None }
}

async fn write(stores: &TestStores, fence: Fence, put: ContextPut) -> Result<Version, ContextError> {
    stores.stores.context.write(&run_id(1), fence, put, NOW).await
}

#[tokio::test]
async fn each_change_has_a_version_and_is_read_back() {
    for stores in TestStores::each().await {
        let context = &stores.stores.context;
        let fence = context.claim(&run_id(1)).await.unwrap();
        assert_eq!(write(&stores, fence, put("a", json!(1))).await.unwrap(), Version(1));
        assert_eq!(write(&stores, fence, put("b", json!({"x": [1, 2]}))).await.unwrap(), Version(2));
        assert_eq!(write(&stores, fence, put("a", json!(3))).await.unwrap(), Version(3));
        let read = context.read(&run_id(1), &[key("b"), key("none"), key("a")], NOW).await.unwrap();
        let values: Vec<_> = read.into_iter().map(|value| value.map(|value| (value.version.0, value.value))).collect();
        assert_eq!(values, [Some((2, json!({"x": [1, 2]}))), None, Some((3, json!(3)))]);
        let snapshot = context.snapshot(&run_id(1), NOW).await.unwrap();
        assert_eq!((snapshot.version, snapshot.values.len()), (Version(3), 2));
    }
}

#[tokio::test]
async fn of_two_writers_that_read_the_same_version_one_succeeds() {
    for stores in TestStores::each().await {
        let fence = stores.stores.context.claim(&run_id(1)).await.unwrap();
        let expecting = |version| ContextPut { expect: Some(Version(version)), ..put("a", json!("x")) };
        let both = tokio::join!(write(&stores, fence, expecting(0)), write(&stores, fence, expecting(0)));
        let (Ok(_), Err(ContextError::Conflict { found, .. })) = both else { panic!("{both:?}") };
        assert_eq!(found, Version(1));
        assert_eq!(write(&stores, fence, expecting(1)).await.unwrap(), Version(2));
    }
}

#[tokio::test]
async fn appending_creates_a_list_and_only_a_list_can_be_appended_to() {
    for stores in TestStores::each().await {
        let fence = stores.stores.context.claim(&run_id(1)).await.unwrap();
        let append = |item: Json| ContextPut { change: ContextChange::Append(item), ..put("list", Json::Null) };
        let all = futures::future::join_all((0..50).map(|item| write(&stores, fence, append(json!(item))))).await;
        assert!(all.iter().all(Result::is_ok));
        let read = stores.stores.context.read(&run_id(1), &[key("list")], NOW).await.unwrap();
        let Some(Json::Array(items)) = read.into_iter().next().unwrap().map(|value| value.value) else { panic!() };
        assert_eq!(items.len(), 50);
        write(&stores, fence, put("list", json!("text"))).await.unwrap();
        assert!(matches!(write(&stores, fence, append(json!(1))).await, Err(ContextError::NotAList { .. })));
    }
}

#[tokio::test]
async fn a_new_owner_fences_the_old_one() {
    for stores in TestStores::each().await {
        let context = &stores.stores.context;
        let unknown = write(&stores, Fence(1), put("a", json!(1))).await;
        assert!(matches!(unknown, Err(ContextError::Unknown)));
        let old = context.claim(&run_id(1)).await.unwrap();
        write(&stores, old, put("a", json!(1))).await.unwrap();
        let new = context.claim(&run_id(1)).await.unwrap();
        assert!(matches!(write(&stores, old, put("a", json!(2))).await, Err(ContextError::Fenced)));
        assert!(matches!(context.expire(&run_id(1), old, NOW).await, Err(ContextError::Fenced)));
        assert!(matches!(context.remove(&run_id(1), old).await, Err(ContextError::Fenced)));
        assert_eq!(write(&stores, new, put("a", json!(2))).await.unwrap(), Version(2));
        context.remove(&run_id(1), new).await.unwrap();
        assert_eq!(context.snapshot(&run_id(1), NOW).await.unwrap().values.len(), 0);
    }
}

/// More contexts than any store keeps in memory, in use at the same time, and a new one with each round.
#[tokio::test]
async fn three_hundred_contexts_in_use_at_once_keep_their_fences_versions_and_values() {
    const CONTEXTS: u128 = 300;
    for stores in TestStores::each().await {
        let context = &stores.stores.context;
        let append = |number: u128| async move {
            let fence = context.claim(&run_id(number)).await.unwrap();
            let put = ContextPut { change: ContextChange::Append(json!("x")), ..put("list", Json::Null) };
            (fence, context.write(&run_id(number), fence, put, NOW).await)
        };
        for round in 1..=3 {
            let new = CONTEXTS + u128::from(round);
            let all = futures::future::join_all((1..=CONTEXTS).chain([new]).map(append)).await;
            for (number, (fence, version)) in (1..=CONTEXTS).zip(all) {
                assert_eq!((fence, version.unwrap()), (Fence(round), Version(round)), "{number}");
            }
        }
        for number in 1..=CONTEXTS {
            let snapshot = context.snapshot(&run_id(number), NOW).await.unwrap();
            assert_eq!(snapshot.values[&key("list")].value, json!(["x", "x", "x"]), "{number}");
        }
    }
}

#[tokio::test]
async fn an_expired_value_is_not_read_and_watchers_see_its_end() {
    for stores in TestStores::each().await {
        let context = &stores.stores.context;
        let fence = context.claim(&run_id(1)).await.unwrap();
        let brief = ContextPut { ttl: Some(MINUTE), ..put("a", json!(1)) };
        write(&stores, fence, brief).await.unwrap();
        let later = NOW.saturating_add(MINUTE);
        assert!(context.read(&run_id(1), &[key("a")], NOW).await.unwrap()[0].is_some());
        assert!(context.read(&run_id(1), &[key("a")], later).await.unwrap()[0].is_none());
        assert_eq!(context.expire(&run_id(1), fence, later).await.unwrap(), 1);
        assert_eq!(context.expire(&run_id(1), fence, later).await.unwrap(), 0);
        let mut watch = context.watch(&run_id(1), Version(1));
        let event = watch.next().await.unwrap().unwrap();
        assert_eq!((event.version, event.value), (Version(2), None));
        let new_value = ContextPut { expect: Some(Version(0)), ..put("a", json!(2)) };
        assert_eq!(context.write(&run_id(1), fence, new_value, later).await.unwrap(), Version(3));
    }
}

#[tokio::test]
async fn a_watcher_sees_changes_in_order_until_the_context_is_removed() {
    for stores in TestStores::each().await {
        let context = stores.stores.context.clone();
        let fence = context.claim(&run_id(1)).await.unwrap();
        write(&stores, fence, put("a", json!(1))).await.unwrap();
        let watch = context.watch(&run_id(1), Version(0)).map(|event| event.unwrap().version.0);
        let change = async {
            for number in 2..=5 {
                write(&stores, fence, put(&format!("k{number}"), json!(number))).await.unwrap();
            }
            while context.snapshot(&run_id(1), NOW).await.unwrap().version < Version(5) {}
        };
        let (versions, ()) = tokio::join!(watch.take(5).collect::<Vec<_>>(), change);
        assert_eq!(versions, [1, 2, 3, 4, 5]);
        let rest = context.watch(&run_id(1), Version(5)).collect::<Vec<_>>();
        let remove = async { context.remove(&run_id(1), fence).await.unwrap() };
        assert!(tokio::join!(rest, remove).0.is_empty());
    }
}

#[tokio::test]
async fn a_context_is_bounded() {
    for stores in TestStores::each().await {
        let fence = stores.stores.context.claim(&run_id(1)).await.unwrap();
        let large = json!("x".repeat(crate::context::CONTEXT_VALUE_BYTES_MAX + 1));
        assert!(matches!(write(&stores, fence, put("a", large)).await, Err(ContextError::TooLarge { .. })));
        for number in 0..crate::context::CONTEXT_KEYS_MAX {
            write(&stores, fence, put(&format!("k{number}"), json!(1))).await.unwrap();
        }
        assert!(matches!(write(&stores, fence, put("more", json!(1))).await, Err(ContextError::TooManyKeys)));
        assert!(write(&stores, fence, put("k1", json!(2))).await.is_ok());
    }
}
