//! Replies by key: the same request gets the same reply, another request is a conflict.

use protocol::{CallKey, Cause, ErrorCode, IdempotencyKey};

use super::*;
use crate::group_commit::CommitTiming;
use crate::idempotency::KeyStatus;
use crate::runs::DedupKey;

fn key() -> DedupKey {
    key_of(principal("alice"))
}

fn key_of(principal: PrincipalId) -> DedupKey {
    DedupKey::Caller { principal, key: IdempotencyKey::new("k").unwrap() }
}

#[tokio::test]
async fn the_same_request_gets_the_same_reply() {
    for stores in TestStores::each().await {
        let (acme, body) = (tenant("acme"), ContentHash::from_content(b"body"));
        let lookup = async || stores.stores.idempotency.lookup(&acme, &key(), &body).await.unwrap();
        assert_eq!(lookup().await, KeyStatus::New);
        let (status, reserved) = stores.begin(&acme, &key(), &body).await;
        assert_eq!((status, lookup().await), (KeyStatus::New, KeyStatus::InProgress));
        assert_eq!(stores.begin(&acme, &key(), &body).await.0, KeyStatus::InProgress);
        stores.stores.core.finish_key(reserved.unwrap(), &reply("req_1"), NOW).await.unwrap();
        let completed = KeyStatus::Completed(Box::new(reply("req_1")));
        assert_eq!(stores.begin(&acme, &key(), &body).await.0, completed);
        assert_eq!(lookup().await, completed);
        assert_eq!(stores.begin(&acme, &key(), &ContentHash::from_content(b"x")).await.0, KeyStatus::Conflict);
        assert_eq!(stores.begin(&tenant("other"), &key(), &body).await.0, KeyStatus::New);
        let of_another_issuer = PrincipalId { issuer: Issuer::new("login").unwrap(), ..principal("alice") };
        for other in [principal("bob"), of_another_issuer] {
            assert_eq!(stores.begin(&acme, &key_of(other), &body).await.0, KeyStatus::New);
        }
        let call = DedupKey::Call(CallKey::new("k").unwrap());
        assert_eq!(stores.begin(&acme, &call, &body).await.0, KeyStatus::New);
    }
}

#[tokio::test]
async fn a_lookup_follows_a_key_and_reserves_nothing() {
    for stores in TestStores::each().await {
        let acme = tenant("acme");
        let (body, other_body) = (ContentHash::from_content(b"body"), ContentHash::from_content(b"x"));
        let lookup = async |hash: &ContentHash| stores.stores.idempotency.lookup(&acme, &key(), hash).await.unwrap();
        for _ in 0..2 {
            assert_eq!(lookup(&body).await, KeyStatus::New);
        }
        let (status, first) = stores.begin(&acme, &key(), &body).await;
        assert_eq!(status, KeyStatus::New);
        assert_eq!((lookup(&body).await, lookup(&other_body).await), (KeyStatus::InProgress, KeyStatus::Conflict));
        stores.stores.core.abandon_key(first.unwrap(), NOW).await.unwrap();
        assert_eq!((lookup(&body).await, lookup(&other_body).await), (KeyStatus::New, KeyStatus::New));
        let (status, _second) = stores.begin(&acme, &key(), &other_body).await;
        assert_eq!(status, KeyStatus::New);
        assert_eq!((lookup(&body).await, lookup(&other_body).await), (KeyStatus::Conflict, KeyStatus::InProgress));
    }
}

#[tokio::test]
async fn of_concurrent_requests_one_is_new() {
    for stores in TestStores::each().await {
        let (acme, body, key) = (tenant("acme"), ContentHash::from_content(b"body"), key());
        let all = futures::future::join_all((0..100).map(|_| stores.begin(&acme, &key, &body))).await;
        assert_eq!(all.iter().filter(|(status, _)| *status == KeyStatus::New).count(), 1);
    }
}

#[tokio::test]
async fn an_abandoned_request_can_be_repeated_and_old_replies_are_pruned() {
    for stores in TestStores::each().await {
        let (acme, body) = (tenant("acme"), ContentHash::from_content(b"body"));
        let (_, first) = stores.begin(&acme, &key(), &body).await;
        stores.stores.core.abandon_key(first.unwrap(), NOW).await.unwrap();
        let (status, second) = stores.begin(&acme, &key(), &body).await;
        assert_eq!(status, KeyStatus::New);
        stores.stores.core.finish_key(second.unwrap(), &reply("req_1"), NOW).await.unwrap();
        assert!(matches!(stores.begin(&acme, &key(), &body).await.0, KeyStatus::Completed(_)));
        assert_eq!(stores.stores.maintenance.prune_keys(None, NOW).await.unwrap(), 0);
        assert_eq!(stores.stores.maintenance.prune_keys(None, NOW.saturating_add(MINUTE)).await.unwrap(), 1);
        assert_eq!(stores.begin(&acme, &key(), &body).await.0, KeyStatus::New);
    }
}

