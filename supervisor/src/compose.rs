//! The composition root: the one place that knows every crate. The house is built leaves first, from
//! the configuration; policy, definitions and stores are read at the same time.

pub mod actor_tree;
pub mod build_tree;
pub mod models;
pub mod stores;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use greenroom_actors::definition_resolver::Library;
use greenroom_actors::dispatcher::Stage;
use greenroom_actors::execution::{Backstage, ModelRoster, Props, Treasury};
use greenroom_actors::guard::GuardHandle;
use greenroom_actors::handler::{Desk, Handler};
use greenroom_actors::model::ModelProvider;
use greenroom_actors::observer::{Both, Observer};
use greenroom_actors::pipeline::Doorway;
use greenroom_actors::tool::Tool;
use greenroom_definitions::{Catalogue, Source, Vocabulary};
use greenroom_protocol::{CategoryId, Cause, Clock, Code, Ids, Json};
use greenroom_registry::agent_memory::embedder;
use greenroom_registry::{Opened, Stores};
use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{Authenticator, Bundle, CacheDir, Evaluator, Guard, PolicySnapshot};
use greenroom_runtimes::files;

use self::build_tree::{Ground, Grown, Nursery, grow};
use crate::admin::Chores;
use crate::cached_definitions::Shelves;
use crate::config::{Config, Places, Store};
use crate::identity::Configured;
use crate::ingress::local::Front;
use crate::pipeline::Pipeline;
use crate::pipeline::admission::Gate;
use crate::pipeline::facts::Surveyor;
use crate::pipeline::idempotency::Keys;
use crate::pipeline::memory::Memories;
use crate::pipeline::query::Reader;
use crate::pod::House;
use crate::reload::Reloader;
use crate::tasks::{OnEnd, Tasks};
use crate::telemetry::{Meters, metrics};

/// Turns at the gate for each core. What a request waits for behind it is the work of those that are
/// there with it, so more of them would let one tenant's flood weigh on the others; they would fill
/// the cores of a machine whose disk is slow.
const TURNS_PER_CORE: usize = 4;

