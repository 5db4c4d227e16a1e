//! Replies by key: the same request gets the same reply, another request is a conflict.

use protocol::{CallKey, IdempotencyKey};

use super::*;
use crate::idempotency::KeyStatus;
use crate::runs::DedupKey;

fn key() -> DedupKey {
    DedupKey::Caller { user: UserId::new("alice").unwrap(), key: IdempotencyKey::new("k").unwrap() }
}

#[tokio::test]
async fn the_same_request_gets_the_same_reply() {
    for stores in TestStores::each().await {
        let (store, acme, request_hash) =
            (&stores.stores.idempotency, tenant("acme"), ContentHash::from_content(b"body"));
        assert_eq!(store.lookup(&acme, &key(), &request_hash).await.unwrap(), KeyStatus::New);
        assert_eq!(store.begin(&acme, &key(), &request_hash, NOW).await.unwrap(), KeyStatus::New);
        assert_eq!(store.begin(&acme, &key(), &request_hash, NOW).await.unwrap(), KeyStatus::InProgress);
        store.finish(&acme, &key(), &reply("req_1"), NOW).await.unwrap();
        store.finish(&acme, &key(), &reply("req_2"), NOW).await.unwrap();
        let completed = KeyStatus::Completed(Box::new(reply("req_1")));
        assert_eq!(store.begin(&acme, &key(), &request_hash, NOW).await.unwrap(), completed);
        assert_eq!(store.lookup(&acme, &key(), &request_hash).await.unwrap(), completed);
        assert_eq!(
            store.begin(&acme, &key(), &ContentHash::from_content(b"x"), NOW).await.unwrap(),
            KeyStatus::Conflict
        );
        assert_eq!(store.begin(&tenant("other"), &key(), &request_hash, NOW).await.unwrap(), KeyStatus::New);
        let of_bob = DedupKey::Caller { user: UserId::new("bob").unwrap(), key: IdempotencyKey::new("k").unwrap() };
        assert_eq!(store.begin(&acme, &of_bob, &request_hash, NOW).await.unwrap(), KeyStatus::New);
        let call = DedupKey::Call(CallKey::new("k").unwrap());
        assert_eq!(store.begin(&acme, &call, &request_hash, NOW).await.unwrap(), KeyStatus::New);
    }
}

#[tokio::test]
async fn of_concurrent_requests_one_is_new() {
    for stores in TestStores::each().await {
        let begin = |_| {
            let store = stores.stores.idempotency.clone();
            async move { store.begin(&tenant("acme"), &key(), &ContentHash::from_content(b"body"), NOW).await.unwrap() }
        };
        let all = futures::future::join_all((0..100).map(begin)).await;
        assert_eq!(all.iter().filter(|status| **status == KeyStatus::New).count(), 1);
    }
}

#[tokio::test]
async fn an_abandoned_request_can_be_repeated_and_old_replies_are_pruned() {
    for stores in TestStores::each().await {
        let (store, acme, request_hash) =
            (&stores.stores.idempotency, tenant("acme"), ContentHash::from_content(b"body"));
        store.begin(&acme, &key(), &request_hash, NOW).await.unwrap();
        store.abandon(&acme, &key()).await.unwrap();
        assert_eq!(store.begin(&acme, &key(), &request_hash, NOW).await.unwrap(), KeyStatus::New);
        store.finish(&acme, &key(), &reply("req_1"), NOW).await.unwrap();
        store.abandon(&acme, &key()).await.unwrap();
        assert!(matches!(store.lookup(&acme, &key(), &request_hash).await.unwrap(), KeyStatus::Completed(_)));
        assert_eq!(store.prune(None, NOW).await.unwrap(), 0);
        assert_eq!(store.prune(None, NOW.saturating_add(MINUTE)).await.unwrap(), 1);
        assert_eq!(store.lookup(&acme, &key(), &request_hash).await.unwrap(), KeyStatus::New);
    }
}

#[tokio::test]
async fn a_definition_is_stored_under_its_hash() {
    for stores in TestStores::each().await {
        let (definitions, hash) = (&stores.stores.definitions, ContentHash::from_content(b"{}"));
        assert_eq!(definitions.get(&hash).await.unwrap(), None);
        definitions.put(&hash, "{}").await.unwrap();
        definitions.put(&hash, "{}").await.unwrap();
        assert_eq!(definitions.get(&hash).await.unwrap().as_deref(), Some("{}"));
        let large = "x".repeat(crate::definition_store::DEFINITION_BYTES_MAX + 1);
        assert!(definitions.put(&hash, &large).await.is_err());
    }
}
