//! The composition root: the one place that knows every crate. The house is built leaves first, from
//! the configuration; policy, definitions and stores are read at the same time.

pub mod actor_tree;
pub mod build_tree;
pub mod models;
pub mod stores;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use greenroom_actors::definition_resolver::DefinitionResolver;
use greenroom_actors::dispatcher::Dispatcher;
use greenroom_actors::execution::{
    Accounting, AgentTools, ExecutionEnv, ExecutionEnvParts, LlmRuntime, ModelRegistry, register_native,
};
use greenroom_actors::guard::GuardHandle;
use greenroom_actors::handler::{FileAccess, Handler};
use greenroom_actors::model::ModelProvider;
use greenroom_actors::observer::{Observer, TeeObserver};
use greenroom_actors::pipeline::PipelineHandle;
use greenroom_actors::tool::Tool;
use greenroom_definitions::{Catalogue, KnownNames, Source};
use greenroom_protocol::{CategoryId, Cause, Clock, ErrorCode, IdGenerator, Json};
use greenroom_registry::agent_memory::embedder;
use greenroom_registry::{OpenedStores, Stores};
use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{Authenticator, Bundle, CacheDir, Evaluator, Guard, PolicySnapshot};
use greenroom_runtimes::files;

use self::build_tree::{BuiltTree, CategorySpawner, TreeParts, build_tree};
use crate::admin::AdminOps;
use crate::cached_definitions::CachedDefinitions;
use crate::config::{AdmissionConfig, Config, StoreConfig};
use crate::identity::ConfigIdentityProvider;
use crate::ingress::local::LocalIngress;
use crate::pipeline::Pipeline;
use crate::pipeline::admission::AdmissionControl;
use crate::pipeline::facts::FactCollector;
use crate::pipeline::idempotency::IdempotencyKeys;
use crate::pipeline::memory::MemoryHandler;
use crate::pipeline::query::QueryHandler;
use crate::pod::Pod;
use crate::reload::Reloader;
use crate::tasks::{BackgroundTasks, OnExit};
use crate::telemetry::{Metrics, metrics};

/// Turns at the gate for each core. What a request waits for behind it is the work of those that are
/// there with it, so more of them would let one tenant's flood weigh on the others; they would fill
/// the cores of a machine whose disk is slow.
const PIPELINE_CONCURRENCY_PER_CORE: usize = 4;

/// What may stand in the place of what the configuration says: models, handlers and tools of tests
/// and benchmarks. An empty one changes nothing.
#[derive(Default)]
pub struct Overrides {
    /// Providers beside those of the configuration.
    pub providers: Vec<Arc<dyn ModelProvider>>,
    /// Handlers beside the product's own.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// Tools beside the product's own.
    pub tools: Vec<Arc<dyn Tool>>,
    /// A catalogue instead of the configured one.
    pub catalogue: Option<Arc<Catalogue>>,
    /// Where `/metrics` is served.
    pub metrics: Option<SocketAddr>,
    /// Hears what the meters hear.
    pub observer: Option<Arc<dyn Observer>>,
    /// Stands between the pipeline and the guard's engines; it can only hand a verdict on.
    pub evaluator: Option<WrapEvaluator>,
    /// Stands between the house and its stores; it can only hand on what they answer.
    pub stores: Option<WrapStores>,
}

/// Puts something in front of the guard's engines.
pub type WrapEvaluator = Box<dyn FnOnce(Arc<dyn Evaluator>) -> Arc<dyn Evaluator> + Send>;

/// Puts something in front of the stores.
pub type WrapStores = Box<dyn FnOnce(Stores) -> Stores + Send>;

/// Builds a house.
///
/// # Errors
/// A cause of the class "rejected" for what the configuration names and what is wrong with it; what a
/// store says.
pub async fn compose(config: &Config, clock: Arc<dyn Clock>, ids: Arc<dyn IdGenerator>) -> Result<Pod, Cause> {
    compose_with(config, clock, ids, Overrides::default()).await
}

