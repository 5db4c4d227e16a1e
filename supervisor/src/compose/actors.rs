//! From the shared parts to the actor tree, and to the dispatcher through which permits reach it.

use std::sync::Arc;

use greenroom_actors::category::{CategoryConfig, CategoryHandle, CategoryHandles};
use greenroom_actors::definition_resolver::DefinitionResolver as _;
use greenroom_actors::dispatcher::{Dispatcher, DispatcherParts};
use greenroom_actors::execution::runtime::Runtime;
use greenroom_actors::execution::{
    Accounting, AgentTools, ExecutionEnv, ExecutionEnvParts, LlmRuntime, register_native,
};
use greenroom_actors::guard::GuardHandle;
use greenroom_actors::handler::{FileSources, Handler};
use greenroom_actors::observer::Observer;
use greenroom_actors::run::{LEASE, RunEnv, RunsHandle, StepDeltas};
use greenroom_actors::supervision::ChildKind;
use greenroom_actors::team::TeamsHandle;
use greenroom_actors::tool::{Tool, ToolSource};
use greenroom_protocol::Cause;
use greenroom_runtimes::files;

use super::actor_tree::{ActorTree, ChildSpec};
use super::category_spawner::{CategorySpawner, category_child};
use super::parts::PodParts;

/// The spawned tree and the handles that lead into it.
pub(crate) struct BuiltTree {
    /// The actors.
    pub tree: ActorTree,
    /// Consumes permits and invokes the actors.
    pub dispatcher: Dispatcher,
    /// The runs.
    pub runs: RunsHandle,
    /// Adds the supervisors of categories that a later catalogue names.
    pub spawner: CategorySpawner,
}

/// The handlers and tools that are compiled in.
pub(crate) struct NativeCode {
    /// The handlers.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// The tools.
    pub tools: Vec<Arc<dyn Tool>>,
}

/// The code of others: what executes it, and the tools that it provides.
pub(crate) struct ForeignCode {
    /// The runtimes.
    pub runtimes: Vec<Arc<dyn Runtime>>,
    /// The sources of tools.
    pub tool_sources: Vec<Arc<dyn ToolSource>>,
}

/// What all executions of this pod share.
pub(crate) fn execution_env(
    parts: &PodParts,
    native: NativeCode,
    foreign: ForeignCode,
    accounting: Accounting,
) -> Arc<ExecutionEnv> {
    let NativeCode { handlers, tools } = native;
    let ForeignCode { runtimes, tool_sources } = foreign;
    let files = files::open(parts.config.files_roots.clone());
    let files = FileSources::new(files, Arc::clone(&parts.stores.artifacts), Arc::clone(&parts.stores.runs));
    let (native, native_tools) = register_native(handlers, tools, accounting.clone());
    let built_in: [Arc<dyn Runtime>; 2] = [Arc::new(native), Arc::new(LlmRuntime)];
    let own_sources: [Arc<dyn ToolSource>; 2] = [Arc::new(AgentTools), Arc::new(native_tools)];
    ExecutionEnv::new(ExecutionEnvParts {
        runtimes: built_in.into_iter().chain(runtimes).collect(),
        tool_sources: own_sources.into_iter().chain(tool_sources).collect(),
        files,
        models: parts.models.clone(),
        accounting,
        pipeline: parts.pipeline.clone(),
        resolver: parts.definitions.clone(),
        observer: Arc::clone(&parts.observer),
        clock: Arc::clone(&parts.clock),
        ids: Arc::clone(&parts.ids),
    })
}

/// Spawns the tree: guard, categories, teams, runs.
///
/// # Errors
/// Those of the first child that does not start.
pub(crate) async fn spawn_tree(parts: &PodParts, env: &Arc<ExecutionEnv>) -> Result<BuiltTree, Cause> {
    let mut children = vec![guard_child(&parts.guard, &parts.observer)];
    let categories = CategoryHandles::default();
    for category in parts.definitions.catalogue().categories() {
        let handle = CategoryHandle::new(category.id.clone(), Arc::clone(env), CategoryConfig::default());
        children.push(category_child(&handle));
        categories.insert(handle);
    }
    let runs = RunsHandle::new(RunEnv {
        pipeline: parts.pipeline.clone(),
        resolver: parts.definitions.clone(),
        stores: parts.stores.clone(),
        clock: Arc::clone(&parts.clock),
        observer: Arc::clone(&parts.observer),
        budgets: Arc::clone(env.budgets()),
        admission: Arc::new(parts.admission.clone()),
        authenticator: parts.authenticator.clone(),
        ids: Arc::clone(&parts.ids),
        pod: parts.pod.clone(),
        lease: LEASE,
        park_delay: parts.config.park_delay,
        creates_runs_unowned: parts.creates_runs_unowned,
        step_deltas: parts.nats.as_ref().map(|nats| nats.step_texts() as Arc<dyn StepDeltas>),
    });
    let teams = TeamsHandle::new(runs.clone(), Arc::clone(env), CategoryConfig::default());
    children.push(teams_child(&teams));
    children.push(runs_child(&runs));
    let dispatcher = Dispatcher::new(DispatcherParts {
        categories: categories.clone(),
        runs: Arc::new(runs.clone()),
        teams: Arc::new(teams),
        env: Arc::clone(env),
        remote: Arc::clone(&parts.remote),
    });
    let tree = ActorTree::spawn(children, Arc::clone(&parts.observer)).await?;
    let spawner = CategorySpawner::new(tree.root_handle(), categories, Arc::clone(env));
    Ok(BuiltTree { tree, dispatcher, runs, spawner })
}

fn guard_child(guard: &GuardHandle, observer: &Arc<dyn Observer>) -> ChildSpec {
    let (guard, observer) = (guard.clone(), Arc::clone(observer));
    let spawn = move |root| {
        let (guard, observer) = (guard.clone(), Arc::clone(&observer));
        Box::pin(async move { guard.start_supervisor(observer, root).await }) as _
    };
    ChildSpec { kind: ChildKind::GuardSupervisor, spawn: Arc::new(spawn) }
}

fn teams_child(teams: &TeamsHandle) -> ChildSpec {
    let teams = teams.clone();
    let spawn = move |root| {
        let teams = teams.clone();
        Box::pin(async move { teams.start_supervisor(root).await }) as _
    };
    ChildSpec { kind: ChildKind::TeamSupervisor, spawn: Arc::new(spawn) }
}

fn runs_child(runs: &RunsHandle) -> ChildSpec {
    let runs = runs.clone();
    let spawn = move |root| {
        let runs = runs.clone();
        Box::pin(async move { runs.start_supervisor(root).await }) as _
    };
    ChildSpec { kind: ChildKind::RunSupervisor, spawn: Arc::new(spawn) }
}
