//! The view of shared contexts: claimed by an owner, written forwards only, and lost without harm.

use protocol::request::ContextChange;
use protocol::{ContextKey, Json};
use serde_json::json;

use super::call_proxy::CallFault;
use super::*;
use crate::context::{CONTEXT_VIEW_TTL, ContextData, ContextValue, Version, ViewError};
use repeating_view::RepeatingView;

mod repeating_view;

/// New stores with each implementation of the view; those of Redis also through a proxy that lets calls fail, whose owners
/// repeat them.
async fn each_view() -> Vec<TestStores> {
    let mut with_redis = TestStores::in_memory();
    with_redis.stores.context = crate::redis::tests::shared_redis().await.context_view();
    let (redis, proxy) = crate::redis::tests::proxied_redis().await;
    proxy.fail(&["FCALL"], &CallFault::spread(&[&CallFault::CUTS[..], &[CallFault::Delay][..]].concat()));
    let mut faulty = TestStores { _proxy: Some(proxy), ..TestStores::in_memory() };
    faulty.stores.context = Arc::new(RepeatingView(redis.context_view()));
    let mut each = TestStores::each().await;
    each.extend([with_redis, faulty]);
    each
}

fn key(name: &str) -> ContextKey {
    ContextKey::new(name).unwrap()
}

/// A change of the data, as the owner applies it to the view.
fn change(data: &mut ContextData, version: u64, name: &str, change: ContextChange) -> (ContextKey, ContextValue) {
    let key = key(name);
    let value = data.apply(Version(version), NOW, &key, &change, None);
    (key, value)
}

fn put(data: &mut ContextData, version: u64, name: &str, value: Json) -> (ContextKey, ContextValue) {
    change(data, version, name, ContextChange::Put(value))
}

async fn read(stores: &TestStores, number: u128, at_least: u64) -> Result<Vec<(String, u64, Json)>, ViewError> {
    let snapshot = stores.stores.context.read(&run_id(number), &[], Version(at_least), NOW).await?;
    let values = snapshot.values.into_iter();
    Ok(values.map(|(key, value)| (key.to_string(), value.version.0, value.value)).collect())
}

