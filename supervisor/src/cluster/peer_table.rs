//! The pods that this one has sessions with: which of them can be called, and when each was used last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_protocol::PodId;
use ractor::{ActorId, ActorRef};
use ractor_cluster::node::NodeServerSessionInformation;
use ractor_cluster::{NodeEventSubscription, NodeSessionMessage};
use tokio::sync::watch;
use tokio::time::Instant;

use super::peer::{PeerMsg, peer_name};
use super::session::nats_stream::SessionControl;
use super::session::observer::CloseReason;

/// The sessions of one pod, by the pod at their other end.
pub struct PeerTable {
    peers: Mutex<HashMap<PodId, PeerEntry>>,
    /// Notifies of each change.
    changes: watch::Sender<u64>,
}

struct PeerEntry {
    /// The peer of that pod, once the nodes of both have proved themselves to each other.
    ready: Option<ReadyPeer>,
    /// The sessions that were opened, until they are released.
    controls: Vec<SessionControl>,
    is_dialling: bool,
    /// Held by the one call that dials.
    dialling: Arc<tokio::sync::Mutex<()>>,
    calls: usize,
    used_at: Instant,
}

#[derive(Clone)]
struct ReadyPeer {
    session: ActorId,
    peer: ActorRef<PeerMsg>,
}

/// Counts a call to or from a pod until it is dropped: its session is not idle.
#[must_use = "the session is idle once this is dropped"]
pub struct SessionUse {
    table: Arc<PeerTable>,
    pod: PodId,
}

/// Marks a pod as being dialled until it is dropped.
#[must_use = "the pod is not dialled once this is dropped"]
pub struct Dialling {
    table: Arc<PeerTable>,
    pod: PodId,
}

impl Default for PeerTable {
    fn default() -> Self {
        Self { peers: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl PeerTable {
    /// The peer of a pod, if it can be called now.
    #[must_use]
    pub fn ready(&self, pod: &PodId) -> Option<ActorRef<PeerMsg>> {
        self.peers().get(pod).and_then(|entry| entry.ready.as_ref()).map(|ready| ready.peer.clone())
    }

    /// Waits until the peer of a pod can be called.
    pub async fn wait_ready(&self, pod: &PodId) -> ActorRef<PeerMsg> {
        let mut changes = self.changes.subscribe();
        loop {
            if let Some(peer) = self.ready(pod) {
                return peer;
            }
            if changes.changed().await.is_err() {
                // The sender is a part of this table.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The lock that one call has to hold while it dials a pod.
    #[must_use]
    pub fn dialling_lock(&self, pod: &PodId) -> Arc<tokio::sync::Mutex<()>> {
        self.change(pod, |entry| Arc::clone(&entry.dialling))
    }

    /// Marks a pod as being dialled.
    pub fn begin_dialling(self: &Arc<Self>, pod: &PodId) -> Dialling {
        self.change(pod, |entry| entry.is_dialling = true);
        Dialling { table: Arc::clone(self), pod: pod.clone() }
    }

    /// True while a pod is being dialled.
    #[must_use]
    pub fn is_dialling(&self, pod: &PodId) -> bool {
        self.peers().get(pod).is_some_and(|entry| entry.is_dialling)
    }

    /// Adds an open session with a pod. Returns those that it replaces.
    #[must_use]
    pub fn add(&self, pod: &PodId, control: SessionControl) -> Vec<SessionControl> {
        self.change(pod, |entry| {
            entry.used_at = Instant::now();
            std::mem::replace(&mut entry.controls, vec![control])
        })
    }

    /// Counts a call to or from a pod.
    pub fn begin_use(self: &Arc<Self>, pod: &PodId) -> SessionUse {
        self.change(pod, |entry| entry.calls += 1);
        SessionUse { table: Arc::clone(self), pod: pod.clone() }
    }

    /// Forgets that a peer can be called, because a call has found its session lost.
    pub fn forget(&self, pod: &PodId, peer: &ActorRef<PeerMsg>) {
        self.change(pod, |entry| {
            entry.ready.take_if(|ready| ready.peer.get_id() == peer.get_id());
        });
    }

    /// Ends the sessions that no call has used for this long, and forgets the pods without any.
    pub fn end_idle(&self, idle_max: Duration) {
        let now = Instant::now();
        let mut idle = Vec::new();
        self.peers().retain(|_, entry| {
            entry.controls.retain(|control| !control.is_released());
            let is_idle = entry.calls == 0 && !entry.is_dialling && now.duration_since(entry.used_at) >= idle_max;
            if is_idle {
                idle.extend(entry.controls.iter().cloned());
            }
            !(is_idle && entry.controls.is_empty())
        });
        idle.iter().for_each(|control| control.end(CloseReason::Local));
    }

    /// How many pods can be called now.
    #[must_use]
    pub fn ready_count(&self) -> usize {
        self.peers().values().filter(|entry| entry.ready.is_some()).count()
    }

    fn change<T>(&self, pod: &PodId, change: impl FnOnce(&mut PeerEntry) -> T) -> T {
        let mut peers = self.peers();
        let entry = peers.entry(pod.clone()).or_insert_with(|| PeerEntry {
            ready: None,
            controls: Vec::new(),
            is_dialling: false,
            dialling: Arc::default(),
            calls: 0,
            used_at: Instant::now(),
        });
        change(entry)
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<PodId, PeerEntry>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

impl Drop for SessionUse {
    fn drop(&mut self) {
        self.table.change(&self.pod, |entry| {
            entry.calls = entry.calls.saturating_sub(1);
            entry.used_at = Instant::now();
        });
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.table.change(&self.pod, |entry| entry.is_dialling = false);
    }
}

/// Reads the events of the node into the table. The pod of a session is the one that its handshake has proved, which the
/// node reports as the address of the session.
pub struct NodeEvents(pub Arc<PeerTable>);

impl NodeEventSubscription for NodeEvents {
    fn node_session_opened(&self, _: NodeServerSessionInformation) {}

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        let id = session.actor.get_id();
        if let Ok(pod) = PodId::new(&session.peer_addr) {
            self.0.change(&pod, |entry| {
                entry.ready.take_if(|ready| ready.session == id);
            });
            self.0.notify();
        }
    }

    fn node_session_authenticated(&self, _: NodeServerSessionInformation) {}

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        let Ok(pod) = PodId::new(&session.peer_addr) else { return };
        match remote_peer(&session.actor, &pod) {
            Some(peer) => {
                self.0.change(&pod, |entry| entry.ready = Some(ReadyPeer { session: session.actor.get_id(), peer }));
                self.0.notify();
            }
            None => tracing::warn!(peer.pod = %pod, "another pod offers no peer"),
        }
    }
}

/// The peer of a pod among what its node offers in a session.
#[must_use]
pub fn remote_peer(session: &ActorRef<NodeSessionMessage>, pod: &PodId) -> Option<ActorRef<PeerMsg>> {
    let name = peer_name(pod);
    let is_peer = |child: &ractor::ActorCell| {
        !child.get_id().is_local() && child.get_name().is_some_and(|offered| offered == name)
    };
    session.get_children().into_iter().find(is_peer).map(ActorRef::from)
}
