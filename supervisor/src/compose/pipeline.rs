//! From the shared parts to the request pipeline and the ingress that feeds it.

use std::sync::Arc;

use greenroom_actors::definition_resolver::DefinitionResolver;
use greenroom_actors::dispatcher::Dispatcher;
use greenroom_actors::execution::{Accounting, ExecutionEnv};
use greenroom_actors::pipeline::RequestPipeline;
use greenroom_actors::run::RunsHandle;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::{Evaluator, Guard};

use super::overrides::WrapEvaluator;
use super::parts::PodParts;
use super::pod_nats::PodNats;
use crate::admin::AdminOps;
use crate::apply::Applier;
use crate::identity::manage::KeyOps;
use crate::ingress::local::LocalIngress;
use crate::pipeline::Pipeline;
use crate::pipeline::artifacts::ArtifactLookup;
use crate::pipeline::facts::FactCollector;
use crate::pipeline::idempotency::{IdempotencyKeys, KeyReleaser};
use crate::pipeline::memory::MemoryHandler;
use crate::pipeline::query::QueryHandler;
use crate::pipeline::raw_inputs::RawInputs;

/// Builds the pipeline and binds it to the handle through which actors issue nested requests. The releaser of
/// its idempotency keys has to run beside it.
///
/// # Errors
/// [`ErrorCode::Internal`] if the handle is bound already.
pub(crate) fn build(
    parts: &PodParts,
    env: &Arc<ExecutionEnv>,
    dispatcher: Dispatcher,
    runs: RunsHandle,
    wrap_evaluator: Option<WrapEvaluator>,
) -> Result<(Arc<Pipeline>, KeyReleaser), Cause> {
    let PodParts { config, clock, stores, definitions, models, admission, guard, metrics, .. } = parts;
    let definitions: Arc<dyn DefinitionResolver> = definitions.clone();
    let engines: Arc<dyn Evaluator> = Arc::new(guard.clone());
    let evaluator = match wrap_evaluator {
        Some(wrap) => wrap(engines),
        None => engines,
    };
    let is_restoring = parts.restores.is_some();
    let applier = applier(parts);
    let (keys, stored) = (key_ops(parts), stores.clone());
    let retention = config.memory.retention;
    let admin = AdminOps { runs, stores: stored, clock: Arc::clone(clock), applier, keys, retention, is_restoring };
    let (idempotency, releaser) =
        IdempotencyKeys::new(Arc::clone(&stores.core), Arc::clone(&stores.idempotency), Arc::clone(clock));
    let pipeline = Arc::new(Pipeline {
        admission: admission.clone(),
        authenticator: parts.authenticator.clone(),
        core: Arc::clone(&stores.core),
        artifacts: ArtifactLookup { store: Arc::clone(&stores.artifacts) },
        raw_inputs: RawInputs { definitions: Arc::clone(&definitions), artifacts: Arc::clone(&stores.artifacts) },
        fact_collector: FactCollector {
            definitions: Arc::clone(&definitions),
            runs: Arc::clone(&stores.runs),
            journal: Arc::clone(&stores.journal),
            ledger: Arc::clone(&stores.ledger),
            rate_windows: parts.rate_windows.clone(),
            artifacts: Arc::clone(&stores.artifacts),
            models: models.clone(),
            env: Arc::clone(env),
        },
        guard: Guard::new(evaluator),
        idempotency,
        dispatcher,
        queries: QueryHandler {
            definitions: Arc::clone(&definitions),
            stores: stores.clone(),
            clock: Arc::clone(clock),
        },
        memory: memory_handler(parts, definitions),
        admin: Arc::new(admin),
        metrics: Arc::clone(metrics),
        clock: Arc::clone(clock),
        pod_name: config.pod.clone(),
        pod: parts.pod.clone(),
        store: config.store.clone(),
    });
    let shared: Arc<dyn RequestPipeline> = pipeline.clone();
    let bound = parts.pipeline.bind(&shared);
    bound.map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
    Ok((pipeline, releaser))
}

/// What handles memory requests. Qdrant is no database that a run waits for: its steps continue without memory.
fn memory_handler(parts: &PodParts, definitions: Arc<dyn DefinitionResolver>) -> MemoryHandler {
    let PodParts { config, clock, stores, embedder, .. } = parts;
    MemoryHandler {
        store: Arc::clone(&stores.memory),
        embedder: Arc::clone(embedder),
        accounting: Accounting::new(stores, Arc::clone(clock)),
        definitions,
        clock: Arc::clone(clock),
        is_server: config.store.is_server() && config.qdrant.is_none(),
        owner_max: config.memory.owner_max,
    }
}

/// What manages API keys, if the configuration resolves users.
fn key_ops(parts: &PodParts) -> Option<KeyOps> {
    let identities = parts.identities.clone()?;
    let clock = Arc::clone(&parts.clock);
    Some(KeyOps { users: identities.users, credentials: identities.credentials, clock })
}

/// What applies definitions and policies for every pod.
fn applier(parts: &PodParts) -> Applier {
    Applier {
        config: parts.config.clone(),
        generations: Arc::clone(&parts.stores.generations),
        active: parts.active.subscribe(),
        guard: parts.guard.clone(),
        host_names: parts.host_names.clone(),
        core: Arc::clone(&parts.stores.core),
        clock: Arc::clone(&parts.clock),
    }
}

/// The ingress of this process.
pub(crate) fn ingress(parts: &PodParts, pipeline: Arc<Pipeline>) -> LocalIngress {
    LocalIngress {
        pipeline,
        stores: parts.stores.clone(),
        clock: Arc::clone(&parts.clock),
        ids: Arc::clone(&parts.ids),
        settings_hash: Arc::clone(&parts.settings_hash),
        step_texts: parts.nats.as_ref().map(PodNats::step_texts),
    }
}
