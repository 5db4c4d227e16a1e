//! A pod that has sessions, a node and a peer, and nothing else of a pod; and one that has a peer only, for nodes that are
//! connected in another way. Their peers reply with the body reversed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use greenroom_protocol::{IdGenerator as _, PodId};
use greenroom_supervisor::clock::TimeOrdered;
use greenroom_supervisor::cluster::keys::ClusterSecret;
use greenroom_supervisor::cluster::node::{NodeHandle, peer_child};
use greenroom_supervisor::cluster::peer::PeerService;
use greenroom_supervisor::cluster::peer_table::PeerTable;
use greenroom_supervisor::cluster::session::SessionEnv;
use greenroom_supervisor::cluster::session::dial::DialError;
use greenroom_supervisor::cluster::session::handshake::{VERSIONS, Versions};
use greenroom_supervisor::cluster::session::observer::{CloseReason, RefusedMessage, SessionObserver};
use greenroom_supervisor::cluster::session::subject::Subjects;
use greenroom_supervisor::cluster::sessions::{CallError, IDLE_MAX, Sessions};
use ractor::ActorCell;
use tokio::task::JoinSet;

use crate::root_actor::RootActor;
use crate::wait::wait_until;

/// Longest wait for one call.
pub const CALL_MAX: Duration = Duration::from_secs(30);
/// Longest wait for what follows a fault.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// How pods reach each other.
#[derive(Debug, Clone)]
pub struct Network {
    /// The URL of the server.
    pub url: String,
    /// What the subjects begin with.
    pub prefix: String,
    /// The name of the cluster.
    pub cluster: String,
    /// The secret of the cluster.
    pub secret: String,
}

impl Network {
    /// The network of one cluster at this server.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            prefix: "greenroom".to_owned(),
            cluster: "green".to_owned(),
            secret: "a secret of sixteen bytes or more".to_owned(),
        }
    }

    /// The secret with the keys that derive from it.
    ///
    /// # Errors
    /// If it is too short.
    pub fn secret(&self) -> Result<ClusterSecret> {
        Ok(ClusterSecret::new(&self.secret, &self.cluster)?)
    }

    /// The subjects of sessions.
    #[must_use]
    pub fn subjects(&self) -> Subjects {
        Subjects::new(&self.prefix)
    }
}

/// Records what happens to sessions.
#[derive(Debug, Default)]
pub struct SessionRecorder {
    opened: AtomicU32,
    closed: Mutex<Vec<CloseReason>>,
    refused: Mutex<Vec<RefusedMessage>>,
}

impl SessionRecorder {
    /// How many sessions were opened.
    #[must_use]
    pub fn opened(&self) -> u32 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Why sessions were closed, in order.
    #[must_use]
    pub fn closed(&self) -> Vec<CloseReason> {
        lock(&self.closed).clone()
    }

    /// Why messages were refused, in order.
    #[must_use]
    pub fn refused(&self) -> Vec<RefusedMessage> {
        lock(&self.refused).clone()
    }
}

impl SessionObserver for SessionRecorder {
    fn on_opened(&self, _: &PodId, _: bool) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn on_closed(&self, _: &PodId, reason: CloseReason) {
        lock(&self.closed).push(reason);
    }

    fn on_refused(&self, _: Option<&PodId>, reason: RefusedMessage) {
        lock(&self.refused).push(reason);
    }
}

