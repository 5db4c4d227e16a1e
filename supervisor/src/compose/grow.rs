//! Which actors the tree has, in the order of its growth, and the stage on which permits reach them.

use std::sync::Arc;

use greenroom_actors::category::{Category, CategoryHandle, Manners};
use greenroom_actors::door::Doorway;
use greenroom_actors::execution::Backstage;
use greenroom_actors::guard::{GuardHandle, GuardKeeper};
use greenroom_actors::library::Library as _;
use greenroom_actors::observe::Observer;
use greenroom_actors::stage::{self, Stage};
use greenroom_actors::supervision::ChildKind;
use greenroom_protocol::{Cause, Clock};
use greenroom_registry::Stores;

use super::tree::{Child, Tree};
use crate::config::Config;
use crate::library::Shelves;

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

/// Grows the tree: guard, categories, teams, runs.
///
/// # Errors
/// What stands in the way of a child.
pub async fn grow(ground: Ground<'_>) -> Result<(Tree, Stage), Cause> {
    let Ground { config, library, stores, guard, backstage, doorway, clock, observer } = ground;
    let mut children = vec![keeper(guard, &observer)];
    let mut categories = Vec::new();
    for category in library.catalogue().categories() {
        let handle = CategoryHandle::new(category.id.clone(), Arc::clone(backstage), Manners::default());
        children.push(category_child(&handle));
        categories.push(handle);
    }
    let _ = (config, stores, doorway, clock);
    let absent = Arc::new(super::absent::Absent);
    let parts = stage::Parts { categories, runs: absent.clone(), teams: absent, backstage: Arc::clone(backstage) };
    Ok((Tree::grow(children, observer).await?, Stage::new(parts)))
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
    Child { kind: ChildKind::Category, spawn: Arc::new(move |root| Box::pin(Category::spawn_under(handle.clone(), root)) as _) }
}
