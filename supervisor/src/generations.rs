//! Between a stored generation and the definitions or the policy bundle that it is of.

use std::path::PathBuf;
use std::sync::Arc;

use greenroom_definitions::FileSet;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::generation_store::{Generation, GenerationFiles, GenerationKind, GenerationStore};
use greenroom_rego::Bundle;
use greenroom_rego::bundle::BUNDLE_NAME;

/// Reads a generation.
///
/// # Errors
/// Those of the store; [`ErrorCode::StoreUnavailable`] for one that was removed, because newer ones were applied since.
pub(crate) async fn read(store: &dyn GenerationStore, kind: GenerationKind, number: u64) -> Result<Generation, Cause> {
    let removed = || {
        let message = format!("generation {number} of the {} is not stored any more", kind.as_str());
        Cause::new(ErrorCode::StoreUnavailable, message)
    };
    store.get(kind, number).await.map_err(|error| error.cause())?.ok_or_else(removed)
}

/// The files of definitions, for a load.
pub(crate) fn definition_files(generation: Generation) -> FileSet {
    FileSet { name: PathBuf::from(generation.info.source), files: generation.files }
}

/// The policy bundle.
///
/// # Errors
/// [`ErrorCode::InvalidPolicy`] if it is none that this release can read.
pub(crate) fn policy_bundle(generation: &Generation) -> Result<Bundle, Cause> {
    let missing = || Cause::new(ErrorCode::InvalidPolicy, format!("the generation has no {BUNDLE_NAME}"));
    Bundle::read(generation.files.get(BUNDLE_NAME).ok_or_else(missing)?).map_err(Cause::from)
}

/// The files of a generation of this policy bundle.
pub(crate) fn bundle_files(bytes: Vec<u8>) -> GenerationFiles {
    GenerationFiles::from([(BUNDLE_NAME.to_owned(), Arc::from(bytes))])
}
