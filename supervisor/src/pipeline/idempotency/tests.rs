//! Keys whose requests end in every way: with a reply, without a caller, and with a store that is late or fails.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use greenroom_protocol::request::{ContextChange, ContextRead, ContextWrite, ResumeRun, Signal, SignalRun};
use greenroom_protocol::{
    ContextKey, IdempotencyKey, Json, Metadata, PodId, PrincipalId, RunId, Status, TenantId, Timestamp, UserId, Values,
    WrittenVersion,
};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::core::PendingUnit;
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::idempotency::ReservedKey;
use greenroom_registry::journal::JournalError;
use greenroom_registry::runs::Fence;
use greenroom_registry::{StoreError, StoreParts, in_memory_artifacts, open_in_memory};

use super::*;
use crate::clock::WallClock;

/// What a store does with one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It executes the unit, and its reply is late.
    Late,
    /// It executes the unit, and never replies.
    Hangs,
    /// It does not execute the unit.
    Fails,
}

/// A store in memory, with faults in the order of the units.
struct FaultyStore {
    inner: Arc<dyn CoreStore>,
    stored_keys: Arc<dyn IdempotencyStore>,
    faults: Mutex<Vec<Fault>>,
    reservations: AtomicU32,
    ends: AtomicU32,
    lookups: AtomicU32,
}

#[async_trait]
impl CoreStore for FaultyStore {
    async fn submit(&self, unit: Unit<'_>, timing: CommitTiming) -> Result<PendingUnit, StoreError> {
        let units = if unit.ends_key() { &self.ends } else { &self.reservations };
        units.fetch_add(1, Ordering::SeqCst);
        let fault = {
            let mut faults = self.faults.lock().unwrap();
            if faults.is_empty() { Fault::None } else { faults.remove(0) }
        };
        if fault == Fault::Fails {
            return Err(StoreError::Full);
        }
        let result = self.inner.submit(unit, timing).await?.wait().await;
        match fault {
            // The permits are dropped, as they are if the caller has gone.
            Fault::Late => Ok(PendingUnit::resolved(Err(StoreError::OutcomeUnknown.into()))),
            Fault::Hangs => {
                let _unreceived = result;
                std::future::pending().await
            }
            Fault::None | Fault::Fails => Ok(PendingUnit::resolved(result)),
        }
    }

    async fn send(&self, unit: Unit<'_>) -> Result<(), StoreError> {
        self.inner.send(unit).await
    }

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.inner.renew(root, fence, lease, now).await
    }
}

#[async_trait]
impl IdempotencyStore for FaultyStore {
    async fn lookup(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
    ) -> Result<KeyStatus, StoreError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        self.stored_keys.lookup(tenant, key, request_hash).await
    }
}

impl FaultyStore {
    /// Reserves a key without a request of this process.
    async fn reserve_elsewhere(&self, key: &TenantKey, request_hash: &ContentHash) -> ReservedKey {
        match self.inner.begin_key(&key.0, &key.1, request_hash, WallClock.now()).await.unwrap() {
            KeyClaim::Reserved(reserved) => reserved,
            KeyClaim::Used(status) => panic!("{status:?}"),
        }
    }
}

struct Harness {
    store: Arc<FaultyStore>,
    keys: IdempotencyKeys,
    releaser: KeyReleaser,
}

fn harness(faults: &[Fault]) -> Harness {
    let signer = Signer::ephemeral([7; 32]);
    let pod = PodId::new("pod_1").unwrap();
    let parts = StoreParts { clock: Arc::new(WallClock), signer, artifacts: in_memory_artifacts(), pod };
    let stores = open_in_memory(parts).stores;
    let store = Arc::new(FaultyStore {
        inner: stores.core,
        stored_keys: stores.idempotency,
        faults: Mutex::new(faults.to_vec()),
        reservations: AtomicU32::new(0),
        ends: AtomicU32::new(0),
        lookups: AtomicU32::new(0),
    });
    let (keys, releaser) = IdempotencyKeys::new(store.clone(), store.clone(), Arc::new(WallClock));
    Harness { store, keys, releaser }
}

fn request_id() -> RequestId {
    RequestId::from_u128(1)
}

fn key(user: &str) -> TenantKey {
    let principal = PrincipalId::local(TenantId::new("acme").unwrap(), UserId::new(user).unwrap());
    (principal.tenant.clone(), DedupKey::Caller { principal, key: IdempotencyKey::new("k").unwrap() })
}

impl IdempotencyKeys {
    async fn claim_for_test(&self, user: &str, body: &str) -> Result<RequestClaim, Cause> {
        let deadline = Deadline::after(WallClock.now(), Duration::from_secs(30));
        self.claim_key(&request_id(), &key(user), &ContentHash::from_content(body.as_bytes()), deadline, ()).await
    }

    async fn claim_new(&self) -> ClaimedKey {
        match self.claim_for_test("alice", "body").await.unwrap() {
            RequestClaim::Claimed(claimed) => claimed,
            RequestClaim::Replay(reply) => panic!("{reply:?}"),
        }
    }

    async fn replay(&self) -> Box<Reply> {
        match self.claim_for_test("alice", "body").await.unwrap() {
            RequestClaim::Replay(reply) => reply,
            RequestClaim::Claimed(_) => panic!("the request is executed again"),
        }
    }
}

fn reply(error: Option<ErrorCode>) -> Reply {
    let error = error.map(|code| Cause::new(code, "for the test"));
    let status = error.as_ref().map_or(Status::Success, Status::from_cause);
    Reply {
        id: "req_1".to_owned(),
        status,
        outputs: Values::new(),
        error,
        metadata: Metadata::default(),
        protocol_version: WrittenVersion::OWN,
    }
}

