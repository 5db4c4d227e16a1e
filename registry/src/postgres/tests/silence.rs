//! Servers that accept what is sent, and are silent: no operation takes longer than its bound, none is lost, and none is
//! executed twice. The cases run at the same time, because each of them waits.

use std::time::Duration;

use greenroom_protocol::{CallKey, ContentHash};
use tokio::time::{Instant, timeout};

use super::faults::open_by_proxy;
use super::{COST, account, limits, wait_until};
use crate::error::StoreError;
use crate::journal::{JournalError, Seq};
use crate::postgres::connection::STATEMENT_TIMEOUT;
use crate::suite::call_proxy::CallFault;
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{NOW, run_id, started};

/// No operation takes longer: a caller waits for thirty seconds at most, and the machine may be busy.
const OPERATION_MAX: Duration = Duration::from_secs(45);

/// The result of an operation, which must have one in time.
async fn in_time<T>(operation: impl Future<Output = T>) -> T {
    timeout(OPERATION_MAX, operation).await.expect("the operation is bounded")
}

/// The batch of a lane is resolved on another connection, whether the server has executed it or not.
async fn silent_batches(fault: CallFault) {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    let fence = stores.create_run(1).await;
    proxy.fail(&["greenroom_commit_"], &[fault]);
    let (run, entries) = (run_id(1), [started("a")]);
    let append = stores.append(&run, fence, Seq(0), &entries, NOW);
    assert_eq!(in_time(append).await.unwrap().through(), Seq(1), "{fault:?}");
    proxy.fail(&["greenroom_accounts_"], &[fault]);
    let (account, limits, call) = (account(), limits(1_000), CallKey::new("call").unwrap());
    let reserve = stores.reserve(&account, &limits, COST, &call, NOW);
    drop(in_time(reserve).await.unwrap());
    assert_eq!(database.count("SELECT count(*) FROM journal").await, 1, "{fault:?}");
    assert_eq!(proxy.failed(), 2);
}

/// Readers, more than there are connections: each has an error in time, and none of the connections is lost.
async fn silent_reads() {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    stores.create_run(1).await;
    proxy.fail(&["FROM runs r JOIN trees t"], &[CallFault::Swallow; 4]);
    let run = run_id(1);
    let reads = (0..6).map(|_| stores.stores.runs.get(&run));
    let results = in_time(futures::future::join_all(reads)).await;
    let failed = results.iter().filter(|result| matches!(result, Err(StoreError::Timeout))).count();
    assert!(failed >= 4, "{results:?}");
    let started = Instant::now();
    for result in futures::future::join_all((0..6).map(|_| stores.stores.runs.get(&run))).await {
        assert!(result.unwrap().is_some());
    }
    assert!(started.elapsed() < STATEMENT_TIMEOUT, "{:?}", started.elapsed());
}

/// The lease is renewed on another connection, before it is over.
async fn silent_ticks() {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    let renewals = async || database.count("SELECT renewals FROM pods").await;
    wait_until(async || renewals().await > 0).await;
    proxy.fail(&["greenroom_tick_"], &[CallFault::Swallow, CallFault::None, CallFault::Silence]);
    let before = renewals().await;
    wait_until(async || proxy.failed() == 2 && renewals().await > before + 3).await;
    assert_eq!(database.count("SELECT count(*) FROM pods WHERE dead").await, 0);
    stores.create_run(1).await;
}

/// Without any reply the outcome is unknown, and is resolved when the server replies again.
async fn silent_server() {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    let fence = stores.create_run(1).await;
    proxy.set_silent(true);
    let (run, entries, hash) = (run_id(1), [started("a")], ContentHash::from_content(b"x"));
    let append = in_time(stores.append(&run, fence, Seq(0), &entries, NOW));
    let read = in_time(stores.stores.runs.get(&run));
    let put = in_time(stores.stores.definitions.put(&hash, "x"));
    let url = database.url_by(proxy.address());
    let (appended, read, put, opened) = tokio::join!(append, read, put, in_time(open_pod(&url, "pod_b", 1)));
    assert!(matches!(appended, Err(JournalError::Store(StoreError::OutcomeUnknown))), "{appended:?}");
    assert!(matches!(read, Err(StoreError::Timeout | StoreError::Unreachable(_))), "{read:?}");
    assert!(matches!(put, Err(StoreError::Timeout | StoreError::Unreachable(_))), "{put:?}");
    assert!(matches!(opened.err(), Some(StoreError::Unreachable(_))));
    proxy.set_silent(false);
    let seq = async || stores.stores.runs.get(&run).await.map(|record| record.unwrap().seq);
    // Its caller has gone, so it is executed at most once, and an append after it tells whether it was.
    let mut next = None;
    wait_until(async || {
        let Ok(after) = seq().await else { return false };
        next = stores.append(&run, fence, after, &entries, NOW).await.ok();
        next.is_some()
    })
    .await;
    let through = next.map(|receipt| receipt.through());
    assert!(through == Some(Seq(1)) || through == Some(Seq(2)), "{through:?}");
    assert_eq!(seq().await.ok(), through);
    stores.stores.definitions.put(&hash, "x").await.unwrap();
    assert_eq!(stores.stores.definitions.get(&hash).await.unwrap().as_deref(), Some("x"));
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

/// A pod that becomes silent within a transaction delays others only until the server ends it.
async fn silent_transaction() {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    let other = open_pod(&database.url(), "pod_b", 1).await.unwrap();
    let hash = ContentHash::from_content(b"x");
    proxy.fail(&["COMMIT"], &[CallFault::Swallow]);
    let put = async { in_time(stores.stores.definitions.put(&hash, "x")).await };
    let put_by_other = async {
        wait_until(async || proxy.failed() == 1).await;
        in_time(other.stores.definitions.put(&hash, "x")).await
    };
    let (lost, stored) = tokio::join!(put, put_by_other);
    assert!(matches!(lost, Err(StoreError::OutcomeUnknown)), "{lost:?}");
    stored.unwrap();
    assert_eq!(other.stores.definitions.get(&hash).await.unwrap().as_deref(), Some("x"));
}

/// A start whose server becomes silent ends too.
async fn silent_start() {
    let database = TestDatabase::migrated().await;
    let proxy = database.proxy().await;
    proxy.fail(&["greenroom_join_"], &[CallFault::Swallow]);
    let opened = in_time(open_pod(&database.url_by(proxy.address()), "pod_a", 1)).await;
    assert!(matches!(opened.err(), Some(StoreError::Timeout)));
    drop(open_pod(&database.url_by(proxy.address()), "pod_a", 1).await.unwrap());
}

#[tokio::test]
async fn a_server_that_is_silent_delays_no_operation_beyond_its_bound() {
    tokio::join!(
        Box::pin(silent_batches(CallFault::Swallow)),
        Box::pin(silent_batches(CallFault::Silence)),
        Box::pin(silent_reads()),
        Box::pin(silent_ticks()),
        Box::pin(silent_server()),
        Box::pin(silent_transaction()),
        Box::pin(silent_start()),
    );
}
