//! From the configuration to the connection of a pod to NATS, which its requests and its calls of other pods share.

use std::sync::Arc;

use greenroom_protocol::{Cause, Clock};

use crate::cluster::keys::{ClusterSecret, KeyLabel};
use crate::cluster::runtime::ClusterNetwork;
use crate::cluster::step_texts::{self, StepTexts};
use crate::cluster::text_channel::TextChannel;
use crate::cluster::text_history::TextHistory;
use crate::config::Config;
use crate::ingress::nats::connection::NatsConnection;
use crate::readiness::Readiness;
use crate::telemetry::Metrics;

/// The connection of a pod to NATS, and how it reaches the other pods of its cluster.
#[derive(Clone)]
pub(crate) struct PodNats {
    pub(super) connection: NatsConnection,
    pub(super) network: ClusterNetwork,
    step_texts: Arc<StepTexts>,
}

impl PodNats {
    /// How the pod reaches the others of its cluster.
    pub(crate) fn network(&self) -> ClusterNetwork {
        self.network.clone()
    }

    /// The texts that the models of runs write.
    pub(crate) fn step_texts(&self) -> Arc<StepTexts> {
        Arc::clone(&self.step_texts)
    }
}

/// Begins to connect, if the pod uses NATS and the configuration has it.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::InvalidConfiguration`] without the secret of the cluster, or if a file cannot be read.
/// A server that cannot be reached is no error.
pub(crate) async fn open(
    config: &Config,
    uses_nats: bool,
    clock: &Arc<dyn Clock>,
    readiness: &Arc<Readiness>,
    metrics: &Arc<Metrics>,
) -> Result<Option<PodNats>, Cause> {
    let Config { nats, cluster, pod, .. } = config;
    let Some(nats) = nats.as_ref().filter(|_| uses_nats) else { return Ok(None) };
    let secret = ClusterSecret::new(cluster.require_secret()?.reveal(), &cluster.name)?;
    let connection = NatsConnection::open(nats, pod, Arc::clone(readiness), Arc::clone(metrics)).await?;
    let (client, prefix, cluster) = (connection.client(), nats.prefix.clone(), cluster.name.clone());
    let key = secret.key(KeyLabel::Texts, prefix.as_bytes())?;
    let texts = TextChannel::new(connection.clone(), key, Arc::clone(metrics));
    let subjects = connection.subjects().internal(&format!("{}.*", step_texts::TOPIC));
    let history = (nats.stream_bytes_max > 0)
        .then(|| TextHistory::new(client.clone(), &nats.prefix, subjects, nats.stream_bytes_max));
    let step_texts = Arc::new(StepTexts::new(texts.clone().with_history(history), Arc::clone(clock)));
    let network = ClusterNetwork { client, prefix, cluster, secret, texts };
    Ok(Some(PodNats { connection, network, step_texts }))
}
