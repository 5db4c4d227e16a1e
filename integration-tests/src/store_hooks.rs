//! Decorators of all stores, which report writes and some reads to a hook: a test decides there what fails, or where
//! the process crashes. The product contains none of this: the pod is assembled with decorated stores through
//! [`greenroom_supervisor::compose::Overrides`].

use std::future::Future;
use std::sync::Arc;

use greenroom_registry::{StoreError, Stores};

mod core;
mod runs;
mod values;

/// The reads that are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookedRead {
    /// The usage of a user, also when a request is counted.
    Usage,
    /// The record of a run.
    Run,
    /// The journal of a run.
    Journal,
}

/// What happens around the calls of the stores.
pub trait StoreHook: Send + Sync + 'static {
    /// Called before a write. True if the process is aborted as soon as the write is durable, as `kill -9` would do it; a
    /// write that was only submitted is awaited in that case, so that the point is the same in every run.
    fn before_write(&self) -> bool {
        false
    }

    /// Called before a read.
    ///
    /// # Errors
    /// The error of the read, which is then not executed.
    fn before_read(&self, _read: HookedRead) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A store with a hook.
struct Hooked<S: ?Sized> {
    inner: Arc<S>,
    hook: Arc<dyn StoreHook>,
}

impl<S: ?Sized> Hooked<S> {
    async fn write_through<T>(&self, write: impl Future<Output = T> + Send) -> T {
        let is_crash_point = self.hook.before_write();
        let result = write.await;
        if is_crash_point {
            std::process::abort();
        }
        result
    }
}

/// Decorates the stores.
#[must_use]
pub fn wrap(stores: Stores, hook: &Arc<impl StoreHook>) -> Stores {
    let Stores { core, runs, journal, ledger, context, artifacts, definitions, memory, maintenance, .. } =
        stores.clone();
    let hook = || -> Arc<dyn StoreHook> { Arc::clone(hook) as Arc<dyn StoreHook> };
    Stores {
        core: Arc::new(Hooked { inner: core, hook: hook() }),
        runs: Arc::new(Hooked { inner: runs, hook: hook() }),
        journal: Arc::new(Hooked { inner: journal, hook: hook() }),
        ledger: Arc::new(Hooked { inner: ledger, hook: hook() }),
        context: Arc::new(Hooked { inner: context, hook: hook() }),
        artifacts: Arc::new(Hooked { inner: artifacts, hook: hook() }),
        definitions: Arc::new(Hooked { inner: definitions, hook: hook() }),
        memory: Arc::new(Hooked { inner: memory, hook: hook() }),
        maintenance: Arc::new(Hooked { inner: maintenance, hook: hook() }),
        // The audit and the idempotency keys are written by units, and their reads are not reported.
        ..stores
    }
}
