//! Adds supervisors of categories to a running actor tree.

use std::sync::Arc;

use greenroom_actors::category::{CategoryConfig, CategoryHandle, CategoryHandles};
use greenroom_actors::execution::ExecutionEnv;
use greenroom_actors::supervision::ChildKind;
use greenroom_definitions::Catalogue;
use greenroom_protocol::Cause;

use super::actor_tree::{ChildSpec, RootHandle};

/// Adds the supervisors of categories that were not in the catalogue when the tree was spawned.
#[derive(Clone)]
pub(crate) struct CategorySpawner {
    root: RootHandle,
    categories: CategoryHandles,
    env: Arc<ExecutionEnv>,
}

impl CategorySpawner {
    /// A spawner that adds children to this root.
    pub(super) const fn new(root: RootHandle, categories: CategoryHandles, env: Arc<ExecutionEnv>) -> Self {
        Self { root, categories, env }
    }

    /// Ensures that each category of this catalogue has a supervisor. A category that the catalogue no
    /// longer has keeps its supervisor: runs may be pinned to its agents.
    ///
    /// # Errors
    /// Those of starting a supervisor; the catalogue must not become active then.
    pub(crate) async fn ensure_supervisors(&self, catalogue: &Catalogue) -> Result<(), Cause> {
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

/// The child spec of a category's supervisor.
pub(super) fn category_child(handle: &CategoryHandle) -> ChildSpec {
    let handle = handle.clone();
    ChildSpec {
        kind: ChildKind::Category,
        spawn: Arc::new(move |root| {
            let handle = handle.clone();
            Box::pin(async move { handle.start_supervisor(root).await }) as _
        }),
    }
}
