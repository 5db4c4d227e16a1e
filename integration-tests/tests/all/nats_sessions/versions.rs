//! Sessions between pods of different releases: those without a common version refuse each other, whoever dials, and both
//! serve the others as before; those with one have sessions.

use anyhow::{Result, bail, ensure};
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::session_pod::{CALL_MAX, Network, SessionPod, SessionSettings, WAIT_MAX};
use greenroom_integration_tests::wait::wait_until;
use greenroom_supervisor::cluster::session::dial::DialError;
use greenroom_supervisor::cluster::session::handshake::{VERSIONS, Versions};
use greenroom_supervisor::cluster::session::observer::RefusedMessage;
use greenroom_supervisor::cluster::sessions::CallError;

/// Starts a pod of a release that has these versions of the protocol of sessions.
async fn start(name: &str, network: &Network, versions: Versions) -> Result<SessionPod> {
    SessionPod::start_with(name, network, SessionSettings { versions, ..SessionSettings::default() }).await
}

/// Fails unless the pod that is dialled refuses the session by its version, and counts that for at least so many times.
async fn expect_refused(from: &SessionPod, to: &SessionPod, count: usize) -> Result<()> {
    let refused = || async {
        match from.sessions.call(&to.pod, b"abc", CALL_MAX).await {
            // It does not listen yet, or the machine is busy.
            Err(CallError::Dial(DialError::NoPod | DialError::TimedOut)) => None,
            result => Some(result),
        }
    };
    let refused = wait_until("the other pod replies", WAIT_MAX, refused).await?;
    let Err(CallError::Dial(DialError::Refused(reason))) = &refused else { bail!("{refused:?}") };
    assert_eq!(reason, RefusedMessage::Version.as_str());
    let counted = to.observer.refused();
    ensure!(counted.len() >= count && counted.iter().all(|reason| *reason == RefusedMessage::Version), "{counted:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_without_a_common_version_refuse_each_other_and_serve_those_that_have_one() -> Result<()> {
    let server = NatsServer::start().await?;
    let network = Network::new(&server.url());
    let own = start("own", &network, VERSIONS).await?;
    let later = start("later", &network, Versions { from: VERSIONS.to + 1, to: VERSIONS.to + 2 }).await?;
    for count in 1..=2 {
        expect_refused(&later, &own, count).await?;
        expect_refused(&own, &later, count).await?;
    }
    let ready = own.table.ready_count() + later.table.ready_count();
    assert_eq!((ready, own.observer.opened(), later.observer.opened()), (0, 0, 0));
    // The release between them has a version of each.
    let between = start("between", &network, Versions { from: VERSIONS.from, to: VERSIONS.to + 1 }).await?;
    assert_eq!(between.call(&own, b"abc").await?, b"cba");
    assert_eq!(later.call(&between, b"def").await?, b"fed");
    Ok(())
}
