//! The composition root: the only place that knows every crate. It assembles a pod from the
//! configuration, leaves first, and reads policy and definitions concurrently once the stores are open.

pub(crate) mod active;
pub mod actor_tree;
pub(crate) mod actors;
pub(crate) mod artifacts;
pub(crate) mod blocking;
pub mod catalogue;
pub(crate) mod category_spawner;
pub(crate) mod host_names;
pub(crate) mod http;
pub(crate) mod identities;
pub(crate) mod in_service;
pub(crate) mod mcp;
pub(crate) mod memory;
pub mod models;
pub(crate) mod nats;
mod observed_artifacts;
pub(crate) mod outbound;
pub mod overrides;
pub(crate) mod parts;
mod pipeline;
pub(crate) mod pod_nats;
pub mod policy;
pub(crate) mod python;
pub(crate) mod redis;
pub(crate) mod services;
pub mod stores;
mod wasm;

use std::sync::Arc;

use arc_swap::ArcSwap;
use greenroom_actors::execution::Accounting;
use greenroom_actors::execution::runtime::Runtime;
use greenroom_actors::handler::Handler;
use greenroom_actors::pipeline::PipelineHandle;
use greenroom_actors::tool::{Tool, ToolSource};
use greenroom_protocol::{Cause, Clock, IdGenerator, PodId};
use greenroom_registry::redis::Redis;
use greenroom_registry::{OpenedStores, Stores};
use tokio::sync::watch;

use self::active::{ActiveParts, StartLoader};
use self::actor_tree::ActorTree;
use self::actors::{ForeignCode, NativeCode};
use self::host_names::HostNames;
use self::in_service::InService;
use self::memory::MemoryServers;
use self::outbound::OutboundParts;
pub use self::overrides::{Overrides, RestorePod, WrapEvaluator, WrapStores};
use self::parts::PodParts;
use self::pod_nats::PodNats;
use crate::cached_definitions::CachedDefinitions;
use crate::clock::PodClock;
use crate::cluster::runtime::ClusterRuntime;
use crate::config::Config;
use crate::data_dir::DataDirLock;
use crate::pipeline::Pipeline;
use crate::pipeline::admission::AdmissionControl;
use crate::pod::{Pod, STORE_CLOSE_MAX};
use crate::services::{Phase, Services};
use crate::sources::OwnSources;
use crate::telemetry::Metrics;

/// Assembles a pod.
///
/// # Errors
/// A cause of the class "rejected" that names the invalid part of the configuration; errors of a store.
pub async fn compose(config: &Config, clock: Arc<dyn Clock>, ids: Arc<dyn IdGenerator>) -> Result<Pod, Cause> {
    compose_with(config, clock, ids, Overrides::default()).await
}

/// Assembles a pod with overrides. Its clock is that of the machine, until it shares a database that has another one.
///
/// # Errors
/// As [`compose`].
pub async fn compose_with(
    config: &Config,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGenerator>,
    overrides: Overrides,
) -> Result<Pod, Cause> {
    let Overrides {
        lock,
        providers,
        handlers,
        tools,
        metrics,
        observer,
        identities,
        evaluator,
        stores: wrap_stores,
        uses_nats,
        restores,
        is_repair,
        creates_runs_unowned,
    } = overrides;
    let native = with_built_in(handlers, tools);
    let sources = OwnSources::open(config)?;
    let (pod, clock) = (PodId::for_start(&config.pod, ids.next_id()), pod_clock(clock));
    let mut services = Services::new();
    let metrics = services::start_metrics(&mut services, metrics)?;
    let (outside, host_names) = Box::pin(open_outside(config, &metrics, &native)).await?;
    let opening = Box::pin(stores::open(config, &pod, &clock, &ids, restores.as_ref()));
    let (redis, memory) = (redis::connect(config, &metrics), memory::open(config, &metrics));
    let (opened, redis, memory) = tokio::try_join!(opening, Box::pin(redis), Box::pin(memory))?;
    let stores = start_stores(&mut services, opened, (redis.as_ref(), &memory), wrap_stores, &metrics);
    let loader = StartLoader::new(config, &sources, &stores, host_names.current(), is_repair || restores.is_some());
    let active = or_close(Box::pin(loader.load(&metrics)).await, &stores, &mut services, &*clock).await?;
    let ActiveParts { generations, policy, catalogue, in_service } = active;
    let readiness = Arc::default();
    let nats = Box::pin(pod_nats::open(config, uses_nats, &clock, &readiness, &metrics)).await;
    let nats = or_close(nats, &stores, &mut services, &*clock).await?;
    let cluster = ClusterRuntime::new(nats.as_ref().map(PodNats::network), config, &pod, (&clock, &ids), &metrics)?;
    let opened = identities::open(config, &stores, &metrics, identities);
    let (authenticator, identities) = or_close(opened, &stores, &mut services, &*clock).await?;
    let parts = PodParts {
        config: config.clone(),
        pod,
        definitions: Arc::new(CachedDefinitions::new(catalogue, Arc::clone(&stores.definitions))),
        models: models::open(config, providers)?,
        admission: admission(config, &stores, &cluster),
        // The delegations of other pods are accepted if there are any.
        authenticator: cluster.authenticate(authenticator),
        identities,
        settings_hash: Arc::new(ArcSwap::from_pointee(config.settings_hash.clone())),
        guard: policy::guard(config, policy),
        host_names,
        sources,
        active: Arc::new(watch::Sender::new(generations)),
        readiness,
        observer: services::tee_observer(&metrics, observer),
        pipeline: PipelineHandle::default(),
        nats,
        remote: cluster.remote(),
        rate_windows: redis::rate_windows(config, redis.as_ref()),
        creates_runs_unowned: creates_runs_unowned || config.nats.is_some(),
        embedder: memory.embedder,
        stores,
        restores,
        metrics,
        clock,
        ids,
    };
    Box::pin(start(parts, services, PodStart { native, outside, evaluator, cluster, in_service, lock })).await
}

