//! Which actors the tree has, in the order of its growth, and the stage on which permits reach them.

use std::sync::Arc;

use greenroom_actors::category::{Categories, Category, CategoryHandle, Manners};
use greenroom_actors::definition_resolver::Library as _;
use greenroom_actors::dispatcher::{self, Stage};
use greenroom_actors::execution::Backstage;
use greenroom_actors::guard::{GuardHandle, GuardKeeper};
use greenroom_actors::observer::Observer;
use greenroom_actors::pipeline::Doorway;
use greenroom_actors::run::{Hands, LEASE, Runs, RunsActor};
use greenroom_actors::supervision::ChildKind;
use greenroom_actors::team::{Teams, TeamsActor};
use greenroom_definitions::Catalogue;
use greenroom_protocol::{Cause, Clock};
use greenroom_registry::Stores;

use super::actor_tree::{Child, Tree, Trunk};
use crate::cached_definitions::Shelves;
use crate::config::Config;

/// What actors are made of.
pub struct Ground<'a> {
    /// What the process is told.
    pub config: &'a Config,
    /// The definitions.
    pub library: &'a Arc<Shelves>,
    /// The stores.
    pub stores: &'a Stores,
    /// The guard, whose keeper is to be spawned.
    pub guard: &'a GuardHandle,
    /// What executions share.
    pub backstage: &'a Arc<Backstage>,
    /// The way back in.
    pub doorway: &'a Doorway,
    /// Reads the wall clock.
    pub clock: &'a Arc<dyn Clock>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
}

/// What has grown.
pub struct Grown {
    /// The actors.
    pub tree: Tree,
    /// The way from a permit to an actor.
    pub stage: Stage,
    /// The way to the runs.
    pub runs: Runs,
    /// Where categories are added that a later catalogue names.
    pub nursery: Nursery,
}

/// Adds the supervisors of categories that were not in the catalogue when the tree grew.
pub struct Nursery {
    trunk: Trunk,
    categories: Categories,
    backstage: Arc<Backstage>,
}

impl Nursery {
    /// Sees to it that each category of this catalogue has its supervisor. One that the catalogue has
    /// lost keeps its own: runs may be pinned to its agents.
    ///
    /// # Errors
    /// What stands in the way of a supervisor; the catalogue must not come into force then.
    pub async fn prepare(&self, catalogue: &Catalogue) -> Result<(), Cause> {
        for category in catalogue.categories() {
            if self.categories.get(&category.id).is_none() {
                let handle = CategoryHandle::new(category.id.clone(), Arc::clone(&self.backstage), Manners::default());
                self.trunk.grow(category_child(&handle)).await?;
                self.categories.add(handle);
            }
        }
        Ok(())
    }
}

/// Grows the tree: guard, categories, teams, runs.
///
/// # Errors
/// What stands in the way of a child.
pub async fn grow(ground: Ground<'_>) -> Result<Grown, Cause> {
    let Ground { config, library, stores, guard, backstage, doorway, clock, observer } = ground;
    let mut children = vec![keeper(guard, &observer)];
    let categories = Categories::default();
    for category in library.catalogue().categories() {
        let handle = CategoryHandle::new(category.id.clone(), Arc::clone(backstage), Manners::default());
        children.push(category_child(&handle));
        categories.add(handle);
    }
    let runs = Runs::new(Hands {
        door: doorway.clone(),
        library: library.clone(),
        stores: stores.clone(),
        clock: Arc::clone(clock),
        observer: Arc::clone(&observer),
        budgets: Arc::clone(backstage.budgets()),
        pod: config.pod.clone(),
        lease: LEASE,
    });
    let teams = Teams::new(runs.clone(), Arc::clone(backstage), Manners::default());
    children.push(teams_child(&teams));
    children.push(runs_child(&runs));
    let (teams, here) = (Arc::new(teams), Arc::new(runs.clone()));
    let parts =
        dispatcher::Parts { categories: categories.clone(), runs: here, teams, backstage: Arc::clone(backstage) };
    let tree = Tree::grow(children, observer).await?;
    let nursery = Nursery { trunk: tree.trunk(), categories, backstage: Arc::clone(backstage) };
    Ok(Grown { tree, stage: Stage::new(parts), runs, nursery })
}

fn keeper(guard: &GuardHandle, observer: &Arc<dyn Observer>) -> Child {
    let (guard, observer) = (guard.clone(), Arc::clone(observer));
    let spawn = move |root| {
        let keeper = GuardKeeper::new(guard.clone(), Arc::clone(&observer));
        Box::pin(keeper.spawn_under(root)) as _
    };
    Child { kind: ChildKind::GuardKeeper, spawn: Arc::new(spawn) }
}

fn category_child(handle: &CategoryHandle) -> Child {
    let handle = handle.clone();
    Child {
        kind: ChildKind::Category,
        spawn: Arc::new(move |root| Box::pin(Category::spawn_under(handle.clone(), root)) as _),
    }
}

fn runs_child(runs: &Runs) -> Child {
    let runs = runs.clone();
    Child {
        kind: ChildKind::Runs,
        spawn: Arc::new(move |root| Box::pin(RunsActor::spawn_under(runs.clone(), root)) as _),
    }
}

fn teams_child(teams: &Teams) -> Child {
    let teams = teams.clone();
    let spawn = move |root| Box::pin(TeamsActor::spawn_under(teams.clone(), root)) as _;
    Child { kind: ChildKind::Teams, spawn: Arc::new(spawn) }
}
