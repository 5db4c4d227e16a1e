//! The composition root: the one place that knows every crate. The house is built leaves first, from
//! the configuration; policy, definitions and stores are read at the same time.

mod absent;
pub mod grow;
pub mod models;
pub mod stores;
pub mod tree;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_actors::door::Doorway;
use greenroom_actors::execution::{Backstage, ModelRoster, Props, Treasury};
use greenroom_actors::guard::GuardHandle;
use greenroom_actors::handler::{Desk, Handler};
use greenroom_actors::library::Library;
use greenroom_actors::model::ModelProvider;
use greenroom_actors::run::Recovered;
use greenroom_actors::stage::Stage;
use greenroom_actors::tool::Tool;
use greenroom_client::Client;
use greenroom_definitions::{Catalogue, Source, Vocabulary};
use greenroom_protocol::{CategoryId, Cause, Clock, Code, Ids, Json, UserId};
use greenroom_registry::{Opened, Stores};
use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{Authenticator, Bundle, CacheDir, Guard, PolicySnapshot};

use self::grow::{Ground, Grown, grow};
use self::tree::Tree;
use crate::chores::Chores;
use crate::config::{Config, Store};
use crate::identity::Configured;
use crate::ingress::control::Control;
use crate::ingress::local::Front;
use crate::library::Shelves;
use crate::lock::DataDir;
use crate::pipeline::Pipeline;
use crate::pipeline::facts::Surveyor;
use crate::pipeline::gate::Gate;
use crate::pipeline::look::Reader;
use crate::pipeline::once::Keys;
use crate::tasks::{OnEnd, Tasks};
use crate::telemetry::{Meters, metrics};
use crate::watch::Reloader;

/// How often runs that lost their owner are looked for.
const RECOVERY_PAUSE: Duration = Duration::from_secs(2);
/// How long the writers of the stores may take for what they still hold.
const WRITERS_WAIT_MAX: Duration = Duration::from_secs(10);

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
}

/// A running house. Dropping it stops everything at once; [`House::shutdown`] drains it first.
pub struct House {
    config: Config,
    front: Front,
    tree: Option<Tree>,
    tasks: Tasks,
    guard: GuardHandle,
    meters: Arc<Meters>,
    reloader: Option<Reloader>,
    owned: Option<DataDir>,
}

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
    let bundle = bundle(config)?;
    let handlers = [greenroom_runtimes::handlers(), extras.handlers].concat();
    let tools = [greenroom_runtimes::tools(), extras.tools].concat();
    let vocabulary = vocabulary(&bundle, &handlers, &tools);
    let policy = policy(config, bundle);
    let definitions = definitions(config, vocabulary.clone(), extras.catalogue);
    let stores = stores::open(config, &clock, &ids);
    let ((snapshot, compiler), catalogue, opened) = tokio::try_join!(policy, definitions, stores)?;

    let Opened { stores, writers } = opened;
    let mut tasks = Tasks::new();
    let meters = Arc::new(meters(extras.metrics, &mut tasks)?);
    for writer in writers {
        tasks.run(writer.name, OnEnd::StopPod, async move { writer.run.await.map_err(|error| error.to_string()) });
    }
    let library = Arc::new(Shelves::new(catalogue, Arc::clone(&stores.definitions)));
    let roster = Arc::new(models::open(config, extras.providers)?);
    let doorway = Doorway::default();
    let (treasury, mut settler) = Treasury::new(Arc::clone(&stores.ledger), Arc::clone(&clock));
    tasks.run("late settler", OnEnd::GoOn, async move {
        settler.run().await;
        Ok(())
    });
    let files = greenroom_runtimes::files::open(config.files_roots.clone());
    let backstage = Backstage::new(Props {
        handlers,
        tools,
        desk: Desk::new(files, Arc::clone(&stores.artifacts)),
        models: (*roster).clone(),
        treasury,
        doorway: doorway.clone(),
        library: library.clone(),
        observer: meters.clone(),
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
        observer: meters.clone(),
    };
    let Grown { tree, stage, runs } = grow(ground).await?;
    let pipeline = Arc::new(pipeline(Rooms {
        config,
        stores: &stores,
        library: &library,
        roster: &roster,
        guard: &guard,
        stage,
        meters: &meters,
        clock: &clock,
    }));
    doorway.hang(pipeline.clone()).map_err(|error| internal(error.to_string()))?;
    tasks.run("rates", OnEnd::GoOn, ticking(Arc::clone(&meters)));
    let reloader = Reloader {
        library,
        vocabulary,
        guard: guard.clone(),
        audit: Arc::clone(&stores.audit),
        clock: Arc::clone(&clock),
        definitions_dir: config.definitions_dir.clone(),
        policy_dir: config.policy_dir.clone(),
    };
    let chores = Arc::new(Chores {
        runs,
        authenticator: pipeline.authenticator.clone(),
        stores: stores.clone(),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
    });
    let front = Front { pipeline, stores, chores, clock, ids };
    Ok(House {
        config: config.clone(),
        front,
        tree: Some(tree),
        tasks,
        guard,
        meters,
        reloader: Some(reloader),
        owned: None,
    })
}

struct Rooms<'a> {
    config: &'a Config,
    stores: &'a Stores,
    library: &'a Arc<Shelves>,
    roster: &'a Arc<ModelRoster>,
    guard: &'a GuardHandle,
    stage: Stage,
    meters: &'a Arc<Meters>,
    clock: &'a Arc<dyn Clock>,
}

