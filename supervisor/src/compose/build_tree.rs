//! Which actors the tree has, in the order of its growth, and the stage on which permits reach them.

use std::sync::Arc;

use greenroom_actors::category::{CategoryConfig, CategoryHandle, CategoryHandles, CategorySupervisor};
use greenroom_actors::definition_resolver::DefinitionResolver as _;
use greenroom_actors::dispatcher::{self, Dispatcher};
use greenroom_actors::execution::ExecutionEnv;
use greenroom_actors::guard::{GuardHandle, GuardSupervisor};
use greenroom_actors::observer::Observer;
use greenroom_actors::pipeline::PipelineHandle;
use greenroom_actors::run::{LEASE, RunEnv, RunSupervisor, RunsHandle};
use greenroom_actors::supervision::ChildKind;
use greenroom_actors::team::{TeamSupervisor, TeamsHandle};
use greenroom_definitions::Catalogue;
use greenroom_protocol::{Cause, Clock};
use greenroom_registry::Stores;

use super::actor_tree::{ActorTree, ChildSpec, RootHandle};
use crate::cached_definitions::CachedDefinitions;
use crate::config::Config;

/// What actors are made of.
pub struct TreeParts<'a> {
    /// What the process is told.
    pub config: &'a Config,
    /// The definitions.
    pub definitions: &'a Arc<CachedDefinitions>,
    /// The stores.
    pub stores: &'a Stores,
    /// The guard, whose keeper is to be spawned.
    pub guard: &'a GuardHandle,
    /// What executions share.
    pub env: &'a Arc<ExecutionEnv>,
    /// The way back in.
    pub pipeline: &'a PipelineHandle,
    /// Reads the wall clock.
    pub clock: &'a Arc<dyn Clock>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
}

/// What has grown.
pub struct BuiltTree {
    /// The actors.
    pub tree: ActorTree,
    /// The way from a permit to an actor.
    pub dispatcher: Dispatcher,
    /// The way to the runs.
    pub runs: RunsHandle,
    /// Where categories are added that a later catalogue names.
    pub spawner: CategorySpawner,
}

/// Adds the supervisors of categories that were not in the catalogue when the tree grew.
pub struct CategorySpawner {
    root: RootHandle,
    categories: CategoryHandles,
    env: Arc<ExecutionEnv>,
}

impl CategorySpawner {
    /// Sees to it that each category of this catalogue has its supervisor. One that the catalogue has
    /// lost keeps its own: runs may be pinned to its agents.
    ///
    /// # Errors
    /// What stands in the way of a supervisor; the catalogue must not come into force then.
    pub async fn ensure_supervisors(&self, catalogue: &Catalogue) -> Result<(), Cause> {
        for category in catalogue.categories() {
            if self.categories.get(&category.id).is_none() {
                let handle = CategoryHandle::new(category.id.clone(), Arc::clone(&self.env), CategoryConfig::default());
                self.root.add_child(category_child(&handle)).await?;
                self.categories.insert(handle);
            }
        }
        Ok(())
    }
}

/// Grows the tree: guard, categories, teams, runs.
///
/// # Errors
/// What stands in the way of a child.
pub async fn build_tree(ground: TreeParts<'_>) -> Result<BuiltTree, Cause> {
    let TreeParts { config, definitions, stores, guard, env, pipeline, clock, observer } = ground;
    let mut children = vec![supervisor(guard, &observer)];
    let categories = CategoryHandles::default();
    for category in definitions.catalogue().categories() {
        let handle = CategoryHandle::new(category.id.clone(), Arc::clone(env), CategoryConfig::default());
        children.push(category_child(&handle));
        categories.insert(handle);
    }
    let runs = RunsHandle::new(RunEnv {
        pipeline: pipeline.clone(),
        resolver: definitions.clone(),
        stores: stores.clone(),
        clock: Arc::clone(clock),
        observer: Arc::clone(&observer),
        budgets: Arc::clone(env.budgets()),
        pod: config.pod.clone(),
        lease: LEASE,
    });
    let teams = TeamsHandle::new(runs.clone(), Arc::clone(env), CategoryConfig::default());
    children.push(teams_child(&teams));
    children.push(runs_child(&runs));
    let (teams, here) = (Arc::new(teams), Arc::new(runs.clone()));
    let parts = dispatcher::DispatcherParts { categories: categories.clone(), runs: here, teams, env: Arc::clone(env) };
    let tree = ActorTree::spawn(children, observer).await?;
    let spawner = CategorySpawner { root: tree.root_handle(), categories, env: Arc::clone(env) };
    Ok(BuiltTree { tree, dispatcher: Dispatcher::new(parts), runs, spawner })
}

fn supervisor(guard: &GuardHandle, observer: &Arc<dyn Observer>) -> ChildSpec {
    let (guard, observer) = (guard.clone(), Arc::clone(observer));
    let spawn = move |root| {
        let supervisor = GuardSupervisor::new(guard.clone(), Arc::clone(&observer));
        Box::pin(supervisor.start_linked(root)) as _
    };
    ChildSpec { kind: ChildKind::GuardKeeper, spawn: Arc::new(spawn) }
}

fn category_child(handle: &CategoryHandle) -> ChildSpec {
    let handle = handle.clone();
    ChildSpec {
        kind: ChildKind::Category,
        spawn: Arc::new(move |root| Box::pin(CategorySupervisor::start_linked(handle.clone(), root)) as _),
    }
}

fn runs_child(runs: &RunsHandle) -> ChildSpec {
    let runs = runs.clone();
    ChildSpec {
        kind: ChildKind::Runs,
        spawn: Arc::new(move |root| Box::pin(RunSupervisor::start_linked(runs.clone(), root)) as _),
    }
}

fn teams_child(teams: &TeamsHandle) -> ChildSpec {
    let teams = teams.clone();
    let spawn = move |root| Box::pin(TeamSupervisor::start_linked(teams.clone(), root)) as _;
    ChildSpec { kind: ChildKind::Teams, spawn: Arc::new(spawn) }
}
