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
mod reads;
mod trial;
mod validation;
mod warning;

pub use compiler::{CacheDir, CompiledBundle, Compiler};
pub use error::SnapshotError;
pub use warning::PolicyWarning;

use reads::KnownReads;
use trial::{Trial, Verdicts, Vocabulary};

/// A validated policy.
pub struct PolicySnapshot {
    module: Module,
    data: Json,
    revision: Arc<str>,
    hash: ContentHash,
    checks: BTreeMap<Action, Arc<[Arc<str>]>>,
    read_set: PolicyReadSet,
    warnings: Vec<PolicyWarning>,
    vocabulary: Vocabulary,
}

impl PolicySnapshot {
    /// Verifies the entrypoints and built-ins of a compiled bundle, reads its checks, and evaluates
    /// inputs: an empty one, which must be denied; generated ones whole and pruned, which must be decided
    /// equally; and a well-formed one. Tests have tried the embedded bundle, so it is not tried again.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn validate(compiled: CompiledBundle) -> Result<Arc<Self>, SnapshotError> {
        let CompiledBundle { module, data, revision, hash, reads, verdicts } = compiled;
        validation::require_native_builtins(&module)?;
        let mut instance = validation::new_instance(&module, &data).await?;
        let (checks, declaration) = validation::read_checks(&mut instance).await?;
        validation::empty_input_is_denied(&mut instance).await?;
        let is_proven = reads.is_embedded();
        let KnownReads { read_set, warnings, vocabulary } = reads.resolve(declaration);
        let snapshot = Self { module, data, revision, hash, checks, read_set, warnings, vocabulary };
        if !is_proven {
            snapshot.trial().run(&verdicts).await?;
        }
        validation::entrypoints_agree(&mut instance, &snapshot.read_set).await?;
        Ok(Arc::new(snapshot))
    }

    /// Evaluates generated inputs whole and pruned, and returns how many.
    ///
    /// # Errors
    /// [`SnapshotError::Pruning`] if a decision depends on a field that is not sent.
    pub async fn try_read_set(&self) -> Result<usize, SnapshotError> {
        self.trial().run(&Verdicts(None)).await
    }

    const fn trial(&self) -> Trial<'_> {
        let Self { module, data, hash, read_set, vocabulary, .. } = self;
        Trial { module, data, hash, read_set, vocabulary }
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

    /// The fields and names that the policy reads.
    #[must_use]
    pub const fn read_set(&self) -> &PolicyReadSet {
        &self.read_set
    }

    /// What an operator should know of the bundle.
    #[must_use]
    pub fn warnings(&self) -> &[PolicyWarning] {
        &self.warnings
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
