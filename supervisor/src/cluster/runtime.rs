//! The part of a pod that talks to other pods: created before the actors, which need to know where labels are, and started
//! once the pipeline can serve calls.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_actors::remote::{OwnLabels, RemoteHosts};
use greenroom_actors::supervision::ChildKind;
use greenroom_protocol::{CallKey, Cause, Clock, IdGenerator, PodId};
use greenroom_registry::cluster::ClusterStore;
use greenroom_rego::Authenticator;

use super::answers::{self, AnswerPart};
use super::delegation::issuer::DelegationIssuer;
use super::delegation::verifier::Delegations;
use super::keys::{ClusterSecret, KeyError};
use super::node::{NodeHandle, node_child, peer_child};
use super::peer::service::PipelineService;
use super::peer_table::PeerTable;
use super::placement::remote_hosts::{PeerTransport, PlacedCalls, PlacedCallsParts};
use super::placement::{LivePods, reader};
use super::session::SessionEnv;
use super::session::handshake::VERSIONS;
use super::session::subject::Subjects;
use super::sessions::{CallError, IDLE_MAX, Sessions};
use super::text_channel::TextChannel;
use crate::compose::actor_tree::RootHandle;
use crate::config::Config;
use crate::pipeline::Pipeline;
use crate::services::{Service, Services};
use crate::telemetry::Metrics;

/// How a pod reaches the others: what it derives its keys from, and its connection to NATS.
#[derive(Clone)]
pub(crate) struct ClusterNetwork {
    /// The client of NATS.
    pub(crate) client: async_nats::Client,
    /// What the subjects begin with.
    pub(crate) prefix: String,
    /// The name of the cluster.
    pub(crate) cluster: String,
    /// The secret of the cluster.
    pub(crate) secret: ClusterSecret,
    /// The texts that models write.
    pub(crate) texts: TextChannel,
}

/// The part of a pod that talks to other pods.
pub(crate) struct ClusterRuntime {
    pod: PodId,
    labels: Vec<String>,
    remote: Arc<dyn RemoteHosts>,
    connected: Option<Connected>,
}

/// What a pod with a network has.
struct Connected {
    pods: LivePods,
    node: NodeHandle,
    table: Arc<PeerTable>,
    sessions: Arc<Sessions>,
    delegations: Arc<Delegations>,
    texts: TextChannel,
}

/// The way to other pods: sessions for calls, and beside them the answers of models.
struct PeerNetwork {
    sessions: Arc<Sessions>,
    texts: TextChannel,
}

#[async_trait]
impl PeerTransport for PeerNetwork {
    async fn call(&self, pod: &PodId, body: &[u8], timeout: Duration) -> Result<Vec<u8>, CallError> {
        self.sessions.call(pod, body, timeout).await
    }

    async fn subscribe(&self, pod: &PodId, key: &CallKey) -> BoxStream<'static, AnswerPart> {
        answers::subscribe(&self.texts, pod, key).await
    }
}

impl ClusterRuntime {
    /// The parts of a pod; without a network, it is alone.
    ///
    /// # Errors
    /// That of a key that cannot be derived.
    pub(crate) fn new(
        network: Option<ClusterNetwork>,
        config: &Config,
        pod: &PodId,
        time: (&Arc<dyn Clock>, &Arc<dyn IdGenerator>),
        metrics: &Metrics,
    ) -> Result<Self, Cause> {
        let (pod, labels) = (pod.clone(), config.labels.clone());
        match network {
            None => Ok(Self { pod, remote: Arc::new(OwnLabels(labels.clone())), labels, connected: None }),
            Some(network) => {
                let (remote, connected) = connect(network, &pod, &labels, time, metrics)?;
                Ok(Self { pod, remote, labels, connected: Some(connected) })
            }
        }
    }

    /// The pods that have labels.
    pub(crate) fn remote(&self) -> Arc<dyn RemoteHosts> {
        Arc::clone(&self.remote)
    }

    /// True if other pods send calls to this one.
    pub(crate) const fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// The authenticator, which accepts the delegations of other pods if there are any.
    pub(crate) fn authenticate(&self, authenticator: Authenticator) -> Authenticator {
        match &self.connected {
            Some(connected) => authenticator.with_delegations(connected.delegations.clone()),
            None => authenticator,
        }
    }

    /// Shows this pod to the others, starts node and peer under the root, and serves sessions.
    ///
    /// # Errors
    /// Those of the store, and that of an actor that does not start.
    pub(crate) async fn start(
        self,
        services: &mut Services,
        root: &RootHandle,
        pipeline: &Arc<Pipeline>,
        (cluster, capacity): (Arc<dyn ClusterStore>, usize),
    ) -> Result<(), Cause> {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        cluster.describe(&self.labels, capacity).await.map_err(|error| error.cause())?;
        let Some(Connected { pods, node, table, sessions, texts, .. }) = self.connected else { return Ok(()) };
        let (clock, ids) = (Arc::clone(&pipeline.clock), sessions.ids());
        let service = PipelineService::new(Arc::clone(pipeline), table, texts, (clock, ids));
        root.add_child(node_child(&node)).await?;
        root.add_child(peer_child(&self.pod, Arc::new(service))).await?;
        services.start(reader(cluster, pods));
        services.start(Service::droppable("sessions", ChildKind::Ingress, move || {
            let sessions = Arc::clone(&sessions);
            async move { sessions.serve().await }
        }));
        Ok(())
    }
}

/// What a pod with a network has. Nothing is sent before it is started.
fn connect(
    network: ClusterNetwork,
    pod: &PodId,
    labels: &[String],
    (clock, ids): (&Arc<dyn Clock>, &Arc<dyn IdGenerator>),
    metrics: &Metrics,
) -> Result<(Arc<dyn RemoteHosts>, Connected), KeyError> {
    let ClusterNetwork { client, prefix, cluster, secret, texts } = network;
    let (table, pods) = (Arc::new(PeerTable::default()), LivePods::default());
    let node = NodeHandle::new(&cluster, pod.clone(), secret.cookie()?, Arc::clone(&table));
    let env = SessionEnv {
        client,
        subjects: Subjects::new(&prefix),
        cluster: cluster.into(),
        pod: pod.clone(),
        secret: secret.clone(),
        versions: VERSIONS,
        idle_max: IDLE_MAX,
        observer: metrics.cluster().clone(),
    };
    let sessions = Arc::new(Sessions::new(env, node.clone(), Arc::clone(&table), Arc::clone(ids)));
    let delegations = Arc::new(Delegations::new(secret.clone(), pod.clone(), metrics.cluster().clone()));
    let remote = PlacedCalls::new(PlacedCallsParts {
        pod: pod.clone(),
        labels: labels.to_vec(),
        pods: pods.clone(),
        issuer: DelegationIssuer::new(&secret, pod.clone(), Arc::clone(clock), Arc::clone(ids))?,
        transport: Arc::new(PeerNetwork { sessions: Arc::clone(&sessions), texts: texts.clone() }),
        clock: Arc::clone(clock),
    });
    Ok((Arc::new(remote), Connected { pods, node, table, sessions, delegations, texts }))
}
