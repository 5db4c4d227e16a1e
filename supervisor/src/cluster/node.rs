//! The node of ractor_cluster: it multiplexes calls to the peers of other pods over sessions. Its own listener of TCP
//! cannot be left out; it listens on the loopback interface only, and a connection to it needs the cookie.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use greenroom_actors::supervision::ChildKind;
use greenroom_protocol::PodId;
use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use ractor_cluster::node::NodeConnectionMode;
use ractor_cluster::{NodeServer, NodeServerMessage};

use super::peer::{Peer, PeerService, peer_name};
use super::peer_table::{NodeEvents, PeerTable};
use super::session::nats_stream::NatsStream;
use crate::compose::actor_tree::ChildSpec;

/// The largest message between two nodes, in bytes: an envelope with what is around it.
const FRAME_BYTES_MAX: u64 = 20 * 1024 * 1024;
/// The name of the subscription to the events of the node.
const SUBSCRIPTION: &str = "greenroom";

/// The node of one pod, which the root of its actor tree supervises.
#[derive(Clone)]
pub struct NodeHandle(Arc<NodeParts>);

struct NodeParts {
    cluster: String,
    pod: PodId,
    cookie: String,
    table: Arc<PeerTable>,
    server: Mutex<Option<ActorRef<NodeServerMessage>>>,
}

impl NodeHandle {
    /// A node that is not started yet. Its sessions are entered into the table.
    #[must_use]
    pub fn new(cluster: &str, pod: PodId, cookie: String, table: Arc<PeerTable>) -> Self {
        Self(Arc::new(NodeParts { cluster: cluster.to_owned(), pod, cookie, table, server: Mutex::default() }))
    }

    /// Starts the node under a supervisor.
    ///
    /// # Errors
    /// [`SpawnErr`]
    pub async fn start(&self, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
        let NodeParts { cluster, pod, cookie, table, server } = &*self.0;
        // The id of the pod is the name of its host too: nodes with one host and one port would be the same one.
        let node = NodeServer::new(
            0,
            cookie.clone(),
            cluster.clone(),
            pod.to_string(),
            None,
            Some(NodeConnectionMode::Isolated),
        )
        .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .with_max_inbound_frame_size(FRAME_BYTES_MAX);
        let (started, _) = Actor::spawn_linked(None, node, (), supervisor).await?;
        let subscription = Box::new(NodeEvents(Arc::clone(table)));
        let subscribing = NodeServerMessage::SubscribeToEvents { id: SUBSCRIPTION.to_owned(), subscription };
        // A node that has stopped already is started again by its supervisor.
        let _ = started.send_message(subscribing);
        let cell = started.get_cell();
        *server.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
        Ok(cell)
    }

    /// Hands an open session to the node. False if the node is not running; the session is dropped then.
    #[must_use]
    pub fn open(&self, stream: NatsStream, is_server: bool) -> bool {
        let server = self.0.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let message = NodeServerMessage::ConnectionOpenedExternal { stream: Box::new(stream), is_server };
        server.is_some_and(|server| server.send_message(message).is_ok())
    }
}

/// The node as a child of the root.
#[must_use]
pub fn node_child(node: &NodeHandle) -> ChildSpec {
    let node = node.clone();
    let spawn = move |root| {
        let node = node.clone();
        Box::pin(async move { node.start(root).await }) as _
    };
    ChildSpec { kind: ChildKind::Ingress, spawn: Arc::new(spawn) }
}

/// The peer of this pod as a child of the root. Only what is offered to other pods has a name, which is that of one start
/// of a pod, because names are those of a process.
#[must_use]
pub fn peer_child(pod: &PodId, service: Arc<dyn PeerService>) -> ChildSpec {
    let name = peer_name(pod);
    let spawn = move |root: ActorCell| {
        let (name, peer) = (name.clone(), Peer { service: Arc::clone(&service) });
        Box::pin(start_peer(name, peer, root)) as _
    };
    ChildSpec { kind: ChildKind::Ingress, spawn: Arc::new(spawn) }
}

async fn start_peer(name: String, peer: Peer, root: ActorCell) -> Result<ActorCell, SpawnErr> {
    let (started, _) = Actor::spawn_linked(Some(name), peer, (), root).await?;
    Ok(started.get_cell())
}
