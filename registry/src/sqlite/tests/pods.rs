//! The pods of a database: until when each was active, and that a start settles, releases and closes what belonged to
//! dead ones only.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::audit::{Event, Opening};
use protocol::{
    AgentId, BootTime, CallKey, Clock, ContentHash, MicroUsd, PodId, PriceBasis, PrincipalId, Timestamp, UserId,
};
use sqlx::{Connection, Executor};

use super::{count, database, tamper};
use crate::SyncMode;
use crate::audit::AuditScope;
use crate::error::StoreError;
use crate::idempotency::KeyStatus;
use crate::journal::Seq;
use crate::ledger::{Account, Amount, Budget, Charged, ChargedModels};
use crate::runs::{ClaimedTree, Created, DedupKey, Fence, NewRun, OwnerActivity};
use crate::sqlite::connection::connect_dedicated;
use crate::suite::{FixedClock, MINUTE, NOW, TestStores, ended, new_run, next_pod, opening, run_id, tenant};

const HOUR: Duration = Duration::from_secs(60 * 60);
const SECOND: Duration = Duration::from_secs(1);

/// A clock that a test sets.
struct SetClock(AtomicI64);

impl SetClock {
    fn new(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now.as_micros())))
    }

    fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn boot_time(&self) -> BootTime {
        FixedClock.boot_time()
    }
}

/// Creates a run as the pod that has opened the stores.
async fn create_own_run(stores: &TestStores) -> Fence {
    let new = NewRun { pod: stores.pod.clone(), ..new_run(1) };
    match stores.create(&new, None).await.unwrap() {
        Created::New(fence) => fence,
        other => panic!("the run is not new: {other:?}"),
    }
}

async fn claim(stores: &TestStores, now: Timestamp) -> ClaimedTree {
    stores.stores.core.claim_tree(&run_id(1), &stores.pod, MINUTE, now).await.unwrap().unwrap()
}

/// Waits until everything that was submitted before is durable.
async fn flush(stores: &TestStores) {
    assert!(stores.stores.maintenance.check().await.unwrap().is_ok());
}

/// A database whose process has crashed an hour after it has created a run, which was quiet.
async fn crashed_after_an_hour() -> tempfile::TempDir {
    let stores = TestStores::sqlite().await;
    let fence = create_own_run(&stores).await;
    stores.stores.core.renew(&run_id(1), fence, MINUTE, NOW.saturating_add(HOUR)).await.unwrap();
    flush(&stores).await;
    stores.crash().await
}

#[tokio::test]
async fn a_quiet_run_was_not_paused_until_its_dead_owner_was_last_active() {
    let hour = NOW.saturating_add(HOUR);
    for is_crash in [true, false] {
        let stores = TestStores::sqlite().await;
        let fence = create_own_run(&stores).await;
        // The second renewal is too soon after the first one to be recorded.
        for at in [hour, hour.saturating_add(SECOND)] {
            stores.stores.core.renew(&run_id(1), fence, MINUTE, at).await.unwrap();
        }
        flush(&stores).await;
        let closed = hour.saturating_add(SECOND * 2);
        let dir = if is_crash { stores.crash().await } else { stores.close_at(closed).await };
        let stores = TestStores::open(dir).await.unwrap();
        let tree = claim(&stores, hour.saturating_add(HOUR)).await;
        let until = if is_crash { hour } else { closed };
        assert_eq!(tree.last_activity, Some(OwnerActivity { since: NOW, until }));
    }
}

#[tokio::test]
async fn the_activity_of_a_pod_begins_with_its_start() {
    let (hour, later) = (NOW.saturating_add(HOUR), NOW.saturating_add(HOUR * 2));
    let dir = crashed_after_an_hour().await;
    let stores = TestStores::open_as(dir, SyncMode::Full, next_pod(), SetClock::new(later)).await.unwrap();
    let tree = claim(&stores, later).await;
    assert_eq!(tree.last_activity.map(|activity| activity.until), Some(hour));
    // This pod dies before it has resumed the run, and has written nothing to its journal.
    let stores = stores.crash_and_reopen().await;
    let tree = claim(&stores, later).await;
    assert_eq!(tree.last_activity, Some(OwnerActivity { since: later, until: later }));
}

#[tokio::test]
async fn a_claim_that_could_not_be_written_does_not_change_the_last_activity() {
    let later = NOW.saturating_add(HOUR * 2);
    let stores = TestStores::open(crashed_after_an_hour().await).await.unwrap();
    let mut other = connect_dedicated(&stores.database()).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    assert!(stores.stores.core.claim_tree(&run_id(1), &stores.pod, MINUTE, later).await.is_err());
    other.execute("ROLLBACK").await.unwrap();
    other.close().await.unwrap();
    let activity = claim(&stores, later).await.last_activity;
    assert_eq!(activity, Some(OwnerActivity { since: NOW, until: NOW.saturating_add(HOUR) }));
}