#[tokio::test]
async fn a_view_has_what_its_owner_has_applied() {
    for stores in each_view().await {
        let (view, run) = (&stores.stores.context, run_id(1));
        let mut data = ContextData::new([(key("a"), json!(1))], Version(1)).unwrap();
        view.claim(&run, Fence(1), &data, NOW).await.unwrap();
        let changes = [put(&mut data, 4, "b", json!({"x": [1, 2]})), put(&mut data, 5, "a", json!(3))];
        view.apply(&run, Fence(1), Version(1), &changes, NOW).await.unwrap();
        let expected = [("a".to_owned(), 5, json!(3)), ("b".to_owned(), 4, json!({"x": [1, 2]}))];
        assert_eq!(read(&stores, 1, 5).await.unwrap(), expected);
        let snapshot = view.read(&run, &[key("b"), key("none")], Version(0), NOW).await.unwrap();
        assert_eq!((snapshot.version, snapshot.values.len()), (Version(5), 1));
        // A repeated change of an earlier time changes nothing.
        view.apply(&run, Fence(1), Version(1), &changes[..1], NOW).await.unwrap();
        assert_eq!(read(&stores, 1, 5).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_view_that_lacks_a_change_is_lost_and_never_read() {
    for stores in each_view().await {
        let (view, run) = (&stores.stores.context, run_id(1));
        let mut data = ContextData::new([(key("a"), json!(1))], Version(1)).unwrap();
        let first = [put(&mut data, 2, "a", json!(2))];
        let missing = view.apply(&run, Fence(1), Version(1), &first, NOW).await;
        assert!(matches!(missing, Err(ViewError::Lost)), "only a claim creates a view: {missing:?}");
        assert!(matches!(read(&stores, 1, 0).await, Err(ViewError::Lost)));
        view.claim(&run, Fence(1), &ContextData::default(), NOW).await.unwrap();
        assert!(matches!(view.apply(&run, Fence(1), Version(1), &first, NOW).await, Err(ViewError::Lost)));
        assert!(matches!(read(&stores, 1, 2).await, Err(ViewError::Lost)), "it is older than what is asked for");
        view.claim(&run, Fence(1), &data, NOW).await.unwrap();
        assert_eq!(read(&stores, 1, 2).await.unwrap(), [("a".to_owned(), 2, json!(2))]);
    }
}

#[tokio::test]
async fn a_new_owner_fences_the_old_one() {
    for stores in each_view().await {
        let (view, run) = (&stores.stores.context, run_id(1));
        let mut data = ContextData::default();
        view.claim(&run, Fence(1), &data, NOW).await.unwrap();
        view.claim(&run, Fence(2), &data, NOW).await.unwrap();
        let changes = [put(&mut data, 1, "a", json!(1))];
        assert!(matches!(view.apply(&run, Fence(1), Version(0), &changes, NOW).await, Err(ViewError::Fenced)));
        assert!(matches!(view.claim(&run, Fence(1), &data, NOW).await, Err(ViewError::Fenced)));
        view.remove(&run, Fence(1)).await.unwrap();
        view.apply(&run, Fence(2), Version(0), &changes, NOW).await.unwrap();
        assert_eq!(read(&stores, 1, 1).await.unwrap().len(), 1);
        view.remove(&run, Fence(2)).await.unwrap();
        assert!(matches!(read(&stores, 1, 0).await, Err(ViewError::Lost)));
    }
}

#[tokio::test]
async fn a_claim_that_is_older_than_the_view_of_its_owner_changes_nothing() {
    for stores in each_view().await {
        let (view, run) = (&stores.stores.context, run_id(1));
        let mut data = ContextData::new([(key("a"), json!(1))], Version(1)).unwrap();
        let first = data.clone();
        view.claim(&run, Fence(1), &data, NOW).await.unwrap();
        let changes = [put(&mut data, 2, "a", json!(2))];
        view.apply(&run, Fence(1), Version(1), &changes, NOW).await.unwrap();
        view.claim(&run, Fence(1), &first, NOW).await.unwrap();
        assert_eq!(read(&stores, 1, 2).await.unwrap(), [("a".to_owned(), 2, json!(2))]);
        // The next owner replaces whatever the view has.
        view.claim(&run, Fence(2), &first, NOW).await.unwrap();
        assert_eq!(read(&stores, 1, 1).await.unwrap(), [("a".to_owned(), 1, json!(1))]);
        assert!(matches!(read(&stores, 1, 2).await, Err(ViewError::Lost)));
    }
}

/// More contexts than any store keeps in memory, in use at the same time.
#[tokio::test]
async fn a_thousand_contexts_in_use_at_once_keep_their_fences_versions_and_values() {
    const CONTEXTS: u128 = 1_000;
    for stores in each_view().await {
        let view = &stores.stores.context;
        let mut contexts = vec![ContextData::default(); usize::try_from(CONTEXTS).unwrap()];
        for round in 1..=3 {
            let each = (1..=CONTEXTS).zip(&mut contexts).map(|(number, data)| async move {
                let run = run_id(number);
                view.claim(&run, Fence(round), data, NOW).await.unwrap();
                let after = data.version();
                let changes = [change(data, round, "list", ContextChange::Append(json!("x")))];
                view.apply(&run, Fence(round), after, &changes, NOW).await
            });
            let all = futures::future::join_all(each).await;
            assert!(all.iter().all(Result::is_ok), "{round}");
        }
        for number in 1..=CONTEXTS {
            let expected = [("list".to_owned(), 3, json!(["x", "x", "x"]))];
            assert_eq!(read(&stores, number, 3).await.unwrap(), expected, "{number}");
        }
    }
}

#[tokio::test]
async fn unused_views_are_removed() {
    for stores in TestStores::each().await {
        let view = &stores.stores.context;
        let later = NOW.saturating_add(CONTEXT_VIEW_TTL * 2);
        for number in 1..=600 {
            let at = if number <= 300 { NOW } else { later };
            view.claim(&run_id(number), Fence(1), &ContextData::default(), at).await.unwrap();
        }
        assert!(matches!(read(&stores, 1, 0).await, Err(ViewError::Lost)), "its owner makes it anew if it is needed");
        assert!(read(&stores, 600, 0).await.is_ok());
    }
}
