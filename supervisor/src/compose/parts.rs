//! The parts of a pod that several steps of the composition share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use greenroom_actors::execution::ModelRegistry;
use greenroom_actors::guard::GuardHandle;
use greenroom_actors::observer::Observer;
use greenroom_actors::pipeline::PipelineHandle;
use greenroom_actors::remote::RemoteHosts;
use greenroom_protocol::{Clock, IdGenerator, PodId};
use greenroom_registry::Stores;
use greenroom_registry::agent_memory::embedder::Embedder;
use greenroom_registry::generation_store::Generations;
use greenroom_registry::rate_windows::RateWindows;
use greenroom_rego::Authenticator;
use tokio::sync::watch;

use super::host_names::HostNames;
use super::identities::ConfiguredIdentities;
use super::overrides::RestorePod;
use super::pod_nats::PodNats;
use crate::cached_definitions::CachedDefinitions;
use crate::config::{Config, SettingsHash};
use crate::pipeline::admission::AdmissionControl;
use crate::readiness::Readiness;
use crate::sources::OwnSources;
use crate::telemetry::Metrics;

/// What the parts of one pod share.
pub(crate) struct PodParts {
    /// The configuration.
    pub config: Config,
    /// The id of this start of the pod: the owner of what it stores.
    pub pod: PodId,
    /// The clock of the pod.
    pub clock: Arc<dyn Clock>,
    /// Generates ids.
    pub ids: Arc<dyn IdGenerator>,
    /// The stores.
    pub stores: Stores,
    /// Computes the vectors of memories.
    pub embedder: Arc<dyn Embedder>,
    /// Counts the requests of users for several pods, if they share Redis.
    pub rate_windows: Option<Arc<dyn RateWindows>>,
    /// The restoration that the pod is started to decide; `None` for any other pod.
    pub restores: Option<RestorePod>,
    /// The active definitions and the pinned ones.
    pub definitions: Arc<CachedDefinitions>,
    /// The models that may be called.
    pub models: ModelRegistry,
    /// Bounds the requests and runs in flight.
    pub admission: AdmissionControl,
    /// Authenticates users.
    pub authenticator: Authenticator,
    /// The users of the configuration and the keys; `None` if something else resolves users.
    pub identities: Option<ConfiguredIdentities>,
    /// The hashes of the settings that are in effect.
    pub settings_hash: Arc<ArcSwap<SettingsHash>>,
    /// The guard; its supervisor is a child of the actor tree.
    pub guard: GuardHandle,
    /// The names that definitions may use, except for those of the policy.
    pub host_names: HostNames,
    /// What replaces the embedded definitions and the embedded policy, until others are applied for every pod.
    pub sources: OwnSources,
    /// The generations that are active; zero for what is of an own source.
    pub active: Arc<watch::Sender<Generations>>,
    /// Whether the pod is ready.
    pub readiness: Arc<Readiness>,
    /// The connection to NATS; `None` for a pod that does not use it.
    pub nats: Option<PodNats>,
    /// The pods that have labels.
    pub remote: Arc<dyn RemoteHosts>,
    /// Metrics of this pod.
    pub metrics: Arc<Metrics>,
    /// Receives the events of the actor tree.
    pub observer: Arc<dyn Observer>,
    /// Where actors send nested requests; bound once the pipeline is built.
    pub pipeline: PipelineHandle,
    /// True if a detached run is left to whichever pod is woken.
    pub creates_runs_unowned: bool,
}