/// Runs the releaser beside the work of a test.
async fn beside<T>(releaser: &mut KeyReleaser, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        () = releaser.run() => panic!("the releaser ends before the pipeline"),
    }
}

#[test]
fn writes_and_signals_honour_their_key_and_reads_have_no_effect_to_keep() {
    let run = RunId::new("run_1").unwrap();
    let key = ContextKey::new("notes").unwrap();
    let change = ContextChange::Append(Json::from("a"));
    let write = ContextWrite { run: run.clone(), key, expect: Some(0), change, ttl_ms: None };
    let signal = SignalRun { run: run.clone(), signal: Signal::Cancel };
    for (request, is_stored) in [
        (Request::ContextWrite(write), true),
        (Request::SignalRun(signal), true),
        (Request::ResumeRun(ResumeRun { run: run.clone(), dead: false }), true),
        (Request::ContextRead(ContextRead { run, keys: Vec::new() }), false),
    ] {
        assert_eq!(stores_reply(&request), is_stored, "{}", request.verb());
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
            keys.complete(keys.claim_new().await, reply(error), Vec::new()).await;
            match is_stored {
                true => assert_eq!(*keys.replay().await, reply(error)),
                false => keys.complete(keys.claim_new().await, reply(None), Vec::new()).await,
            }
            let other_user = keys.claim_for_test("bob", "other").await.unwrap();
            assert!(matches!(other_user, RequestClaim::Claimed(_)), "the key of another user is another one");
            let conflict = keys.claim_for_test("alice", "other").await.map(drop).unwrap_err();
            assert_eq!(conflict.code, ErrorCode::IdempotencyConflict);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reservation_whose_reply_is_late_is_released() {
    let Harness { keys, mut releaser, .. } = harness(&[Fault::Late]);
    let unknown = keys.claim_for_test("alice", "body").await.map(drop).unwrap_err();
    assert_eq!((unknown.code, unknown.code.is_retryable()), (ErrorCode::OutcomeUnknown, true));
    beside(&mut releaser, async {
        keys.complete(keys.claim_new().await, reply(None), Vec::new()).await;
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
        let mut completing = Box::pin(keys.complete(claimed, reply(error), Vec::new()));
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
        keys.complete(keys.claim_new().await, reply(None), Vec::new()).await;
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
    let (request, key, body) = (request_id(), key("alice"), ContentHash::from_content(b"body"));
    let mut waiting = Box::pin(keys.claim_key(&request, &key, &body, deadline, Arc::clone(&ticket)));
    tokio::select! {
        _ = &mut waiting => panic!("the first request has the key"),
        () = tokio::time::sleep(Duration::from_secs(60)) => {}
    }
    assert_eq!(store.reservations.load(Ordering::SeqCst), 1, "the store is not polled");
    assert_eq!(Arc::strong_count(&ticket), 1, "the ticket is dropped before the wait");
    let replay = async {
        keys.complete(claimed, reply(None), Vec::new()).await;
        waiting.await
    };
    assert!(matches!(beside(&mut releaser, replay).await, Ok(RequestClaim::Replay(_))));
    assert_eq!(store.reservations.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_key_of_no_request_of_this_process_only_reads_until_the_key_ends() {
    for is_stored in [true, false] {
        let Harness { store, keys, .. } = harness(&[]);
        let (request, key, body) = (request_id(), key("alice"), ContentHash::from_content(b"body"));
        let reserved = store.reserve_elsewhere(&key, &body).await;
        let ticket = Arc::new(());
        let deadline = Deadline::after(WallClock.now(), Duration::from_secs(600));
        let mut waiting = Box::pin(keys.claim_key(&request, &key, &body, deadline, Arc::clone(&ticket)));
        let minute = tokio::time::timeout(Duration::from_secs(60), &mut waiting).await;
        assert!(minute.is_err(), "the key is in progress");
        assert_eq!(store.reservations.load(Ordering::SeqCst), 1, "the writer is not polled");
        let lookups = store.lookups.load(Ordering::SeqCst);
        assert!((55..=70).contains(&lookups), "{lookups} reads in a minute: five more in the first second");
        assert_eq!(Arc::strong_count(&ticket), 1, "the ticket is dropped before the wait");
        match is_stored {
            true => store.inner.finish_key(reserved, &reply(None), WallClock.now()).await.unwrap(),
            false => store.inner.abandon_key(reserved, WallClock.now()).await.unwrap(),
        }
        let claim = waiting.await.unwrap();
        assert_eq!(matches!(claim, RequestClaim::Replay(_)), is_stored, "a released key is claimed");
        assert_eq!(store.reservations.load(Ordering::SeqCst), 2, "one before the wait and one after it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_key_of_no_request_of_this_process_ends_at_its_deadline() {
    let Harness { store, keys, .. } = harness(&[]);
    let body = ContentHash::from_content(b"body");
    let _reserved = store.reserve_elsewhere(&key("alice"), &body).await;
    let deadline_error = keys.claim_for_test("alice", "body").await.map(drop).unwrap_err();
    assert_eq!((deadline_error.code, deadline_error.code.is_retryable()), (ErrorCode::TimedOut, true));
    assert_eq!(store.reservations.load(Ordering::SeqCst), 1);
    let conflict = keys.claim_for_test("alice", "other").await.map(drop).unwrap_err();
    assert_eq!(conflict.code, ErrorCode::IdempotencyConflict, "the claim of the process has ended with its wait");
}
