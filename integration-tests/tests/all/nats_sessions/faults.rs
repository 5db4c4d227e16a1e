//! Faults of sessions: what others publish, a chunk that is lost, and a server that restarts.

use std::time::Duration;

use anyhow::Result;
use futures::StreamExt as _;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::session_pod::{Network, SessionPod, WAIT_MAX};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::PodId;
use greenroom_supervisor::cluster::keys::random;
use greenroom_supervisor::cluster::session::handshake::{Dialler, Message, Parties};
use greenroom_supervisor::cluster::session::observer::{CloseReason, RefusedMessage};
use greenroom_supervisor::cluster::session::subject::SessionId;
use tokio::time::timeout;

/// How long a subject is listened to without a message.
const QUIET: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_without_the_secret_changes_nothing() -> Result<()> {
    let server = NatsServer::start().await?;
    let network = Network::new(&server.url());
    let (one, two) = (SessionPod::start("one", &network).await?, SessionPod::start("two", &network).await?);
    let stranger = async_nats::connect(server.url()).await?;
    let mut overheard = stranger.subscribe("greenroom.internal.session.>").await?;
    stranger.flush().await?;
    assert_eq!(one.call(&two, b"abc").await?, b"cba");
    let mut messages = Vec::new();
    while let Ok(Some(message)) = timeout(QUIET, overheard.next()).await {
        messages.push(message);
    }
    assert!(messages.len() > 3, "a handshake and some chunks: {}", messages.len());
    for message in &messages {
        let mut forged = message.payload.to_vec();
        if let Some(last) = forged.last_mut() {
            *last ^= 1;
        }
        for payload in [message.payload.clone(), forged.into(), "garbage".into()] {
            stranger.publish(message.subject.clone(), payload).await?;
        }
    }
    stranger.flush().await?;
    let has_refused = || async {
        let refused = [one.observer.refused(), two.observer.refused()].concat();
        let is_refused = |reason| refused.contains(&reason);
        (is_refused(RefusedMessage::Forged) && is_refused(RefusedMessage::Replayed)).then_some(())
    };
    wait_until("forged and replayed messages are counted", WAIT_MAX, has_refused).await?;
    assert_eq!(one.call(&two, b"def").await?, b"fed");
    assert_eq!(two.call(&one, b"ghi").await?, b"ihg");
    for pod in [&one, &two] {
        assert_eq!((pod.observer.opened(), pod.observer.closed()), (1, vec![]), "the session is the same one");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_chunk_ends_the_session() -> Result<()> {
    let server = NatsServer::start().await?;
    let network = Network::new(&server.url());
    let two = SessionPod::start("two", &network).await?;
    // A pod that has the secret, and whose second chunk never arrives.
    let (client, subjects) = (async_nats::connect(server.url()).await?, network.subjects());
    let (own, session) = (PodId::new("losing")?, SessionId::from_random(random()?));
    let parties = Parties { cluster: &network.cluster, own: &own, other: &two.pod };
    let dialler = Dialler::new(&network.secret()?, parties, &session, random()?)?;
    let mut messages = client.subscribe(subjects.session(&own, &session)).await?;
    let hello = dialler.hello().to_bytes()?;
    // The pod listens a moment after it has started.
    let dialling = async {
        loop {
            client.publish(subjects.dial(&two.pod), hello.clone().into()).await?;
            if let Ok(Some(message)) = timeout(QUIET, messages.next()).await {
                return anyhow::Ok(message);
            }
        }
    };
    let welcome = timeout(WAIT_MAX, dialling).await??;
    let Some(Message::Welcome(welcome)) = Message::read(&welcome.payload) else { panic!("{welcome:?}") };
    let (confirm, mut state) = dialler.on_welcome(&welcome).map_err(|reason| anyhow::anyhow!("{reason:?}"))?;
    let to = subjects.session(&two.pod, &session);
    client.publish(to.clone(), confirm.to_bytes()?.into()).await?;
    let chunks = [&b"1"[..], b"2", b"3"].map(|content| state.send(content, 10).map(|(_, chunk)| chunk));
    let [Some(first), Some(_lost), Some(third)] = chunks else { panic!("no credit") };
    client.publish(to.clone(), first).await?;
    client.publish(to, third).await?;
    client.flush().await?;
    let is_closed = || async { two.observer.closed().contains(&CloseReason::Gap).then_some(()) };
    wait_until("the session ends", WAIT_MAX, is_closed).await?;
    assert_eq!(two.table.ready_count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_call_each_other_again_after_the_server_has_restarted() -> Result<()> {
    let mut server = NatsServer::start().await?;
    let network = Network::new(&server.url());
    let (one, two) = (SessionPod::start("one", &network).await?, SessionPod::start("two", &network).await?);
    for _ in 0..2 {
        assert_eq!(one.call(&two, b"abc").await?, b"cba");
        server.kill()?;
        server.restart().await?;
        assert_eq!(two.call(&one, b"def").await?, b"fed");
    }
    Ok(())
}
