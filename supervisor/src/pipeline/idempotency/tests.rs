//! Keys whose requests end in every way: with a reply, without a caller, and with a store that is late or fails.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use greenroom_protocol::{IdempotencyKey, Metadata, Status, TenantId, Timestamp, UserId, Values};
use greenroom_registry::StoreError;

use super::*;
use crate::clock::WallClock;

/// What a store does with one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It executes the write, and its reply is late.
    Late,
    /// It executes the write, and never replies.
    Hangs,
    /// It does not execute the write.
    Fails,
}

/// The hash of the request that used a key, and its reply.
type KeyEntry = (ContentHash, Option<Reply>);

/// Keys in memory, with faults in the order of the writes.
#[derive(Default)]
struct FaultyStore {
    keys: Mutex<HashMap<(TenantId, String), KeyEntry>>,
    faults: Mutex<Vec<Fault>>,
    reservations: AtomicU32,
    ends: AtomicU32,
}

impl FaultyStore {
    async fn write<T>(&self, write: impl FnOnce() -> T) -> Result<T, StoreError> {
        let fault = {
            let mut faults = self.faults.lock().unwrap();
            if faults.is_empty() { Fault::None } else { faults.remove(0) }
        };
        if fault == Fault::Fails {
            return Err(StoreError::Full);
        }
        let written = write();
        match fault {
            Fault::Late => Err(StoreError::Timeout),
            Fault::Hangs => std::future::pending().await,
            Fault::None | Fault::Fails => Ok(written),
        }
    }
}

#[async_trait]
impl IdempotencyStore for FaultyStore {
    async fn begin(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
        _: Timestamp,
    ) -> Result<KeyStatus, StoreError> {
        self.reservations.fetch_add(1, Ordering::SeqCst);
        self.write(|| {
            let mut keys = self.keys.lock().unwrap();
            match keys.get(&(tenant.clone(), key.to_stored())) {
                Some((hash, _)) if hash != request_hash => KeyStatus::Conflict,
                Some((_, Some(reply))) => KeyStatus::Completed(Box::new(reply.clone())),
                Some((_, None)) => KeyStatus::InProgress,
                None => {
                    keys.insert((tenant.clone(), key.to_stored()), (*request_hash, None));
                    KeyStatus::New
                }
            }
        })
        .await
    }

    async fn finish(&self, tenant: &TenantId, key: &DedupKey, reply: &Reply, _: Timestamp) -> Result<(), StoreError> {
        self.ends.fetch_add(1, Ordering::SeqCst);
        self.write(|| {
            let mut keys = self.keys.lock().unwrap();
            let stored = keys.get_mut(&(tenant.clone(), key.to_stored()));
            if let Some((_, reply_of_key)) = stored.filter(|(_, reply)| reply.is_none()) {
                *reply_of_key = Some(reply.clone());
            }
        })
        .await
    }

    async fn abandon(&self, tenant: &TenantId, key: &DedupKey) -> Result<(), StoreError> {
        self.ends.fetch_add(1, Ordering::SeqCst);
        self.write(|| {
            let mut keys = self.keys.lock().unwrap();
            let stored = (tenant.clone(), key.to_stored());
            if keys.get(&stored).is_some_and(|(_, reply)| reply.is_none()) {
                keys.remove(&stored);
            }
        })
        .await
    }

    async fn lookup(&self, _: &TenantId, _: &DedupKey, _: &ContentHash) -> Result<KeyStatus, StoreError> {
        Ok(KeyStatus::New)
    }

    async fn prune(&self, _: Option<&TenantId>, _: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
}

struct Harness {
    store: Arc<FaultyStore>,
    keys: IdempotencyKeys,
    releaser: KeyReleaser,
}

fn harness(faults: &[Fault]) -> Harness {
    let store = Arc::new(FaultyStore::default());
    store.faults.lock().unwrap().extend(faults);
    let (keys, releaser) = IdempotencyKeys::new(store.clone(), Arc::new(WallClock));
    Harness { store, keys, releaser }
}

fn key(user: &str) -> TenantKey {
    let (user, key) = (UserId::new(user).unwrap(), IdempotencyKey::new("k").unwrap());
    (TenantId::new("acme").unwrap(), DedupKey::Caller { user, key })
}

impl IdempotencyKeys {
    async fn claim_for_test(&self, user: &str, body: &str) -> Result<KeyClaim, Cause> {
        let deadline = Deadline::after(WallClock.now(), Duration::from_secs(30));
        self.claim_key(&key(user), &ContentHash::from_content(body.as_bytes()), deadline, ()).await
    }

    async fn claim_new(&self) -> ClaimedKey {
        match self.claim_for_test("alice", "body").await.unwrap() {
            KeyClaim::Claimed(claimed) => claimed,
            KeyClaim::Replay(reply) => panic!("{reply:?}"),
        }
    }

