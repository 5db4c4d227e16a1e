//! Measures calls of another pod's peer over NATS against the same calls over TCP: the same nodes and actors, 1 KiB each
//! way, 1,024 in flight. Both pods are in this process, so both transports have the same processors; the server of NATS has
//! them too, which a TCP connection does not need.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::bench::{Threshold, record};
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::session_pod::{CALL_MAX, Network, PeerPod, SessionPod};
use greenroom_protocol::PodId;
use greenroom_supervisor::cluster::peer::{CallId, PeerMsg};
use greenroom_supervisor::cluster::peer_table::remote_peer;
use ractor::rpc::CallResult;
use ractor::{Actor, ActorRef};
use ractor_cluster::{NodeServer, NodeServerMessage, client_connect};
use tokio::task::JoinSet;

use super::GROUP;
use crate::peers::level_duration;

/// Calls in flight.
const IN_FLIGHT: usize = 1_024;
/// Bytes of a call and of its reply.
const BODY_BYTES: usize = 1_024;
/// How often each transport is measured, alternately; the best rate of each counts.
const ROUNDS: usize = 3;
/// The cookie of the nodes over TCP.
const COOKIE: &str = "a cookie of the benchmark";

pub(super) async fn compare() -> Result<()> {
    let server = NatsServer::start().await?;
    let (mut nats, mut tcp) = (0.0_f64, 0.0_f64);
    for _ in 0..ROUNDS {
        nats = nats.max(over_nats(&server.url()).await?);
        tcp = tcp.max(over_tcp().await?);
    }
    record(GROUP, "remote calls over NATS, 1,024 in flight", nats, "calls/s", Threshold::Informational)?;
    record(GROUP, "remote calls over TCP, 1,024 in flight", tcp, "calls/s", Threshold::Informational)?;
    record(GROUP, "remote call over NATS ÷ over TCP, 1,024 in flight", nats / tcp, "", Threshold::AtLeast(0.9))
}

/// Calls a second over sessions.
async fn over_nats(url: &str) -> Result<f64> {
    let network = Network::new(url);
    let (one, two) = (SessionPod::start("one", &network).await?, SessionPod::start("two", &network).await?);
    // The first call dials, once the other pod listens.
    one.call(&two, b"x").await?;
    let peer = one.table.ready(&two.pod).context("the session has ended")?;
    calls_per_second(&one.pod, &peer).await
}

/// Calls a second over a TCP connection.
async fn over_tcp() -> Result<f64> {
    let (one, two) = (PeerPod::start("one").await?, PeerPod::start("two").await?);
    let (own, _) = tcp_node(&one).await?;
    let (_other, port) = tcp_node(&two).await?;
    let connected = client_connect(&own, ("127.0.0.1", port)).await;
    connected.map_err(|error| anyhow::anyhow!("{error}"))?;
    let started = Instant::now();
    let peer = loop {
        ensure!(started.elapsed() < CALL_MAX, "no session over TCP");
        let sessions = own.call(NodeServerMessage::GetSessions, Some(CALL_MAX)).await?;
        let CallResult::Success(sessions) = sessions else { continue };
        if let Some(peer) = sessions.values().find_map(|session| remote_peer(&session.actor, &two.pod)) {
            break peer;
        }
    };
    calls_per_second(&one.pod, &peer).await
}

/// A node that listens, with its port.
async fn tcp_node(pod: &PeerPod) -> Result<(ActorRef<NodeServerMessage>, u16)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let host = pod.pod.to_string();
    let node = NodeServer::new(port, COOKIE.to_owned(), GROUP.to_owned(), host, None, None)
        .with_listen_addr(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    let (node, _) = Actor::spawn_linked(None, node, (), pod.root()).await?;
    Ok((node, port))
}

/// Calls the peer, which reverses the body, in a closed loop.
async fn calls_per_second(own: &PodId, peer: &ActorRef<PeerMsg>) -> Result<f64> {
    let (ended, calls) = (Instant::now() + level_duration(), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..IN_FLIGHT {
        let (own, peer, calls) = (own.clone(), peer.clone(), Arc::clone(&calls));
        callers.spawn(async move {
            let mut id = (caller as u128) << 64;
            while Instant::now() < ended {
                id += 1;
                let mut body = id.to_be_bytes().to_vec();
                body.resize(BODY_BYTES, 7);
                let frame = CallId(id).frame(&own, &body);
                match peer.call(|reply| PeerMsg::Call(frame, reply), Some(CALL_MAX)).await {
                    Ok(CallResult::Success(reply)) if reply.iter().eq(body.iter().rev()) => {
                        calls.fetch_add(1, Ordering::Relaxed)
                    }
                    other => anyhow::bail!("call {id}: {other:?}"),
                };
            }
            Ok(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    // A benchmark makes fewer calls than a float counts exactly.
    Ok(calls.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}
