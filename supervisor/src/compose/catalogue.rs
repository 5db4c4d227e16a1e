//! From the configuration to the catalogue: definitions are loaded and checked against the names that
//! handlers, tools, providers and the policy own.

use std::path::Path;
use std::sync::Arc;

use greenroom_actors::handler::Handler;
use greenroom_actors::tool::Tool;
use greenroom_definitions::{Catalogue, KnownNames, LoadOutcome, Source};
use greenroom_protocol::{CategoryId, Cause, ErrorCode, Json};
use greenroom_rego::Bundle;

use super::blocking::run_blocking;
use super::{models, policy};
use crate::config::Config;

/// Loads the configured definitions, or the embedded ones.
///
/// # Errors
/// [`ErrorCode::InvalidDefinition`] with every problem of every file.
pub async fn load(config: &Config, known_names: KnownNames) -> Result<Arc<Catalogue>, Cause> {
    let source = match &config.definitions_dir {
        Some(dir) => Source::Directory(dir.clone()),
        None => Source::Embedded,
    };
    let outcome = run_blocking(move || greenroom_definitions::load(&source, &known_names)).await?;
    require_catalogue(outcome)
}

/// Loads a directory of definitions.
///
/// # Errors
/// [`ErrorCode::InvalidDefinition`] with every problem of every file.
pub fn load_directory(dir: &Path, known_names: &KnownNames) -> Result<Arc<Catalogue>, Cause> {
    require_catalogue(greenroom_definitions::load(&Source::Directory(dir.to_owned()), known_names))
}

fn require_catalogue(outcome: LoadOutcome) -> Result<Arc<Catalogue>, Cause> {
    let LoadOutcome { catalogue, report } = outcome;
    catalogue.ok_or_else(|| {
        report.to_cause().unwrap_or_else(|| Cause::new(ErrorCode::Internal, "the loader returned no catalogue"))
    })
}

/// The names that definitions may use in this configuration, for commands that only check.
///
/// # Errors
/// [`ErrorCode::InvalidPolicy`] if the bundle, which owns the names of policies, cannot be read.
pub fn known_names(config: &Config) -> Result<KnownNames, Cause> {
    let bundle = policy::open_bundle(config)?;
    Ok(collect_known_names(config, &bundle, &greenroom_runtimes::handlers(), &greenroom_runtimes::tools()))
}

/// Collects the names that definitions may use from their owners.
#[must_use]
pub fn collect_known_names(
    config: &Config,
    bundle: &Bundle,
    handlers: &[Arc<dyn Handler>],
    tools: &[Arc<dyn Tool>],
) -> KnownNames {
    let keys = |path: &str| {
        let names = bundle.data().pointer(path).and_then(Json::as_object);
        names.map(|names| names.keys().map(String::as_str))
    };
    let known_names = KnownNames::new(
        keys("/cfg/policies").into_iter().flatten(),
        handlers.iter().map(|handler| handler.name()),
        tools.iter().map(|tool| tool.name()),
        models::provider_names(config),
    );
    match keys("/cfg/capabilities") {
        Some(capabilities) => known_names.with_policy_capabilities(capabilities),
        None => known_names,
    }
}

/// The categories of the configured catalogue.
///
/// # Errors
/// [`ErrorCode::InvalidDefinition`], [`ErrorCode::InvalidPolicy`].
pub async fn categories(config: &Config) -> Result<Vec<CategoryId>, Cause> {
    let catalogue = load(config, known_names(config)?).await?;
    Ok(catalogue.categories().map(|category| category.id.clone()).collect())
}
