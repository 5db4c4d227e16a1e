//! The compilation and the validation of a bundle, before it becomes active or is stored for other pods.

use std::sync::Arc;

use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{Bundle, PolicySnapshot, SnapshotError};

/// Compiles a bundle where it may keep a core busy, and validates it.
pub(super) async fn validate(compiler: Compiler, bundle: Bundle) -> Result<Arc<PolicySnapshot>, SnapshotError> {
    let compiled = tokio::task::spawn_blocking(move || compiler.compile(&bundle)).await;
    let compiled = compiled.map_err(|error| SnapshotError::Compile(error.to_string()))??;
    PolicySnapshot::validate(compiled).await
}