    async fn replay(&self) -> Box<Reply> {
        match self.claim_for_test("alice", "body").await.unwrap() {
            KeyClaim::Replay(reply) => reply,
            KeyClaim::Claimed(_) => panic!("the request is executed again"),
        }
    }
}

fn reply(error: Option<ErrorCode>) -> Reply {
    let error = error.map(|code| Cause::new(code, "for the test"));
    let status = error.as_ref().map_or(Status::Success, Status::from_cause);
    Reply { id: "req_1".to_owned(), status, outputs: Values::new(), error, metadata: Metadata::default() }
}

/// Runs the releaser beside the work of a test.
async fn beside<T>(releaser: &mut KeyReleaser, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        () = releaser.run() => panic!("the releaser ends before the pipeline"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_keeps_a_success_and_a_final_failure_and_no_other_reply() {
    for (error, is_stored) in [
        (None, true),
        (Some(ErrorCode::HandlerFailed), true),
        (Some(ErrorCode::Cancelled), true),
        (Some(ErrorCode::ModelOverloaded), false),
        (Some(ErrorCode::TimedOut), false),
        (Some(ErrorCode::MissingInput), false),
    ] {
        let Harness { keys, mut releaser, .. } = harness(&[]);
        beside(&mut releaser, async {
            keys.complete(keys.claim_new().await, reply(error)).await;
            match is_stored {
                true => assert_eq!(*keys.replay().await, reply(error)),
                false => keys.complete(keys.claim_new().await, reply(None)).await,
            }
            let other_user = keys.claim_for_test("bob", "other").await.unwrap();
            assert!(matches!(other_user, KeyClaim::Claimed(_)), "the key of another user is another one");
            let conflict = keys.claim_for_test("alice", "other").await.map(drop).unwrap_err();
            assert_eq!(conflict.code, ErrorCode::IdempotencyConflict);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reservation_whose_reply_is_late_is_released() {
    let Harness { store, keys, mut releaser } = harness(&[Fault::Late]);
    let deadline_error = keys.claim_for_test("alice", "body").await.map(drop).unwrap_err();
    assert!(deadline_error.code.is_retryable(), "{deadline_error}");
    assert_eq!(store.keys.lock().unwrap().len(), 1, "the store has executed it");
    beside(&mut releaser, async {
        keys.complete(keys.claim_new().await, reply(None)).await;
        assert_eq!(*keys.replay().await, reply(None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reservation_that_failed_leaves_nothing_to_release() {
    let Harness { store, keys, .. } = harness(&[Fault::Fails]);
    assert!(keys.claim_for_test("alice", "body").await.is_err());
    drop(keys.claim_new().await);
    assert_eq!(store.ends.load(Ordering::SeqCst), 0, "only the releaser writes that end");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_disconnects_at_any_time_leaves_its_key_free_or_completed() {
    // While its key is reserved.
    let Harness { keys, mut releaser, .. } = harness(&[Fault::Hangs]);
    let mut reserving = Box::pin(keys.claim_for_test("alice", "body"));
    assert!(futures::poll!(&mut reserving).is_pending());
    drop(reserving);
    beside(&mut releaser, async { drop(keys.claim_new().await) }).await;
    // While its request is executed, and another one waits for it.
    let claimed = beside(&mut releaser, keys.claim_new()).await;
    let mut waiting = Box::pin(keys.claim_new());
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(claimed);
    drop(beside(&mut releaser, waiting).await);
    // While its reply is stored.
    for (error, is_stored) in [(None, true), (Some(ErrorCode::ModelFailed), false)] {
        let Harness { keys, mut releaser, .. } = harness(&[Fault::None, Fault::Hangs]);
        let claimed = keys.claim_new().await;
        let mut completing = Box::pin(keys.complete(claimed, reply(error)));
        assert!(futures::poll!(&mut completing).is_pending());
        drop(completing);
        beside(&mut releaser, async {
            match is_stored {
                true => assert_eq!(*keys.replay().await, reply(None)),
                false => drop(keys.claim_new().await),
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_the_store_does_not_take_is_stored_later_and_a_repetition_waits_for_it() {
    for fault in [Fault::Fails, Fault::Late] {
        let Harness { store, keys, mut releaser } = harness(&[Fault::None, fault, fault, fault]);
        keys.complete(keys.claim_new().await, reply(None)).await;
        let mut repeated = Box::pin(keys.replay());
        assert!(futures::poll!(&mut repeated).is_pending(), "it is not executed meanwhile");
        assert_eq!(*beside(&mut releaser, repeated).await, reply(None));
        assert_eq!(store.ends.load(Ordering::SeqCst), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn another_request_conflicts_with_one_in_progress_and_the_same_one_waits_until_its_deadline() {
    let Harness { keys, .. } = harness(&[]);
    let _claimed = keys.claim_new().await;
    let conflict = keys.claim_for_test("alice", "other").await.map(drop).unwrap_err();
    assert_eq!(conflict.code, ErrorCode::IdempotencyConflict);
    let deadline_error = keys.claim_for_test("alice", "body").await.map(drop).unwrap_err();
    assert_eq!((deadline_error.code, deadline_error.code.is_retryable()), (ErrorCode::TimedOut, true));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_another_with_its_key_writes_nothing_and_has_no_ticket() {
    let Harness { store, keys, mut releaser } = harness(&[]);
    let claimed = keys.claim_new().await;
    let ticket = Arc::new(());
    let deadline = Deadline::after(WallClock.now(), Duration::from_secs(600));
    let (key, body) = (key("alice"), ContentHash::from_content(b"body"));
    let mut waiting = Box::pin(keys.claim_key(&key, &body, deadline, Arc::clone(&ticket)));
    tokio::select! {
        _ = &mut waiting => panic!("the first request has the key"),
        () = tokio::time::sleep(Duration::from_secs(60)) => {}
    }
    assert_eq!(store.reservations.load(Ordering::SeqCst), 1, "the store is not polled");
    assert_eq!(Arc::strong_count(&ticket), 1, "the ticket is dropped before the wait");
    let replay = async {
        keys.complete(claimed, reply(None)).await;
        waiting.await
    };
    assert!(matches!(beside(&mut releaser, replay).await, Ok(KeyClaim::Replay(_))));
    assert_eq!(store.reservations.load(Ordering::SeqCst), 2);
}
