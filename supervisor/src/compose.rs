//! The composition root: the only place that knows every crate. It assembles a pod from the
//! configuration, leaves first, and reads policy, definitions and stores concurrently.

pub mod actor_tree;
pub(crate) mod actors;
mod artifacts;
pub(crate) mod blocking;
pub mod catalogue;
pub(crate) mod category_spawner;
pub(crate) mod in_service;
pub mod models;
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
use greenroom_registry::OpenedStores;
use greenroom_rego::{Authenticator, IdentityProvider};

use self::catalogue::LoadTime;
use self::in_service::InService;
pub use self::overrides::{Overrides, RestorePod, WrapEvaluator, WrapStores};
use self::parts::PodParts;
use crate::cached_definitions::CachedDefinitions;
use crate::config::Config;
use crate::identity::ConfigIdentityProvider;
use crate::pipeline::admission::AdmissionControl;
use crate::pod::Pod;
use crate::services::Services;

/// Assembles a pod.
///
/// # Errors
/// A cause of the class "rejected" that names the invalid part of the configuration; errors of a store.
pub async fn compose(config: &Config, clock: Arc<dyn Clock>, ids: Arc<dyn IdGenerator>) -> Result<Pod, Cause> {
    compose_with(config, clock, ids, Overrides::default()).await
}

/// Assembles a pod with overrides.
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
    } = overrides;
    let handlers = [greenroom_runtimes::handlers(), handlers].concat();
    let tools = [greenroom_runtimes::tools(), tools].concat();
    let bundle = policy::open_bundle(config)?;
    let known_names = catalogue::collect_known_names(config, &bundle, &handlers, &tools);
    let pod = PodId::for_start(&config.pod, ids.next_id());
    let mut services = Services::new();
    let metrics = services::start_metrics(&mut services, metrics)?;
    let (policy, catalogue, OpenedStores { stores, tasks: writers }, redis) = tokio::try_join!(
        policy::compile(config, bundle),
        catalogue::load(config, known_names.clone()),
        Box::pin(stores::open(config, &pod, &clock, &ids, restores.as_ref())),
        Box::pin(redis::connect(config, &metrics)),
    )?;
    let stores = redis::with_views(redis.as_ref(), stores);
    let stores = if let Some(wrap) = wrap_stores { wrap(stores) } else { stores };
    services::start_writers(&mut services, writers);
    let in_service = InService::new(config, Arc::clone(&stores.definitions));
    let catalogue = in_service.with_last_valid(catalogue, &known_names).await?;
    in_service.store(&catalogue).await;
    catalogue::log_quarantined(&catalogue, LoadTime::Start);
    metrics.set_quarantined(catalogue.quarantined().len());
    let stores = observed_artifacts::observe(stores, &metrics);
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
        observer: services::tee_observer(&metrics, observer),
        pipeline: PipelineHandle::default(),
        rate_windows: redis::rate_windows(config, redis.as_ref()),
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
    let ingress = pipeline::ingress(&parts, pipeline);
    let reloader = Arc::new(services::reloader(&parts, known_names, built.spawner, in_service));
    Ok(Pod { parts, ingress, tree: built.tree, services, reloader, _lock: lock })
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
