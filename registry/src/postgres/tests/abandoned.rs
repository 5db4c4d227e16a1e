//! A unit whose caller has gone while its lane was busy.

use greenroom_protocol as protocol;
use protocol::RequestId;
use protocol::audit::Event;
use sqlx::Executor as _;

use super::wait_until;
use crate::audit::AuditScope;
use crate::core::Unit;
use crate::group_commit::CommitTiming;
use crate::journal::{AppendPosition, Seq};
use crate::suite::{NOW, TestStores, closing, opening, run_id, started};

/// Statements that wait for the lock of another connection.
const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'audit'::regclass";

#[tokio::test]
async fn a_unit_whose_caller_has_gone_is_not_executed_except_for_its_consequences() {
    let stores = TestStores::postgres().await;
    let (core, database) = (&stores.stores.core, stores.test_database());
    let fence = stores.create_run(1).await;
    let entry = core.open_entry(opening(1), NOW).await.unwrap();
    // The one lane waits for this connection, with a batch of another unit.
    let mut connection = database.connect().await;
    connection.execute("BEGIN").await.unwrap();
    connection.execute("LOCK TABLE audit IN EXCLUSIVE MODE").await.unwrap();
    let under_way = core.submit(Unit::new(NOW).open(opening(3)), CommitTiming::Immediate).await.unwrap();
    wait_until(async || database.count(WAITING).await > 0).await;
    let (run, entries) = (run_id(1), [started("a")]);
    let at = AppendPosition { run: &run, fence, after: Seq(0) };
    let unit = Unit::new(NOW).append(at, &entries).close(entry, closing()).open(opening(2));
    drop(core.submit(unit, CommitTiming::Immediate).await.unwrap());
    let at = AppendPosition { run: &run, fence, after: Seq(0) };
    let later = core.submit(Unit::new(NOW).append(at, &entries), CommitTiming::Immediate).await.unwrap();
    connection.execute("COMMIT").await.unwrap();
    let receipts = later.wait().await.unwrap();
    assert_eq!(receipts.journal.unwrap().through(), Seq(1), "the abandoned entries were not appended");
    drop(under_way.wait().await.unwrap());
    let events = async |request: u128| {
        let id = RequestId::from_u128(request);
        let records = stores.stores.audit.find(&AuditScope::All, id.as_str()).await.unwrap();
        records.into_iter().map(|listed| listed.record.event).collect::<Vec<_>>()
    };
    assert!(matches!(events(1).await.as_slice(), [Event::Opened(_), Event::Closed { .. }]));
    assert_eq!(events(2).await, [], "the abandoned entry was not opened");
    assert_eq!(database.count("SELECT count(*) FROM journal").await, 1);
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}
