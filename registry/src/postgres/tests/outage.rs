//! A server that cannot write for a while: what is a part of a run waits for it, and anything else is rejected.

use greenroom_protocol as protocol;
use protocol::CallKey;

use super::{COST, account, limits};
use crate::audit::AuditError;
use crate::core::Unit;
use crate::error::StoreError;
use crate::group_commit::CommitTiming;
use crate::ledger::{ReservationRequest, ReserveError};
use crate::suite::{NOW, TestStores, opening};

/// The error that the server has if its disk is full.
const FAIL: &str = "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS \
                    $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$";

#[tokio::test]
async fn a_unit_of_a_run_is_written_once_the_server_can_write_again() {
    let stores = TestStores::postgres().await;
    let (database, core) = (stores.test_database(), &stores.stores.core);
    database.execute(FAIL).await;
    database.execute("CREATE TRIGGER no_space BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION fail()").await;
    let of_run = Unit::new(NOW).open(opening(1)).outlast_outage(true);
    let mut pending = core.submit_opening_unit(of_run, CommitTiming::Immediate).await.unwrap();
    for number in 2..4 {
        let rejected = core.open_entry(opening(number), NOW).await.err();
        assert!(matches!(rejected, Some(AuditError::Store(StoreError::Full))), "{rejected:?}");
    }
    let mut waiting = Box::pin(pending.wait_durable());
    assert!(futures::poll!(&mut waiting).is_pending());
    database.execute("DROP TRIGGER no_space ON audit").await;
    assert!(waiting.await.is_ok());
    assert_eq!(database.count("SELECT count(*) FROM audit_open").await, 1, "it is written once");
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

#[tokio::test]
async fn the_reservation_of_a_run_is_made_once_the_server_can_write_again() {
    let stores = TestStores::postgres().await;
    let (database, core) = (stores.test_database(), &stores.stores.core);
    database.execute(FAIL).await;
    let trigger = "CREATE TRIGGER no_space BEFORE INSERT ON reservations FOR EACH ROW EXECUTE FUNCTION fail()";
    database.execute(trigger).await;
    let (account, limits) = (account(), limits(1_000));
    let [call, other] = ["call", "other"].map(|key| CallKey::new(key).unwrap());
    let request = ReservationRequest { account: &account, limits: &limits, upper_bound: COST, key: &call };
    let mut waiting = Box::pin(core.commit(Unit::new(NOW).reserve(request).outlast_outage(true)));
    assert!(futures::poll!(&mut waiting).is_pending());
    for _ in 0..2 {
        let rejected = stores.reserve(&account, &limits, COST, &other, NOW).await.err();
        assert!(matches!(rejected, Some(ReserveError::Store(StoreError::Full))), "{rejected:?}");
    }
    assert!(futures::poll!(&mut waiting).is_pending());
    database.execute("DROP TRIGGER no_space ON reservations").await;
    let receipts = waiting.await.unwrap();
    assert!(receipts.reservation.is_some());
    assert_eq!(database.count("SELECT count(*) FROM reservations").await, 1, "it is made once");
}

#[tokio::test]
async fn a_store_that_is_closed_waits_for_no_server() {
    let stores = TestStores::postgres().await;
    let (database, core) = (stores.test_database(), &stores.stores.core);
    database.execute(FAIL).await;
    database.execute("CREATE TRIGGER no_space BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION fail()").await;
    let of_run = Unit::new(NOW).open(opening(1)).outlast_outage(true);
    let mut pending = core.submit_opening_unit(of_run, CommitTiming::Immediate).await.unwrap();
    let (closed, opened) = tokio::join!(stores.stores.maintenance.close(NOW), pending.wait_durable());
    assert!(opened.is_err(), "{closed:?}");
}