/// What may stand in the place of what the configuration says: models, handlers and tools of tests
/// and benchmarks. An empty one changes nothing.
#[derive(Default)]
pub struct Extras {
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
pub async fn compose(config: &Config, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<House, Cause> {
    compose_with(config, clock, ids, Extras::default()).await
}

/// Builds a house with something of one's own in it.
///
/// # Errors
/// As [`compose`].
pub async fn compose_with(
    config: &Config,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    extras: Extras,
) -> Result<House, Cause> {
    let Extras { providers, handlers, tools, catalogue, metrics, observer, evaluator, stores: wrap_stores } = extras;
    let bundle = bundle(config)?;
    let handlers = [greenroom_runtimes::handlers(), handlers].concat();
    let tools = [greenroom_runtimes::tools(), tools].concat();
    let vocabulary = vocabulary(config, &bundle, &handlers, &tools);
    let policy = policy(config, bundle);
    let definitions = definitions(config, vocabulary.clone(), catalogue);
    let stores = stores::open(config, &clock, &ids);
    let ((snapshot, compiler), catalogue, Opened { stores, writers }) = tokio::try_join!(policy, definitions, stores)?;
    let stores = if let Some(wrap) = wrap_stores { wrap(stores) } else { stores };
    let mut tasks = Tasks::new();
    for writer in writers {
        tasks.run_apart(
            writer.name,
            OnEnd::StopPod,
            async move { writer.run.await.map_err(|error| error.to_string()) },
        );
    }
    let meters = Arc::new(meters(metrics, &mut tasks)?);
    tasks.run("rates", OnEnd::GoOn, ticking(Arc::clone(&meters)));
    let library = Arc::new(Shelves::new(catalogue, Arc::clone(&stores.definitions)));
    let observer = listening(&meters, observer);
    let roster = models::open(config, providers)?;
    let doorway = Doorway::default();
    let backstage = Backstage::new(Props {
        handlers,
        tools,
        desk: Desk::new(files::open(config.files_roots.clone()), Arc::clone(&stores.artifacts)),
        models: roster.clone(),
        treasury: treasury(&stores, &clock, &mut tasks),
        doorway: doorway.clone(),
        library: library.clone(),
        observer: Arc::clone(&observer),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
    });
    let guard = GuardHandle::new(snapshot, compiler, shards(config));
    let ground = Ground {
        config,
        library: &library,
        stores: &stores,
        guard: &guard,
        backstage: &backstage,
        doorway: &doorway,
        clock: &clock,
        observer,
    };
    let Grown { tree, stage, runs, nursery } = grow(ground).await?;
    let rooms = Rooms { stores: &stores, library: &library, guard: &guard, meters: &meters, clock: &clock };
    let engines: Arc<dyn Evaluator> = Arc::new(guard.clone());
    let evaluator = match evaluator {
        Some(wrap) => wrap(engines),
        None => engines,
    };
    let pipeline = Arc::new(pipeline(config, rooms, evaluator, stage, roster));
    doorway.hang(pipeline.clone()).map_err(|error| internal(error.to_string()))?;
    let reloader = rooms.reloader(config, vocabulary, nursery);
    let authenticator = pipeline.authenticator.clone();
    let (chore_clock, chore_ids) = (Arc::clone(&clock), Arc::clone(&ids));
    let chores = Chores { runs, authenticator, stores: stores.clone(), clock: chore_clock, ids: chore_ids };
    let front = Front { pipeline, stores, chores: Arc::new(chores), clock, ids };
    let config = config.clone();
    Ok(House { config, front, tree: Some(tree), tasks, guard, meters, reloader: Some(reloader), owned: None })
}

/// The meters, and beside them who else wants to hear.
fn listening(meters: &Arc<Meters>, other: Option<Arc<dyn Observer>>) -> Arc<dyn Observer> {
    let meters: Arc<dyn Observer> = meters.clone();
    match other {
        Some(other) => Arc::new(Both(meters, other)),
        None => meters,
    }
}

fn treasury(stores: &Stores, clock: &Arc<dyn Clock>, tasks: &mut Tasks) -> Treasury {
    let (treasury, mut settler) = Treasury::new(Arc::clone(&stores.ledger), Arc::clone(clock));
    tasks.run("late settler", OnEnd::GoOn, async move {
        settler.run().await;
        Ok(())
    });
    treasury
}

/// What several parts of the house share.
#[derive(Clone, Copy)]
struct Rooms<'a> {
    stores: &'a Stores,
    library: &'a Arc<Shelves>,
    guard: &'a GuardHandle,
    meters: &'a Arc<Meters>,
    clock: &'a Arc<dyn Clock>,
}

impl Rooms<'_> {
    fn reloader(self, config: &Config, vocabulary: Vocabulary, nursery: Nursery) -> Reloader {
        Reloader {
            library: Arc::clone(self.library),
            vocabulary,
            nursery,
            guard: self.guard.clone(),
            audit: Arc::clone(&self.stores.audit),
            clock: Arc::clone(self.clock),
            definitions_dir: config.definitions_dir.clone(),
            policy_dir: config.policy_dir.clone(),
        }
    }
}

fn pipeline(
    config: &Config,
    rooms: Rooms<'_>,
    evaluator: Arc<dyn Evaluator>,
    stage: Stage,
    models: ModelRoster,
) -> Pipeline {
    let Rooms { stores, library, guard: _, meters, clock } = rooms;
    let library: Arc<dyn Library> = Arc::clone(library) as Arc<dyn Library>;
    Pipeline {
        gate: Gate::new(places(config)),
        authenticator: Authenticator::new(Arc::new(Configured::new(config.people.clone()))),
        audit: Arc::clone(&stores.audit),
        surveyor: Surveyor {
            library: Arc::clone(&library),
            runs: Arc::clone(&stores.runs),
            ledger: Arc::clone(&stores.ledger),
            models,
        },
        guard: Guard::new(evaluator),
        keys: Keys { store: Arc::clone(&stores.idempotency), clock: Arc::clone(clock) },
        stage,
        reader: Reader { library, stores: stores.clone() },
        memories: Memories {
            store: Arc::clone(&stores.memory),
            embedder: embedder::hashed(),
            clock: Arc::clone(clock),
        },
        meters: Arc::clone(meters),
        clock: Arc::clone(clock),
        pod: config.pod.clone(),
    }
}

