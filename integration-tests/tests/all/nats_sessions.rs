//! Sessions between pods over a real NATS server: nodes that call each other's peers, what others publish on the subjects
//! of sessions, lost chunks, and agents that are placed by labels.
//!
//! Several pods share the process of a test. Each has a node, a connection and a peer of its own; their names are unique,
//! because those of actors are the process's.

mod faults;
mod idle;
mod impostors;
mod placement;
mod teams;
mod versions;

use std::time::Duration;

use anyhow::Result;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::session_pod::{CALL_MAX, Network, SessionPod, WAIT_MAX};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::PodId;
use greenroom_supervisor::cluster::session::dial::DialError;
use greenroom_supervisor::cluster::session::observer::RefusedMessage;
use greenroom_supervisor::cluster::sessions::CallError;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pods_call_each_other_over_one_session() -> Result<()> {
    let server = NatsServer::start().await?;
    let network = Network::new(&server.url());
    let (one, two) = (SessionPod::start("one", &network).await?, SessionPod::start("two", &network).await?);
    assert_eq!(one.call(&two, b"abc").await?, b"cba");
    let is_ready = || async { two.table.ready(&one.pod).map(drop) };
    wait_until("the session is ready at its other end", WAIT_MAX, is_ready).await?;
    assert_eq!(two.call(&one, b"def").await?, b"fed");
    for pod in [&one, &two] {
        assert_eq!((pod.table.ready_count(), pod.observer.opened()), (1, 1));
        assert!(pod.observer.closed().is_empty() && pod.observer.refused().is_empty());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_dial_each_other_at_once_are_both_served() -> Result<()> {
    let server = NatsServer::start().await?;
    let network = Network::new(&server.url());
    let (one, two) = (SessionPod::start("one", &network).await?, SessionPod::start("two", &network).await?);
    let calls = async { tokio::try_join!(one.call(&two, b"abc"), two.call(&one, b"def")) };
    assert_eq!(calls.await?, (b"cba".to_vec(), b"fed".to_vec()));
    assert_eq!((one.table.ready_count(), two.table.ready_count()), (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_larger_than_message_and_window_arrives_whole() -> Result<()> {
    let server = NatsServer::start_with("max_payload: 65536\n").await?;
    let network = Network::new(&server.url());
    let (one, two) = (SessionPod::start("one", &network).await?, SessionPod::start("two", &network).await?);
    let body: Vec<u8> = (0..12 * 1024 * 1024_u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    let reply = one.call(&two, &body).await?;
    assert!(reply.iter().eq(body.iter().rev()), "{} bytes", reply.len());
    assert!(one.observer.closed().is_empty() && two.observer.closed().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_share_one_session() -> Result<()> {
    let server = NatsServer::start().await?;
    let network = Network::new(&server.url());
    let (one, two) = (SessionPod::start("one", &network).await?, SessionPod::start("two", &network).await?);
    let calls = (0..1_000_u32).map(|number| {
        let (one, two) = (&one, &two);
        async move {
            let body = number.to_be_bytes();
            let reply = one.call(two, &body).await?;
            anyhow::ensure!(reply.iter().eq(body.iter().rev()), "{number}: {reply:?}");
            anyhow::Ok(())
        }
    });
    futures::future::try_join_all(calls).await?;
    assert_eq!((one.observer.opened(), two.observer.opened()), (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_not_there_is_found_out_at_once() -> Result<()> {
    let server = NatsServer::start().await?;
    let one = SessionPod::start("one", &Network::new(&server.url())).await?;
    let missing = PodId::new("missing")?;
    let started = tokio::time::Instant::now();
    let refused = one.sessions.call(&missing, b"abc", CALL_MAX).await;
    assert!(matches!(refused, Err(CallError::Dial(DialError::NoPod))), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "the server reports it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_with_another_secret_opens_no_session() -> Result<()> {
    let server = NatsServer::start().await?;
    let network = Network::new(&server.url());
    let one = SessionPod::start("one", &network).await?;
    let stranger = Network { secret: "another secret of the cluster".to_owned(), ..network };
    let stranger = SessionPod::start("stranger", &stranger).await?;
    let refused = stranger.call_once(&one, b"abc").await?;
    assert!(matches!(refused, Err(CallError::Dial(DialError::TimedOut))), "{refused:?}");
    assert_eq!(one.observer.refused(), [RefusedMessage::Forged]);
    assert_eq!((one.table.ready_count(), one.observer.opened()), (0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_on_one_server_have_nothing_to_do_with_each_other() -> Result<()> {
    let server = NatsServer::start().await?;
    let green = Network::new(&server.url());
    let red = Network { cluster: "red".to_owned(), ..green.clone() };
    let (one, two) = (SessionPod::start("one", &green).await?, SessionPod::start("two", &green).await?);
    let other = SessionPod::start("other", &red).await?;
    let refused = other.call_once(&one, b"abc").await?;
    assert!(matches!(refused, Err(CallError::Dial(DialError::TimedOut))), "{refused:?}");
    assert_eq!(one.observer.refused(), [RefusedMessage::Cluster]);
    let elsewhere = Network { prefix: "elsewhere".to_owned(), ..green };
    let apart = SessionPod::start("apart", &elsewhere).await?;
    let refused = apart.sessions.call(&one.pod, b"abc", CALL_MAX).await;
    assert!(matches!(refused, Err(CallError::Dial(DialError::NoPod))), "{refused:?}");
    assert_eq!(one.call(&two, b"abc").await?, b"cba");
    Ok(())
}