#[tokio::test]
async fn a_key_is_released_with_its_permit() {
    for stores in TestStores::each().await {
        let (acme, body) = (tenant("acme"), ContentHash::from_content(b"body"));
        for _ in 0..3 {
            // The permit of the round before is dropped; the queue of the writer is in order.
            let (status, reserved) = stores.begin(&acme, &key(), &body).await;
            assert_eq!((status, reserved.is_some()), (KeyStatus::New, true));
        }
    }
}

#[tokio::test]
async fn a_key_names_its_run_until_the_run_ends_by_a_failure_that_may_pass() {
    let body = new_run(1).request_hash;
    let failed = |code: ErrorCode| {
        let cause = Cause::new(code, "for the test");
        let reply = Reply { status: Status::from_cause(&cause), error: Some(cause), ..reply("run_1") };
        Entry::RunEnded { reply: Box::new(reply) }
    };
    for (end, is_released) in [
        (ended(), false),
        (failed(ErrorCode::HandlerFailed), false),
        (failed(ErrorCode::ModelOverloaded), true),
        (failed(ErrorCode::TimedOut), true),
    ] {
        for stores in TestStores::each().await {
            let Stores { core, runs, idempotency, .. } = &stores.stores;
            let Created::New(fence) = stores.create(&new_run(1), Some(&key())).await.unwrap() else {
                panic!("the run is new");
            };
            let _ = stores.append(&run_id(1), fence, Seq(0), &[started("a")], NOW).await.unwrap();
            // Interrupted: nobody owns it, and it can be resumed.
            core.release_tree(&run_id(1), fence, NOW).await;
            let repeated = stores.create(&new_run(2), Some(&key())).await.unwrap();
            assert_eq!(repeated, Created::Existing(run_id(1)), "it has not ended");
            let fence = core.claim_tree(&run_id(1), &pod(), MINUTE, NOW).await.unwrap().unwrap().fence;
            let _ = stores.append(&run_id(1), fence, Seq(1), std::slice::from_ref(&end), NOW).await.unwrap();
            let status = idempotency.lookup(&tenant("acme"), &key(), &body).await.unwrap();
            let expected = if is_released { KeyStatus::New } else { KeyStatus::RunStarted(run_id(1)) };
            assert_eq!(status, expected, "{end:?}");
            let repeated = stores.create(&new_run(2), Some(&key())).await.unwrap();
            assert_eq!(matches!(repeated, Created::New(_)), is_released, "{repeated:?}");
            assert_eq!(
                runs.get(&run_id(1)).await.unwrap().map(|record| record.run),
                Some(run_id(1)),
                "its record stays"
            );
        }
    }
}

#[tokio::test]
async fn the_key_of_a_run_that_ends_and_the_request_that_repeats_it_are_decided_in_one_commit() {
    for stores in TestStores::each().await {
        let Created::New(fence) = stores.create(&new_run(1), Some(&key())).await.unwrap() else {
            panic!("the run is new");
        };
        let cause = Cause::new(ErrorCode::Interrupted, "for the test");
        let end =
            Entry::RunEnded { reply: Box::new(Reply { status: Status::Failed, error: Some(cause), ..reply("run_1") }) };
        let (run, entries) = (run_id(1), std::slice::from_ref(&end));
        let position = AppendPosition { run: &run, fence, after: Seq(0) };
        let pending = stores.stores.core.submit_append(position, entries, CommitTiming::Coalesce, NOW).await.unwrap();
        let repeated = stores.create(&new_run(2), Some(&key())).await.unwrap();
        assert!(matches!(repeated, Created::New(_)), "{repeated:?}");
        let _ = pending.wait_receipt().await.unwrap();
        assert_eq!(stores.create(&new_run(3), Some(&key())).await.unwrap(), Created::Existing(run_id(2)));
    }
}

#[tokio::test]
async fn a_run_that_ends_at_once_by_a_failure_that_may_pass_keeps_no_key() {
    for stores in TestStores::each().await {
        let cause = Cause::new(ErrorCode::TimedOut, "for the test");
        let reply = Reply { status: Status::TimedOut, error: Some(cause), ..reply("run_1") };
        let entries = [Entry::RunEnded { reply: Box::new(reply) }];
        for number in 1..=2 {
            let (created, _) =
                stores.stores.core.create_run(new_run(number), Some(&key()), &entries, NOW).await.unwrap();
            assert!(matches!(created, Created::New(_)), "{created:?}");
        }
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
