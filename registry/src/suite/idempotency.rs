//! Answers by key: the same request, the same answer; another body, a conflict.

use protocol::{CallKey, IdempotencyKey};

use super::*;
use crate::idempotency::KeyStatus;
use crate::runs::DedupKey;

fn key() -> DedupKey {
    DedupKey::Caller(IdempotencyKey::new("k").unwrap())
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer() {
    for stores in TestStores::each().await {
        let (store, acme, body) = (&stores.stores.idempotency, tenant("acme"), ContentHash::of(b"body"));
        assert_eq!(store.lookup(&acme, &key(), &body).await.unwrap(), KeyStatus::New);
        assert_eq!(store.begin(&acme, &key(), &body, NOW).await.unwrap(), KeyStatus::New);
        assert_eq!(store.begin(&acme, &key(), &body, NOW).await.unwrap(), KeyStatus::InProgress);
        store.finish(&acme, &key(), &reply("req_1"), NOW).await.unwrap();
        store.finish(&acme, &key(), &reply("req_2"), NOW).await.unwrap();
        let answered = KeyStatus::Completed(Box::new(reply("req_1")));
        assert_eq!(store.begin(&acme, &key(), &body, NOW).await.unwrap(), answered);
        assert_eq!(store.lookup(&acme, &key(), &body).await.unwrap(), answered);
        assert_eq!(store.begin(&acme, &key(), &ContentHash::of(b"x"), NOW).await.unwrap(), KeyStatus::Conflict);
        assert_eq!(store.begin(&tenant("other"), &key(), &body, NOW).await.unwrap(), KeyStatus::New);
        let call = DedupKey::Call(CallKey::new("k").unwrap());
        assert_eq!(store.begin(&acme, &call, &body, NOW).await.unwrap(), KeyStatus::New);
    }
}

#[tokio::test]
async fn of_many_at_once_one_goes_on() {
    for stores in TestStores::each().await {
        let begin = |_| {
            let store = stores.stores.idempotency.clone();
            async move { store.begin(&tenant("acme"), &key(), &ContentHash::of(b"body"), NOW).await.unwrap() }
        };
        let all = futures::future::join_all((0..100).map(begin)).await;
        assert_eq!(all.iter().filter(|once| **once == KeyStatus::New).count(), 1);
    }
}

#[tokio::test]
async fn what_was_never_done_can_be_asked_again_and_old_answers_are_forgotten() {
    for stores in TestStores::each().await {
        let (store, acme, body) = (&stores.stores.idempotency, tenant("acme"), ContentHash::of(b"body"));
        store.begin(&acme, &key(), &body, NOW).await.unwrap();
        store.abandon(&acme, &key()).await.unwrap();
        assert_eq!(store.begin(&acme, &key(), &body, NOW).await.unwrap(), KeyStatus::New);
        store.finish(&acme, &key(), &reply("req_1"), NOW).await.unwrap();
        store.abandon(&acme, &key()).await.unwrap();
        assert!(matches!(store.lookup(&acme, &key(), &body).await.unwrap(), KeyStatus::Completed(_)));
        assert_eq!(store.prune(NOW).await.unwrap(), 0);
        assert_eq!(store.prune(NOW.saturating_add(MINUTE)).await.unwrap(), 1);
        assert_eq!(store.lookup(&acme, &key(), &body).await.unwrap(), KeyStatus::New);
    }
}

#[tokio::test]
async fn a_body_is_kept_under_its_hash() {
    for stores in TestStores::each().await {
        let (bodies, hash) = (&stores.stores.definitions, ContentHash::of(b"{}"));
        assert_eq!(bodies.get(&hash).await.unwrap(), None);
        bodies.put(&hash, "{}").await.unwrap();
        bodies.put(&hash, "{}").await.unwrap();
        assert_eq!(bodies.get(&hash).await.unwrap().as_deref(), Some("{}"));
        let large = "x".repeat(crate::definition_store::DEFINITION_BYTES_MAX + 1);
        assert!(bodies.put(&hash, &large).await.is_err());
    }
}