#[tokio::test]
async fn a_pod_that_writes_is_active_and_an_idle_one_writes_nothing() {
    let clock = SetClock::new(NOW);
    let dir = tempfile::tempdir().unwrap();
    let stores = TestStores::open_as(dir, SyncMode::Full, next_pod(), clock.clone()).await.unwrap();
    let active_at = async || count(&stores.database(), "SELECT active_at FROM pods WHERE dead = 0").await;
    let hour = NOW.saturating_add(HOUR);
    clock.set(hour);
    flush(&stores).await;
    assert_eq!(active_at().await, NOW.as_micros(), "there was nothing to write");
    stores.stores.core.record_system_event("test", "first", hour).await.unwrap();
    assert_eq!(active_at().await, hour.as_micros());
    clock.set(hour.saturating_add(SECOND));
    stores.stores.core.record_system_event("test", "second", hour).await.unwrap();
    assert_eq!(active_at().await, hour.as_micros(), "not with each commit");
}

#[tokio::test]
async fn a_dead_pod_is_known_as_long_as_it_is_the_last_owner_of_an_unfinished_run() {
    let stores = TestStores::sqlite().await;
    create_own_run(&stores).await;
    // None of these claims the run.
    let stores = stores.crash_and_reopen().await.crash_and_reopen().await;
    let pods = "SELECT COUNT(*) FROM pods";
    assert_eq!(count(&stores.database(), pods).await, 2);
    assert_eq!(count(&stores.database(), "SELECT COUNT(*) FROM pods WHERE dead = 1").await, 1);
    let tree = claim(&stores, NOW).await;
    assert!(tree.last_activity.is_some());
    let _ = stores.append(&run_id(1), tree.fence, Seq(0), &[ended()], NOW).await.unwrap();
    let stores = stores.crash_and_reopen().await;
    assert_eq!(count(&stores.database(), pods).await, 1);
}

#[tokio::test]
async fn a_pod_that_has_owned_the_database_before_is_refused() {
    let stores = TestStores::sqlite().await;
    let pod = stores.pod.clone();
    let dir = stores.close().await;
    let error = TestStores::open_as(dir, SyncMode::Full, pod.clone(), Arc::new(FixedClock)).await.err().unwrap();
    assert!(matches!(&error, StoreError::Failed(text) if text.contains(pod.as_str())), "{error}");
}

#[tokio::test]
async fn what_belongs_to_a_pod_that_is_alive_is_not_settled_released_or_closed() {
    let (live, acme, body) = (PodId::new("pod_live").unwrap(), tenant("acme"), ContentHash::from_content(b"body"));
    let key = |name: &str| DedupKey::Call(CallKey::new(name).unwrap());
    let account = Account {
        principal: PrincipalId::local(acme.clone(), UserId::new("alice").unwrap()),
        agent: AgentId::new("writer").unwrap(),
        workflow: None,
        run: None,
        model: "play.one".into(),
        price: PriceBasis::Listed,
    };
    let cost = |micros| Amount::of_cost(MicroUsd(micros));
    let stores = TestStores::sqlite().await;
    let call = CallKey::new("call").unwrap();
    let mut permits = Vec::new();
    for (number, name, micros, pod) in [(1, "dead", 60, &stores.pod), (2, "live", 5, &live)] {
        let entry = stores.stores.core.open_entry(Opening { pod: pod.clone(), ..opening(number) }, NOW).await.unwrap();
        let reservation = stores.reserve(&account, &[], cost(micros), &call, NOW).await.unwrap();
        let reserved = stores.begin(&acme, &key(name), &body).await.1;
        permits.push((entry, reservation, reserved));
    }
    let dir = stores.crash().await;
    std::mem::forget(permits);
    tamper(&database(&dir), "UPDATE reservations SET pod = 'pod_live' WHERE id = 2").await;
    tamper(&database(&dir), "UPDATE idempotency_keys SET pod = 'pod_live' WHERE key = 'call:live'").await;
    let stores = TestStores::open_as(dir, SyncMode::Full, live, Arc::new(FixedClock)).await.unwrap();
    let charged = stores.stores.ledger.charged(&Budget::Tenant(acme.clone())).await.unwrap();
    assert_eq!(charged, Charged { settled: cost(60), reserved: cost(5), models: ChargedModels::default() });
    assert_eq!(stores.begin(&acme, &key("dead"), &body).await.0, KeyStatus::New);
    assert_eq!(stores.begin(&acme, &key("live"), &body).await.0, KeyStatus::InProgress);
    let mut ends = Vec::new();
    for number in [1, 2] {
        let request = opening(number).request;
        let records = stores.stores.audit.find(&AuditScope::All, request.as_str()).await.unwrap();
        ends.push(records.into_iter().skip(1).map(|listed| listed.record.event).collect::<Vec<_>>());
    }
    assert_eq!(ends, [vec![Event::Interrupted { opened: 1 }], Vec::new()]);
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}