/// Builds a house with something of one's own in it.
///
/// # Errors
/// As [`compose`].
pub async fn compose_with(
    config: &Config,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGenerator>,
    extras: Overrides,
) -> Result<Pod, Cause> {
    let Overrides { providers, handlers, tools, catalogue, metrics, observer, evaluator, stores: wrap_stores } = extras;
    let bundle = bundle(config)?;
    let handlers = [greenroom_runtimes::handlers(), handlers].concat();
    let tools = [greenroom_runtimes::tools(), tools].concat();
    let vocabulary = vocabulary(config, &bundle, &handlers, &tools);
    let policy = policy(config, bundle);
    let definitions = definitions(config, vocabulary.clone(), catalogue);
    let stores = stores::open(config, &clock, &ids);
    let ((snapshot, compiler), catalogue, OpenedStores { stores, tasks: writers }) =
        tokio::try_join!(policy, definitions, stores)?;
    let stores = if let Some(wrap) = wrap_stores { wrap(stores) } else { stores };
    let mut tasks = BackgroundTasks::new();
    for writer in writers {
        tasks.run_on_thread(writer.name, OnExit::StopPod, async move {
            writer.run.await.map_err(|error| error.to_string())
        });
    }
    let metrics = Arc::new(open_metrics(metrics, &mut tasks)?);
    tasks.run("rates", OnExit::Continue, tick_metrics(Arc::clone(&metrics)));
    let definitions = Arc::new(CachedDefinitions::new(catalogue, Arc::clone(&stores.definitions)));
    let observer = tee_observer(&metrics, observer);
    let roster = models::open(config, providers)?;
    let pipeline = PipelineHandle::default();
    let files = FileAccess::new(files::open(config.files_roots.clone()), Arc::clone(&stores.artifacts));
    let (native, native_tools) = register_native(handlers, tools, &files);
    let env = ExecutionEnv::new(ExecutionEnvParts {
        runtimes: vec![Arc::new(native), Arc::new(LlmRuntime)],
        tool_sources: vec![Arc::new(AgentTools), Arc::new(native_tools)],
        files,
        models: roster.clone(),
        accounting: accounting(&stores, &clock, &mut tasks),
        pipeline: pipeline.clone(),
        resolver: definitions.clone(),
        observer: Arc::clone(&observer),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
    });
    let guard = GuardHandle::new(snapshot, compiler, workers(config));
    let ground = TreeParts {
        config,
        definitions: &definitions,
        stores: &stores,
        guard: &guard,
        env: &env,
        pipeline: &pipeline,
        clock: &clock,
        observer,
    };
    let BuiltTree { tree, dispatcher, runs, spawner } = build_tree(ground).await?;
    let rooms =
        PodParts { stores: &stores, definitions: &definitions, guard: &guard, metrics: &metrics, clock: &clock };
    let engines: Arc<dyn Evaluator> = Arc::new(guard.clone());
    let evaluator = match evaluator {
        Some(wrap) => wrap(engines),
        None => engines,
    };
    let handle = pipeline;
    let pipeline = Arc::new(build_pipeline(config, rooms, evaluator, dispatcher, roster));
    handle.bind(pipeline.clone()).map_err(|error| internal(error.to_string()))?;
    let reloader = rooms.reloader(config, vocabulary, spawner);
    let authenticator = pipeline.authenticator.clone();
    let (chore_clock, chore_ids) = (Arc::clone(&clock), Arc::clone(&ids));
    let admin = AdminOps { runs, authenticator, stores: stores.clone(), clock: chore_clock, ids: chore_ids };
    let front = LocalIngress { pipeline, stores, admin: Arc::new(admin), clock, ids };
    let config = config.clone();
    Ok(Pod { config, ingress: front, tree: Some(tree), tasks, guard, metrics, reloader: Some(reloader), owned: None })
}

/// The meters, and beside them who else wants to hear.
fn tee_observer(metrics: &Arc<Metrics>, other: Option<Arc<dyn Observer>>) -> Arc<dyn Observer> {
    let metrics: Arc<dyn Observer> = metrics.clone();
    match other {
        Some(other) => Arc::new(TeeObserver(metrics, other)),
        None => metrics,
    }
}

fn accounting(stores: &Stores, clock: &Arc<dyn Clock>, tasks: &mut BackgroundTasks) -> Accounting {
    let (accounting, mut settler) = Accounting::new(Arc::clone(&stores.ledger), Arc::clone(clock));
    tasks.run("reservation settler", OnExit::Continue, async move {
        settler.run().await;
        Ok(())
    });
    accounting
}

/// What several parts of the house share.
#[derive(Clone, Copy)]
struct PodParts<'a> {
    stores: &'a Stores,
    definitions: &'a Arc<CachedDefinitions>,
    guard: &'a GuardHandle,
    metrics: &'a Arc<Metrics>,
    clock: &'a Arc<dyn Clock>,
}

impl PodParts<'_> {
    fn reloader(self, config: &Config, vocabulary: KnownNames, spawner: CategorySpawner) -> Reloader {
        Reloader {
            definitions: Arc::clone(self.definitions),
            vocabulary,
            spawner,
            guard: self.guard.clone(),
            audit: Arc::clone(&self.stores.audit),
            clock: Arc::clone(self.clock),
            definitions_dir: config.definitions_dir.clone(),
            policy_dir: config.policy_dir.clone(),
        }
    }
}

fn build_pipeline(
    config: &Config,
    rooms: PodParts<'_>,
    evaluator: Arc<dyn Evaluator>,
    dispatcher: Dispatcher,
    models: ModelRegistry,
) -> Pipeline {
    let PodParts { stores, definitions, guard: _, metrics, clock } = rooms;
    let definitions: Arc<dyn DefinitionResolver> = Arc::clone(definitions) as Arc<dyn DefinitionResolver>;
    Pipeline {
        admission: AdmissionControl::new(places(config)),
        authenticator: Authenticator::new(Arc::new(ConfigIdentityProvider::new(config.users.clone()))),
        audit: Arc::clone(&stores.audit),
        fact_collector: FactCollector {
            definitions: Arc::clone(&definitions),
            runs: Arc::clone(&stores.runs),
            ledger: Arc::clone(&stores.ledger),
            models,
        },
        guard: Guard::new(evaluator),
        idempotency: IdempotencyKeys { store: Arc::clone(&stores.idempotency), clock: Arc::clone(clock) },
        dispatcher,
        queries: QueryHandler { definitions, stores: stores.clone() },
        memory: MemoryHandler {
            store: Arc::clone(&stores.memory),
            embedder: embedder::hashing_embedder(),
            clock: Arc::clone(clock),
        },
        metrics: Arc::clone(metrics),
        clock: Arc::clone(clock),
        pod: config.pod.clone(),
    }
}