fn pipeline(rooms: Rooms<'_>) -> Pipeline {
    let Rooms { config, stores, library, roster, guard, stage, meters, clock } = rooms;
    let library: Arc<dyn Library> = Arc::clone(library) as Arc<dyn Library>;
    Pipeline {
        gate: Gate::new(config.gate),
        authenticator: Authenticator::new(Arc::new(Configured::new(config.people.clone()))),
        audit: Arc::clone(&stores.audit),
        surveyor: Surveyor {
            library: Arc::clone(&library),
            runs: Arc::clone(&stores.runs),
            ledger: Arc::clone(&stores.ledger),
            models: Arc::clone(roster),
        },
        guard: Guard::new(Arc::new(guard.clone())),
        keys: Keys { store: Arc::clone(&stores.idempotency), clock: Arc::clone(clock) },
        stage,
        reader: Reader { library, stores: stores.clone() },
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
fn vocabulary(bundle: &Bundle, handlers: &[Arc<dyn Handler>], tools: &[Arc<dyn Tool>]) -> Vocabulary {
    let policies = bundle.data().pointer("/cfg/policies").and_then(Json::as_object);
    Vocabulary::new(
        policies.into_iter().flat_map(|named| named.keys()).map(String::as_str),
        handlers.iter().map(|handler| handler.name()),
        tools.iter().map(|tool| tool.name()),
        models::PROVIDERS.iter().copied(),
    )
}

/// The names that definitions may use in this configuration, for commands that only check.
///
/// # Errors
/// [`Code::InvalidPolicy`] if the policy that names the rules cannot be read.
pub fn known_names(config: &Config) -> Result<Vocabulary, Cause> {
    Ok(vocabulary(&bundle(config)?, &greenroom_runtimes::handlers(), &greenroom_runtimes::tools()))
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
    crate::watch::catalogue_of(loaded)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Cause> {
    tokio::task::spawn_blocking(work).await.map_err(|error| internal(error.to_string()))
}

fn internal(message: String) -> Cause {
    Cause::new(Code::Internal, message)
}

fn shards(config: &Config) -> usize {
    match config.guard_shards {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
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

impl House {
    /// What it was told.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What stands behind every local way in.
    #[must_use]
    pub const fn front(&self) -> &Front {
        &self.front
    }

    /// A client that speaks for a user of the configuration.
    #[must_use]
    pub fn client(&self, user: &UserId) -> Client {
        self.front.client(user)
    }

    /// The stages of a request.
    #[must_use]
    pub const fn pipeline(&self) -> &Arc<Pipeline> {
        &self.front.pipeline
    }

    /// The stores.
    #[must_use]
    pub const fn stores(&self) -> &Stores {
        &self.front.stores
    }

    /// The guard.
    #[must_use]
    pub const fn guard(&self) -> &GuardHandle {
        &self.guard
    }

    /// What has been counted.
    #[must_use]
    pub const fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Keeps the proof that this process owns the data directory for as long as the house stands.
    pub fn hold(&mut self, owned: DataDir) {
        self.owned = Some(owned);
    }

    /// Listens on the control socket of the data directory.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] if the socket cannot be made.
    pub fn listen(&mut self) -> Result<(), Cause> {
        let path = self.config.control_socket();
        let control = Control::bind(&path)
            .map_err(|error| Cause::new(Code::StoreUnavailable, format!("{}: {error}", path.display())))?;
        self.tasks.run("control socket", OnEnd::GoOn, control.serve(self.front.clone()));
        Ok(())
    }

    /// Watches the folders of definitions and policies, where the configuration names any.
    pub fn watch(&mut self) {
        if let Some(reloader) = self.reloader.take().filter(Reloader::has_work) {
            self.tasks.run("watcher", OnEnd::GoOn, reloader.run());
        }
    }

    /// Takes up what a crash left, now and whenever a run loses its owner.
    pub fn recover(&mut self) {
        let chores = Arc::clone(&self.front.chores);
        self.tasks.run("recovery", OnEnd::GoOn, async move {
            let mut rounds = tokio::time::interval(RECOVERY_PAUSE);
            rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                rounds.tick().await;
                match chores.recover().await {
                    Ok(Recovered { resumed: 0, refused: 0, left: 0 }) => {}
                    Ok(round) => tracing::info!(
                        runs.resumed = round.resumed,
                        runs.refused = round.refused,
                        runs.left = round.left,
                        "interrupted runs were taken up"
                    ),
                    Err(cause) => tracing::error!(error.code = %cause.code, "interrupted runs were not taken up"),
                }
            }
        });
    }

    /// Waits until something has died without which nothing may go on; answers what.
    pub async fn fallen(&mut self) -> String {
        let Some(tree) = self.tree.as_mut() else { return std::future::pending().await };
        tokio::select! {
            fallen = self.tasks.fallen() => format!("{}: {}", fallen.name, fallen.reason),
            kind = tree.fallen() => format!("{kind} died too often"),
        }
    }

    /// Takes nothing new, waits for what is under way (with the configured bound), stops the actors
    /// leaves first, and closes the stores.
    pub async fn shutdown(mut self) {
        let pipeline = Arc::clone(&self.front.pipeline);
        pipeline.gate.close();
        if tokio::time::timeout(self.config.drain, pipeline.gate.drained()).await.is_err() {
            tracing::warn!(requests.left = pipeline.gate.inside(), "drain ended before everything was done");
        }
        for name in ["control socket", "watcher", "metrics", "recovery", "rates", "late settler"] {
            self.tasks.stop(name);
        }
        if let Some(tree) = self.tree.take() {
            tree.stop().await;
        }
        if let Err(error) = self.front.stores.upkeep.close(self.front.clock.now()).await {
            tracing::error!(error.message = %error, "stores were not closed cleanly");
        }
        self.tasks.finish(WRITERS_WAIT_MAX).await;
    }
}
