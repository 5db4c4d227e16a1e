//! The server of the database is stopped, as by a crash of its machine, and started again: the pods lapse, none dies, and
//! no call in flight is repeated.

use anyhow::Result;
use greenroom_integration_tests::cluster::postgres_server::{PostgresServer, StopMode};
use greenroom_integration_tests::wait::wait_until;
use greenroom_registry::cluster::LeaseStatus;

use super::shared_database::{SharedDatabase, WAIT_MAX, new_runtime};
use super::{ensure_success, replying};

#[test]
fn a_call_whose_reply_comes_while_the_server_is_away_is_made_once() -> Result<()> {
    let runtime = new_runtime()?;
    let server = runtime.block_on(PostgresServer::start())?;
    let database = SharedDatabase::create_at(server.url(), [replying("draft"), replying("send")])?;
    let mut a = database.start("pod_a")?;
    a.recover();
    let paused = database.pause_replies();
    let run = a.start_detached("letter")?;
    database.wait_calls(1)?;
    runtime.block_on(server.stop(StopMode::Immediate))?;
    drop(paused);
    let has_lapsed = || async { (a.pod().stores().cluster.lease_status() == LeaseStatus::Lapsed).then_some(()) };
    a.block_on(wait_until("the lease has lapsed", WAIT_MAX, has_lapsed))?;
    assert_eq!(database.calls(), 1, "nothing follows from the reply yet");
    runtime.block_on(server.start_again())?;
    ensure_success(&a.wait_ended(&run)?)?;
    assert_eq!((database.calls(), a.count_resumptions(&run)?), (2, 0), "no call was repeated");
    assert_eq!(a.pod().stores().cluster.watch().borrow().pods_declared_dead, 0);
    assert!(a.block_on(a.pod().stores().audit.verify())?.is_valid());
    Ok(())
}
