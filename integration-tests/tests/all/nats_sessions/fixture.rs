//! A pod that has sessions, a node and a peer, and nothing else of a pod.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{IdGenerator as _, PodId};
use greenroom_supervisor::clock::TimeOrdered;
use greenroom_supervisor::cluster::keys::ClusterSecret;
use greenroom_supervisor::cluster::node::{NodeHandle, peer_child};
use greenroom_supervisor::cluster::peer::PeerService;
use greenroom_supervisor::cluster::peer_table::PeerTable;
use greenroom_supervisor::cluster::session::SessionEnv;
use greenroom_supervisor::cluster::session::dial::DialError;
use greenroom_supervisor::cluster::session::observer::{CloseReason, RefusedMessage, SessionObserver};
use greenroom_supervisor::cluster::session::subject::Subjects;
use greenroom_supervisor::cluster::sessions::{CallError, Sessions};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinSet;

/// Longest wait for one call.
pub(super) const CALL_MAX: Duration = Duration::from_secs(30);
/// Longest wait for what follows a fault.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);

/// How pods reach each other.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) url: String,
    pub(super) prefix: String,
    pub(super) cluster: String,
    pub(super) secret: String,
}

impl Network {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            prefix: "greenroom".to_owned(),
            cluster: "green".to_owned(),
            secret: "a secret of sixteen bytes or more".to_owned(),
        }
    }

    pub(super) fn secret(&self) -> Result<ClusterSecret> {
        Ok(ClusterSecret::new(&self.secret, &self.cluster)?)
    }

    pub(super) fn subjects(&self) -> Subjects {
        Subjects::new(&self.prefix)
    }
}

/// Records what happens to sessions.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    opened: AtomicU32,
    closed: Mutex<Vec<CloseReason>>,
    refused: Mutex<Vec<RefusedMessage>>,
}

impl Recorder {
    pub(super) fn opened(&self) -> u32 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(super) fn closed(&self) -> Vec<CloseReason> {
        self.closed.lock().expect("no test panics with the lock").clone()
    }

    pub(super) fn refused(&self) -> Vec<RefusedMessage> {
        self.refused.lock().expect("no test panics with the lock").clone()
    }
}

impl SessionObserver for Recorder {
    fn on_opened(&self, _: &PodId, _: bool) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn on_closed(&self, _: &PodId, reason: CloseReason) {
        self.closed.lock().expect("no test panics with the lock").push(reason);
    }

    fn on_refused(&self, _: Option<&PodId>, reason: RefusedMessage) {
        self.refused.lock().expect("no test panics with the lock").push(reason);
    }
}

/// Replies with the body reversed.
struct Reversing;

#[async_trait]
impl PeerService for Reversing {
    async fn serve(&self, _: &PodId, envelope: &[u8]) -> Vec<u8> {
        envelope.iter().rev().copied().collect()
    }
}

/// A root that only supervises. It has no messages.
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

/// A pod of a test. Dropping it stops its actors and its connection.
pub(super) struct SessionPod {
    pub(super) pod: PodId,
    pub(super) sessions: Arc<Sessions>,
    pub(super) table: Arc<PeerTable>,
    pub(super) observer: Arc<Recorder>,
    root: ActorRef<NoMsg>,
    _serving: JoinSet<()>,
}

impl Drop for SessionPod {
    fn drop(&mut self) {
        self.root.stop(None);
    }
}

impl SessionPod {
    /// Starts a pod whose id begins with this name.
    pub(super) async fn start(name: &str, network: &Network) -> Result<Self> {
        let pod = PodId::for_start(&PodId::new(name)?, TimeOrdered.next_id());
        let (table, observer) = (Arc::new(PeerTable::default()), Arc::new(Recorder::default()));
        let secret = network.secret()?;
        let node = NodeHandle::new(&network.cluster, pod.clone(), secret.cookie()?, Arc::clone(&table));
        let (root, _) = Actor::spawn(None, Root, ()).await?;
        node.start(root.get_cell()).await?;
        (peer_child(&pod, Arc::new(Reversing)).spawn)(root.get_cell()).await?;
        let env = SessionEnv {
            client: async_nats::connect(&network.url).await?,
            subjects: network.subjects(),
            cluster: network.cluster.as_str().into(),
            pod: pod.clone(),
            secret,
            observer: observer.clone(),
        };
        let sessions = Arc::new(Sessions::new(env, node, Arc::clone(&table), Arc::new(TimeOrdered)));
        let mut serving = JoinSet::new();
        let served = Arc::clone(&sessions);
        serving.spawn(async move {
            let _ = served.serve().await;
        });
        Ok(Self { pod, sessions, table, observer, root, _serving: serving })
    }

    /// Calls the peer of another pod, once it listens.
    pub(super) async fn call(&self, other: &Self, body: &[u8]) -> Result<Vec<u8>> {
        let call = || async { self.call_once(other, body).await.ok()?.ok() };
        wait_until("the other pod replies", WAIT_MAX, call).await.with_context(|| other.pod.to_string())
    }

    /// The first result of a call of the peer of another pod, once that listens.
    pub(super) async fn call_once(&self, other: &Self, body: &[u8]) -> Result<Result<Vec<u8>, CallError>> {
        let call = || async {
            match self.sessions.call(&other.pod, body, CALL_MAX).await {
                Err(CallError::Dial(DialError::NoPod)) => None,
                result => Some(result),
            }
        };
        wait_until("the other pod listens", WAIT_MAX, call).await
    }
}
