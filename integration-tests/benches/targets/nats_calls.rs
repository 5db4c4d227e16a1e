//! Measures calls of another pod's peer over NATS against the same calls over TCP: the same nodes and actors, 1 KiB each
//! way, 1,024 in flight. Both pods are in this process, so both transports have the same processors; the server of NATS has
//! them too, which a TCP connection does not need.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use greenroom_integration_tests::bench::{Threshold, record};
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_protocol::{IdGenerator as _, PodId};
use greenroom_supervisor::clock::TimeOrdered;
use greenroom_supervisor::cluster::keys::ClusterSecret;
use greenroom_supervisor::cluster::node::{NodeHandle, peer_child};
use greenroom_supervisor::cluster::peer::{CallId, PeerMsg, PeerService};
use greenroom_supervisor::cluster::peer_table::{PeerTable, remote_peer};
use greenroom_supervisor::cluster::session::SessionEnv;
use greenroom_supervisor::cluster::session::observer::LogSessions;
use greenroom_supervisor::cluster::session::subject::Subjects;
use greenroom_supervisor::cluster::sessions::Sessions;
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::{NodeServer, NodeServerMessage, client_connect};
use tokio::task::JoinSet;

use crate::peers::level_duration;

/// The name of the group.
const GROUP: &str = "nats";
/// Calls in flight.
const IN_FLIGHT: usize = 1_024;
/// Bytes of a call and of its reply.
const BODY_BYTES: usize = 1_024;
/// Longest wait for one call, and for a connection.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How often each transport is measured, alternately; the best rate of each counts.
const ROUNDS: usize = 3;
/// The secret of the nodes.
const SECRET: &str = "a secret of sixteen bytes or more";

pub(crate) fn main(_: &[&str]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(compare())
}

async fn compare() -> Result<()> {
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

/// Replies with the body.
struct Echo;

#[async_trait]
impl PeerService for Echo {
    async fn serve(&self, _: &PodId, envelope: &[u8]) -> Vec<u8> {
        envelope.to_vec()
    }
}

/// Supervises the actors of one pod, and has no messages.
struct Root;

enum NoMsg {}

impl ractor::Message for NoMsg {}

impl Actor for Root {
    type Msg = NoMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<NoMsg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<NoMsg>,
        _: ractor::SupervisionEvent,
        _: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// A pod with a root and a peer.
struct BenchPod {
    pod: PodId,
    root: ActorRef<NoMsg>,
}

impl BenchPod {
    async fn start(name: &str) -> Result<Self> {
        let pod = PodId::for_start(&PodId::new(name)?, TimeOrdered.next_id());
        let (root, _) = Actor::spawn(None, Root, ()).await?;
        (peer_child(&pod, Arc::new(Echo)).spawn)(root.get_cell()).await?;
        Ok(Self { pod, root })
    }
}

impl Drop for BenchPod {
    fn drop(&mut self) {
        self.root.stop(None);
    }
}

/// Calls a second over sessions.
async fn over_nats(url: &str) -> Result<f64> {
    let (one, two) = (BenchPod::start("one").await?, BenchPod::start("two").await?);
    let mut serving = JoinSet::new();
    let (own, table) = sessions(&one, url).await?;
    let (other, _) = sessions(&two, url).await?;
    serving.spawn(async move { other.serve().await });
    // The first call dials, once the other pod listens.
    let started = Instant::now();
    while own.call(&two.pod, b"x", WAIT_MAX).await.is_err() {
        ensure!(started.elapsed() < WAIT_MAX, "no session over NATS");
    }
    let peer = table.ready(&two.pod).context("the session has ended")?;
    calls_per_second(&one.pod, &peer).await
}

async fn sessions(pod: &BenchPod, url: &str) -> Result<(Sessions, Arc<PeerTable>)> {
    let (secret, table) = (ClusterSecret::new(SECRET, GROUP)?, Arc::new(PeerTable::default()));
    let node = NodeHandle::new(GROUP, pod.pod.clone(), secret.cookie()?, Arc::clone(&table));
    node.start(pod.root.get_cell()).await?;
    let env = SessionEnv {
        client: async_nats::connect(url).await?,
        subjects: Subjects::new(GROUP),
        cluster: GROUP.into(),
        pod: pod.pod.clone(),
        secret,
        observer: Arc::new(LogSessions),
    };
    Ok((Sessions::new(env, node, Arc::clone(&table), Arc::new(TimeOrdered)), table))
}

/// Calls a second over a TCP connection.
async fn over_tcp() -> Result<f64> {
    let (one, two) = (BenchPod::start("one").await?, BenchPod::start("two").await?);
    let (own, _) = tcp_node(&one).await?;
    let (_other, port) = tcp_node(&two).await?;
    let connected = client_connect(&own, ("127.0.0.1", port)).await;
    connected.map_err(|error| anyhow::anyhow!("{error}"))?;
    let started = Instant::now();
    let peer = loop {
        ensure!(started.elapsed() < WAIT_MAX, "no session over TCP");
        let sessions = own.call(NodeServerMessage::GetSessions, Some(WAIT_MAX)).await?;
        let CallResult::Success(sessions) = sessions else { continue };
        if let Some(peer) = sessions.values().find_map(|session| remote_peer(&session.actor, &two.pod)) {
            break peer;
        }
    };
    calls_per_second(&one.pod, &peer).await
}

/// A node that listens, with its port.
async fn tcp_node(pod: &BenchPod) -> Result<(ActorRef<NodeServerMessage>, u16)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let host = pod.pod.to_string();
    let node = NodeServer::new(port, SECRET.to_owned(), GROUP.to_owned(), host, None, None)
        .with_listen_addr(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    let (node, _) = Actor::spawn_linked(None, node, (), pod.root.get_cell()).await?;
    Ok((node, port))
}

/// Calls the peer in a closed loop.
async fn calls_per_second(own: &PodId, peer: &ActorRef<PeerMsg>) -> Result<f64> {
    let (ended, calls) = (Instant::now() + level_duration(), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..IN_FLIGHT {
        let (own, peer, calls) = (own.clone(), peer.clone(), Arc::clone(&calls));
        callers.spawn(async move {
            let body = vec![7; BODY_BYTES];
            let mut id = (caller as u128) << 64;
            while Instant::now() < ended {
                id += 1;
                let frame = CallId(id).frame(&own, &body);
                match peer.call(|reply| PeerMsg::Call(frame, reply), Some(WAIT_MAX)).await {
                    Ok(CallResult::Success(reply)) if reply == body => calls.fetch_add(1, Ordering::Relaxed),
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