fn lock<T>(records: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Replies with the body reversed.
struct Reversing;

#[async_trait]
impl PeerService for Reversing {
    async fn serve(&self, _: &PodId, envelope: &[u8]) -> Vec<u8> {
        envelope.iter().rev().copied().collect()
    }
}

/// A pod with a root and a peer. Dropping it stops both.
pub struct PeerPod {
    /// The id of the pod.
    pub pod: PodId,
    root: RootActor,
}

impl PeerPod {
    /// Starts a pod whose id begins with this name.
    ///
    /// # Errors
    /// If the name is none, or an actor cannot be spawned.
    pub async fn start(name: &str) -> Result<Self> {
        let pod = PodId::for_start(&PodId::new(name)?, TimeOrdered.next_id());
        let root = RootActor::start().await?;
        (peer_child(&pod, Arc::new(Reversing)).spawn)(root.cell()).await?;
        Ok(Self { pod, root })
    }

    /// The supervisor of its actors.
    #[must_use]
    pub fn root(&self) -> ActorCell {
        self.root.cell()
    }
}

/// What the sessions of a pod have of their own.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// The versions of the protocol of sessions that the pod has.
    pub versions: Versions,
    /// How long it keeps a session that no call uses.
    pub idle_max: Duration,
}

impl Default for SessionSettings {
    /// Those of a pod of this release.
    fn default() -> Self {
        Self { versions: VERSIONS, idle_max: IDLE_MAX }
    }
}

/// A pod with sessions. Dropping it stops its actors and its connection.
pub struct SessionPod {
    /// The id of the pod.
    pub pod: PodId,
    /// Its sessions.
    pub sessions: Arc<Sessions>,
    /// The pods that it has sessions with.
    pub table: Arc<PeerTable>,
    /// What has happened to its sessions.
    pub observer: Arc<SessionRecorder>,
    _peer: PeerPod,
    _serving: JoinSet<()>,
}

impl SessionPod {
    /// Starts a pod whose id begins with this name.
    ///
    /// # Errors
    /// If an actor cannot be spawned, or the server cannot be reached.
    pub async fn start(name: &str, network: &Network) -> Result<Self> {
        Self::start_with(name, network, SessionSettings::default()).await
    }

    /// The same with these settings.
    ///
    /// # Errors
    /// As [`SessionPod::start`].
    pub async fn start_with(name: &str, network: &Network, settings: SessionSettings) -> Result<Self> {
        let SessionSettings { versions, idle_max } = settings;
        let peer = PeerPod::start(name).await?;
        let pod = peer.pod.clone();
        let (table, observer) = (Arc::new(PeerTable::default()), Arc::new(SessionRecorder::default()));
        let secret = network.secret()?;
        let node = NodeHandle::new(&network.cluster, pod.clone(), secret.cookie()?, Arc::clone(&table));
        node.start(peer.root()).await?;
        let env = SessionEnv {
            client: async_nats::connect(&network.url).await?,
            subjects: network.subjects(),
            cluster: network.cluster.as_str().into(),
            pod: pod.clone(),
            secret,
            versions,
            idle_max,
            observer: observer.clone(),
        };
        let sessions = Arc::new(Sessions::new(env, node, Arc::clone(&table), Arc::new(TimeOrdered)));
        let mut serving = JoinSet::new();
        let served = Arc::clone(&sessions);
        serving.spawn(async move {
            // It ends with the connection, which a test may have cut.
            let _ = served.serve().await;
        });
        Ok(Self { pod, sessions, table, observer, _peer: peer, _serving: serving })
    }

    /// Calls the peer of another pod, once it listens.
    ///
    /// # Errors
    /// If it does not reply in time.
    pub async fn call(&self, other: &Self, body: &[u8]) -> Result<Vec<u8>> {
        let call = || async { self.call_once(other, body).await.ok()?.ok() };
        wait_until("the other pod replies", WAIT_MAX, call).await.with_context(|| other.pod.to_string())
    }

    /// The first result of a call of the peer of another pod, once that listens.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub async fn call_once(&self, other: &Self, body: &[u8]) -> Result<Result<Vec<u8>, CallError>> {
        let call = || async {
            match self.sessions.call(&other.pod, body, CALL_MAX).await {
                Err(CallError::Dial(DialError::NoPod)) => None,
                result => Some(result),
            }
        };
        wait_until("the other pod listens", WAIT_MAX, call).await
    }
}
