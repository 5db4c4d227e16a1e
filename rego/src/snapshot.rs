//! A policy bundle that is compiled and validated, and immutable from then on.
//!
//! The guard makes a new snapshot of each new bundle and gives it to every worker after validation, so
//! that policy, data and revision always belong together. If a bundle fails any step, the old snapshot
//! stays active.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_protocol::{ContentHash, Json};
use wasmtime::Module;

use crate::access_request::Action;
use crate::access_request::read_set::PolicyReadSet;
use crate::bundle::Bundle;

mod compiler;
mod error;
mod validation;

pub use compiler::{CacheDir, CompiledBundle, Compiler};
pub use error::SnapshotError;

/// A validated policy.
pub struct PolicySnapshot {
    module: Module,
    data: Json,
    revision: Arc<str>,
    hash: ContentHash,
    checks: BTreeMap<Action, Arc<[Arc<str>]>>,
    read_set: PolicyReadSet,
}

impl PolicySnapshot {
    /// Verifies the entrypoints and built-ins of a compiled bundle, reads its checks, and evaluates
    /// two inputs: an empty one, which must be denied, and a well-formed one.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn validate(compiled: CompiledBundle) -> Result<Arc<Self>, SnapshotError> {
        let CompiledBundle { module, data, revision, hash } = compiled;
        validation::require_native_builtins(&module)?;
        let mut instance = validation::new_instance(&module, &data).await?;
        let (checks, read_set) = validation::read_checks(&mut instance).await?;
        validation::empty_input_is_denied(&mut instance).await?;
        validation::entrypoints_agree(&mut instance, &read_set).await?;
        Ok(Arc::new(Self { module, data, revision, hash, checks, read_set }))
    }

    /// Compiles and validates a bundle. The compilation blocks the thread, see [`Compiler::compile`].
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn load(compiler: &Compiler, bundle: &Bundle) -> Result<Arc<Self>, SnapshotError> {
        Self::validate(compiler.compile(bundle)?).await
    }

    /// The revision that replies and audit entries name.
    #[must_use]
    pub const fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// The hash of the bundle's bytes.
    #[must_use]
    pub const fn hash(&self) -> &ContentHash {
        &self.hash
    }

    /// The checks that an allowed action has passed.
    #[must_use]
    pub fn checks(&self, action: Action) -> Arc<[Arc<str>]> {
        self.checks.get(&action).cloned().unwrap_or_default()
    }

    /// The fields and names that the policy declares to read.
    #[must_use]
    pub const fn read_set(&self) -> &PolicyReadSet {
        &self.read_set
    }

    pub(crate) const fn module(&self) -> &Module {
        &self.module
    }

    /// The document that rules read as `data`.
    #[must_use]
    pub const fn data(&self) -> &Json {
        &self.data
    }
}