fn open_metrics(addr: Option<SocketAddr>, tasks: &mut BackgroundTasks) -> Result<Metrics, Cause> {
    let wrong = |message| Cause::new(ErrorCode::InvalidConfiguration, message);
    match addr {
        None => Metrics::new().map_err(wrong),
        Some(addr) => {
            let (metrics, exporter) = Metrics::with_exporter(addr).map_err(wrong)?;
            tasks.run("metrics", OnExit::Continue, exporter);
            Ok(metrics)
        }
    }
}

fn bundle(config: &Config) -> Result<Bundle, Cause> {
    let bundle = match &config.policy_dir {
        Some(dir) => Bundle::open(dir),
        None => Bundle::embedded(),
    };
    bundle.map_err(Cause::from)
}

/// The names that definitions may use, from those that own them.
fn vocabulary(config: &Config, bundle: &Bundle, handlers: &[Arc<dyn Handler>], tools: &[Arc<dyn Tool>]) -> KnownNames {
    let policies = bundle.data().pointer("/cfg/policies").and_then(Json::as_object);
    KnownNames::new(
        policies.into_iter().flat_map(|named| named.keys()).map(String::as_str),
        handlers.iter().map(|handler| handler.name()),
        tools.iter().map(|tool| tool.name()),
        models::provider_names(config),
    )
}

/// The names that definitions may use in this configuration, for commands that only check.
///
/// # Errors
/// [`ErrorCode::InvalidPolicy`] if the policy that names the rules cannot be read.
pub fn known_names(config: &Config) -> Result<KnownNames, Cause> {
    Ok(vocabulary(config, &bundle(config)?, &greenroom_runtimes::handlers(), &greenroom_runtimes::tools()))
}

/// The policy of this configuration, tried, for commands that only ask it.
///
/// # Errors
/// [`ErrorCode::InvalidPolicy`].
pub async fn policy_in_force(config: &Config) -> Result<Arc<PolicySnapshot>, Cause> {
    Ok(policy(config, bundle(config)?).await?.0)
}

/// The categories of this configuration's catalogue.
///
/// # Errors
/// [`ErrorCode::InvalidDefinition`], [`ErrorCode::InvalidPolicy`].
pub async fn categories(config: &Config) -> Result<Vec<CategoryId>, Cause> {
    let catalogue = definitions(config, known_names(config)?, None).await?;
    Ok(catalogue.categories().map(|category| category.id.clone()).collect())
}

async fn policy(config: &Config, bundle: Bundle) -> Result<(Arc<PolicySnapshot>, Compiler), Cause> {
    let cache = match config.store {
        StoreConfig::Memory => CacheDir::Off,
        StoreConfig::Sqlite { .. } => CacheDir::At(config.cache_dir()),
    };
    let (compiler, compiled) = blocking(move || {
        let compiler = Compiler::new(&cache)?;
        let compiled = compiler.compile(&bundle)?;
        Ok::<_, greenroom_rego::SnapshotError>((compiler, compiled))
    })
    .await??;
    Ok((PolicySnapshot::validate(compiled).await?, compiler))
}

async fn definitions(
    config: &Config,
    vocabulary: KnownNames,
    given: Option<Arc<Catalogue>>,
) -> Result<Arc<Catalogue>, Cause> {
    if let Some(catalogue) = given {
        return Ok(catalogue);
    }
    let source = match &config.definitions_dir {
        Some(dir) => Source::Directory(dir.clone()),
        None => Source::Embedded,
    };
    let loaded = blocking(move || greenroom_definitions::load(&source, &vocabulary)).await?;
    crate::reload::catalogue_of(loaded)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Cause> {
    tokio::task::spawn_blocking(work).await.map_err(|error| internal(error.to_string()))
}

fn internal(message: String) -> Cause {
    Cause::new(ErrorCode::Internal, message)
}

/// The bounds of the gate, with the turns that the machine suggests where none are set.
fn places(config: &Config) -> AdmissionConfig {
    match config.admission.pipeline_concurrency {
        0 => AdmissionConfig { pipeline_concurrency: PIPELINE_CONCURRENCY_PER_CORE * cores(), ..config.admission },
        _ => config.admission,
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn workers(config: &Config) -> usize {
    match config.guard_workers {
        0 => cores(),
        workers => workers,
    }
}

async fn tick_metrics(metrics: Arc<Metrics>) -> Result<(), String> {
    let mut ticks = tokio::time::interval(metrics::TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        metrics.tick(Instant::now());
    }
}
