//! The end of a session that no call uses: it ends at both ends, is kept as long as a call uses it, and the next call dials
//! a new one.

use std::time::Duration;

use anyhow::Result;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::session_pod::{Network, SessionPod, SessionSettings, WAIT_MAX};
use greenroom_integration_tests::wait::wait_until;
use greenroom_supervisor::cluster::session::observer::CloseReason;

/// How long the first pod keeps a session that no call uses. The other one keeps it for longer than any test lasts.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// Waits until no pod can call the other one, because the first one has ended their session.
async fn wait_ended(one: &SessionPod, two: &SessionPod) -> Result<()> {
    let has_ended = || async {
        let reasons = (one.observer.closed().pop(), two.observer.closed().pop());
        let is_by_first = reasons == (Some(CloseReason::Local), Some(CloseReason::Peer));
        (is_by_first && one.table.ready_count() + two.table.ready_count() == 0).then_some(())
    };
    wait_until("the session ends at both ends", WAIT_MAX, has_ended).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_without_calls_ends_at_both_ends_and_the_next_call_dials_again() -> Result<()> {
    let server = NatsServer::start().await?;
    let network = Network::new(&server.url());
    let settings = SessionSettings { idle_max: IDLE_MAX, ..SessionSettings::default() };
    let one = SessionPod::start_with("one", &network, settings).await?;
    let two = SessionPod::start("two", &network).await?;
    let in_use = one.table.begin_use(&two.pod);
    assert_eq!(one.call(&two, b"abc").await?, b"cba");
    // The session with a third pod, which began later, ends meanwhile.
    let three = SessionPod::start("three", &network).await?;
    assert_eq!(one.call(&three, b"abc").await?, b"cba");
    let has_ended = || async { (three.table.ready_count() == 0).then_some(()) };
    wait_until("a session without calls ends", WAIT_MAX, has_ended).await?;
    assert_eq!((one.table.ready_count(), two.table.ready_count()), (1, 1), "a call uses the session");
    drop(in_use);
    wait_ended(&one, &two).await?;
    assert_eq!(one.call(&two, b"def").await?, b"fed");
    wait_ended(&one, &two).await?;
    // Either pod dials, whichever has a call first.
    assert_eq!(two.call(&one, b"ghi").await?, b"ihg");
    Ok(())
}