fn meters(addr: Option<SocketAddr>, tasks: &mut Tasks) -> Result<Meters, Cause> {
    let wrong = |message| Cause::new(Code::InvalidConfiguration, message);
    match addr {
        None => Meters::new().map_err(wrong),
        Some(addr) => {
            let (meters, exporter) = Meters::serving(addr).map_err(wrong)?;
            tasks.run("metrics", OnEnd::GoOn, exporter);
            Ok(meters)
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
fn vocabulary(config: &Config, bundle: &Bundle, handlers: &[Arc<dyn Handler>], tools: &[Arc<dyn Tool>]) -> Vocabulary {
    let policies = bundle.data().pointer("/cfg/policies").and_then(Json::as_object);
    Vocabulary::new(
        policies.into_iter().flat_map(|named| named.keys()).map(String::as_str),
        handlers.iter().map(|handler| handler.name()),
        tools.iter().map(|tool| tool.name()),
        models::names(config),
    )
}

/// The names that definitions may use in this configuration, for commands that only check.
///
/// # Errors
/// [`Code::InvalidPolicy`] if the policy that names the rules cannot be read.
pub fn known_names(config: &Config) -> Result<Vocabulary, Cause> {
    Ok(vocabulary(config, &bundle(config)?, &greenroom_runtimes::handlers(), &greenroom_runtimes::tools()))
}

/// The policy of this configuration, tried, for commands that only ask it.
///
/// # Errors
/// [`Code::InvalidPolicy`].
pub async fn policy_in_force(config: &Config) -> Result<Arc<PolicySnapshot>, Cause> {
    Ok(policy(config, bundle(config)?).await?.0)
}

/// The categories of this configuration's catalogue.
///
/// # Errors
/// [`Code::InvalidDefinition`], [`Code::InvalidPolicy`].
pub async fn categories(config: &Config) -> Result<Vec<CategoryId>, Cause> {
    let catalogue = definitions(config, known_names(config)?, None).await?;
    Ok(catalogue.categories().map(|category| category.id.clone()).collect())
}

async fn policy(config: &Config, bundle: Bundle) -> Result<(Arc<PolicySnapshot>, Compiler), Cause> {
    let cache = match config.store {
        Store::Memory => CacheDir::Off,
        Store::Sqlite { .. } => CacheDir::At(config.cache_dir()),
    };
    let (compiler, compiled) = blocking(move || {
        let compiler = Compiler::new(&cache)?;
        let compiled = compiler.compile(&bundle)?;
        Ok::<_, greenroom_rego::SnapshotError>((compiler, compiled))
    })
    .await??;
    Ok((PolicySnapshot::trial(compiled).await?, compiler))
}

async fn definitions(
    config: &Config,
    vocabulary: Vocabulary,
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
    Cause::new(Code::Internal, message)
}

/// The bounds of the gate, with the turns that the machine suggests where none are set.
fn places(config: &Config) -> Places {
    match config.gate.turns {
        0 => Places { turns: TURNS_PER_CORE * cores(), ..config.gate },
        _ => config.gate,
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn shards(config: &Config) -> usize {
    match config.guard_shards {
        0 => cores(),
        shards => shards,
    }
}

async fn ticking(meters: Arc<Meters>) -> Result<(), String> {
    let mut ticks = tokio::time::interval(metrics::TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        meters.tick(Instant::now());
    }
}
