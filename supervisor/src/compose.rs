//! The composition root: the only place that knows every crate. It assembles a pod from the
//! configuration, leaves first, and reads policy and definitions concurrently once the stores are open.

pub(crate) mod active;
pub mod actor_tree;
pub(crate) mod actors;
pub(crate) mod artifacts;
pub(crate) mod blocking;
pub mod catalogue;
pub(crate) mod category_spawner;
pub(crate) mod in_service;
pub mod models;
pub(crate) mod nats;
mod observed_artifacts;
pub mod overrides;
pub(crate) mod parts;
mod pipeline;
pub mod policy;
pub(crate) mod redis;
pub(crate) mod services;
pub mod stores;

use std::sync::Arc;

use arc_swap::ArcSwap;
use greenroom_actors::execution::Accounting;
use greenroom_actors::pipeline::PipelineHandle;
use greenroom_protocol::{Cause, Clock, IdGenerator, PodId};
use greenroom_registry::{OpenedStores, Stores};
use greenroom_rego::{Authenticator, IdentityProvider};
use tokio::sync::watch;

use self::active::{ActiveParts, StartLoader};
pub use self::overrides::{Overrides, RestorePod, WrapEvaluator, WrapStores};
use self::parts::PodParts;
use crate::cached_definitions::CachedDefinitions;
use crate::clock::PodClock;
use crate::config::Config;
use crate::identity::ConfigIdentityProvider;
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
        restores,
        is_repair,
        creates_runs_unowned,
    } = overrides;
    let handlers = [greenroom_runtimes::handlers(), handlers].concat();
    let tools = [greenroom_runtimes::tools(), tools].concat();
    let host_names = catalogue::host_names(config, &handlers, &tools);
    let sources = OwnSources::open(config)?;
    let (pod, clock) = (PodId::for_start(&config.pod, ids.next_id()), pod_clock(clock));
    let mut services = Services::new();
    let metrics = services::start_metrics(&mut services, metrics)?;
    let (OpenedStores { stores, tasks: writers }, redis) = tokio::try_join!(
        Box::pin(stores::open(config, &pod, &clock, &ids, restores.as_ref())),
        Box::pin(redis::connect(config, &metrics)),
    )?;
    services::start_writers(&mut services, writers);
    let stores = wrap_with(redis::with_views(redis.as_ref(), stores), wrap_stores, &metrics);
    let loader = StartLoader::new(config, &sources, &stores, &host_names, is_repair || restores.is_some());
    let active = or_close(Box::pin(loader.load(&metrics)).await, &stores, &mut services, &*clock).await?;
    let ActiveParts { generations, policy, catalogue, in_service } = active;
    let accounting = Accounting::new(&stores, Arc::clone(&clock));
    let (authenticator, identities) = authenticator(config, identities);
    let parts = PodParts {
        config: config.clone(),
        pod,
        definitions: Arc::new(CachedDefinitions::new(catalogue, Arc::clone(&stores.definitions))),
        models: models::open(config, providers)?,
        admission: AdmissionControl::for_pod(config.admission.resolve_concurrency(), Arc::clone(&stores.cluster)),
        authenticator,
        identities,
        settings_hash: Arc::new(ArcSwap::from_pointee(config.settings_hash.clone())),
        guard: policy::guard(config, policy),
        host_names,
        sources,
        active: Arc::new(watch::Sender::new(generations)),
        readiness: Arc::default(),
        observer: services::tee_observer(&metrics, observer),
        pipeline: PipelineHandle::default(),
        rate_windows: redis::rate_windows(config, redis.as_ref()),
        creates_runs_unowned: creates_runs_unowned || config.nats.is_some(),
        stores,
        restores,
        metrics,
        clock,
        ids,
    };
    let env = actors::execution_env(&parts, handlers, tools, accounting);
    let built = actors::spawn_tree(&parts, &env).await?;
    services::start_cluster(&mut services, &parts, &built.runs);
    let (pipeline, releaser) = pipeline::build(&parts, built.dispatcher, built.runs, evaluator)?;
    services::start_key_releaser(&mut services, releaser);
    let reloader = services::start_reloader(&mut services, &parts, built.spawner, in_service);
    let ingress = pipeline::ingress(&parts, pipeline);
    Ok(Pod { ingress, parts, tree: built.tree, services, nats: None, reloader, _lock: lock })
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

/// Authenticates users by the configuration, unless something else resolves them. A reload replaces the users of the
/// configuration.
fn authenticator(
    config: &Config,
    other: Option<Arc<dyn IdentityProvider>>,
) -> (Authenticator, Option<Arc<ConfigIdentityProvider>>) {
    match other {
        Some(other) => (Authenticator::new(other), None),
        None => {
            let identities = Arc::new(ConfigIdentityProvider::new(config.users.clone()));
            (Authenticator::new(identities.clone()), Some(identities))
        }
    }
}