/// What a pod is started with, beside what its parts share.
struct PodStart {
    native: NativeCode,
    outside: OutboundParts,
    evaluator: Option<WrapEvaluator>,
    cluster: ClusterRuntime,
    in_service: InService,
    lock: Option<DataDirLock>,
}

/// Starts the actors and the pipeline of a pod, and what runs beside them.
async fn start(parts: PodParts, mut services: Services, pod: PodStart) -> Result<Pod, Cause> {
    let PodStart { native, outside, evaluator, cluster, in_service, lock } = pod;
    let (wasm, ticker) = wasm::open(&parts.config).await?;
    services::start_ticker(&mut services, ticker);
    let mcp = mcp::open(&parts.config, parts.metrics.mcp().clone())?;
    services.start(mcp::service(Arc::clone(&mcp)));
    let runtimes: Vec<Arc<dyn Runtime>> =
        vec![python::start(&mut services, &parts), Arc::new(wasm), Arc::new(outside.service)];
    let tool_sources: Vec<Arc<dyn ToolSource>> = vec![outside.tools.clone(), mcp];
    let accounting = Accounting::new(&parts.stores, Arc::clone(&parts.clock));
    let env = actors::execution_env(&parts, native, ForeignCode { runtimes, tool_sources }, accounting);
    let built = actors::spawn_tree(&parts, &env).await?;
    services::start_cluster(&mut services, &parts, &built.runs);
    let (pipeline, releaser) = pipeline::build(&parts, &env, built.dispatcher, built.runs, evaluator)?;
    services::start_key_releaser(&mut services, releaser);
    start_remote(cluster, &mut services, &built.tree, &pipeline, &parts).await?;
    let reloader = services::start_reloader(&mut services, &parts, built.spawner, in_service);
    services.start(outbound::documents(outside.tools, outside.unavailable));
    let ingress = pipeline::ingress(&parts, pipeline);
    Ok(Pod { ingress, parts, tree: built.tree, services, nats: None, reloader, _lock: lock })
}

/// Opens what is outside of the pod, and collects the names that definitions may use.
async fn open_outside(
    config: &Config,
    metrics: &Metrics,
    native: &NativeCode,
) -> Result<(OutboundParts, HostNames), Cause> {
    let outside = outbound::open(config, metrics.outbound().clone()).await?;
    let constant = catalogue::host_names(config, &native.handlers, &native.tools, []);
    let host_names = HostNames::new(constant, Arc::clone(&outside.tools));
    Ok((outside, host_names))
}

/// Starts the writers of the stores; returns the stores as the pod uses them.
fn start_stores(
    services: &mut Services,
    opened: OpenedStores,
    (redis, memory): (Option<&Redis>, &MemoryServers),
    wrap: Option<WrapStores>,
    metrics: &Arc<Metrics>,
) -> Stores {
    let OpenedStores { stores, tasks: writers } = opened;
    services::start_writers(services, writers);
    wrap_with(memory.with_memories(redis::with_views(redis, stores)), wrap, metrics)
}

/// Admission control, which reserves a part for the calls of other pods if there are any.
fn admission(config: &Config, stores: &Stores, cluster: &ClusterRuntime) -> AdmissionControl {
    let bounds = config.admission.resolve_concurrency();
    AdmissionControl::with_reserve(bounds, Arc::clone(&stores.cluster), cluster.is_connected())
}

/// Starts what talks to other pods, once the pipeline can serve their calls.
async fn start_remote(
    cluster: ClusterRuntime,
    services: &mut Services,
    tree: &ActorTree,
    pipeline: &Arc<Pipeline>,
    parts: &PodParts,
) -> Result<(), Cause> {
    let offer = (Arc::clone(&parts.stores.cluster), parts.config.admission.max_in_flight);
    cluster.start(services, &tree.root_handle(), pipeline, offer).await
}

/// The handlers and tools of this release, with others.
fn with_built_in(handlers: Vec<Arc<dyn Handler>>, tools: Vec<Arc<dyn Tool>>) -> NativeCode {
    NativeCode {
        handlers: [greenroom_runtimes::handlers(), handlers].concat(),
        tools: [greenroom_runtimes::tools(), tools].concat(),
    }
}

/// The clock of a pod on a machine with these clocks.
fn pod_clock(machine: Arc<dyn Clock>) -> Arc<dyn Clock> {
    Arc::new(PodClock::new(machine))
}

/// The stores inside of those of an override, if there is one, with metrics.
fn wrap_with(stores: Stores, wrap: Option<WrapStores>, metrics: &Arc<Metrics>) -> Stores {
    let stores = match wrap {
        Some(wrap) => wrap(stores),
        None => stores,
    };
    observed_artifacts::observe(stores, metrics)
}

/// Closes the stores if the pod does not start, so that the next one finds them as after an orderly end.
async fn or_close<T>(
    loaded: Result<T, Cause>,
    stores: &Stores,
    services: &mut Services,
    clock: &dyn Clock,
) -> Result<T, Cause> {
    if loaded.is_err() {
        if let Err(error) = stores.maintenance.close(clock.now()).await {
            tracing::error!(error.message = %error, "cannot close the stores cleanly");
        }
        services.stop(Phase::Stores, STORE_CLOSE_MAX).await;
    }
    loaded
}
