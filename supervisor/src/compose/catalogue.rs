//! From the configuration to the catalogue: definitions are loaded and checked against the names that
//! handlers, tools, providers and the policy own. Invalid ones are quarantined, unless the configuration is strict;
//! those that were applied for every pod are all valid.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use greenroom_actors::handler::Handler;
use greenroom_actors::tool::Tool;
use greenroom_definitions::{Catalogue, FileSet, KnownNames, LoadOutcome, Report, Source};
use greenroom_protocol::{CategoryId, Cause, ErrorCode, Json};

use super::blocking::run_blocking;
use super::{models, outbound, policy};
use crate::config::Config;
use crate::sources::OwnSources;

/// Definitions that one load logs; the others are only counted.
const LOGGED_MAX: usize = 20;

/// The configured source of definitions, whose files are read already if they are in a bucket.
///
/// # Errors
/// Those of a bucket.
pub async fn source(config: &Config) -> Result<Source, Cause> {
    OwnSources::open(config)?.definitions().await
}

/// Loads the definitions of a source.
///
/// # Errors
/// [`ErrorCode::InvalidDefinition`] with every problem of every file, if there is one and the configuration is strict.
pub async fn load(source: Source, strict: bool, known_names: KnownNames) -> Result<LoadOutcome, Cause> {
    let outcome = run_blocking(move || greenroom_definitions::load(&source, &known_names)).await?;
    if strict && let Some(cause) = outcome.report.to_cause() {
        return Err(cause);
    }
    Ok(outcome)
}

/// Loads definitions over the active catalogue.
///
/// # Errors
/// As [`require_catalogue`]; the active catalogue must remain active then.
pub fn reload(
    source: &Source,
    known_names: &KnownNames,
    active: &Catalogue,
    strict: bool,
) -> Result<Arc<Catalogue>, Cause> {
    require_catalogue(greenroom_definitions::load_over(source, known_names, Some(active)), strict)
}

/// Loads definitions of which each must be valid. The report has the warnings.
///
/// # Errors
/// [`ErrorCode::InvalidDefinition`] with every problem of every file.
pub(crate) async fn load_valid(files: FileSet, known_names: KnownNames) -> Result<(Arc<Catalogue>, Report), Cause> {
    let loading = move || greenroom_definitions::load(&Source::Files(files), &known_names);
    let LoadOutcome { catalogue, report } = run_blocking(loading).await?;
    let catalogue = require_catalogue(LoadOutcome { catalogue, report: report.clone() }, true)?;
    Ok((catalogue, report))
}

/// When definitions are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadTime {
    /// When the pod starts.
    Start,
    /// While it runs.
    Reload,
}

/// Logs each quarantined definition as an error; as a warning if its file has become invalid while the pod runs, and
/// its last valid version remains in service.
pub fn log_quarantined(catalogue: &Catalogue, time: LoadTime) {
    let count = catalogue.quarantined().len();
    for quarantined in catalogue.quarantined().take(LOGGED_MAX) {
        let (kind, id) = (quarantined.kind.as_str(), quarantined.id.as_str());
        let (file, problem) = (quarantined.file.display(), quarantined.reason());
        match (quarantined.in_service, time) {
            (None, _) => tracing::error!(
                definition.kind = kind, definition.id = id, definition.file = %file, error.message = problem,
                "invalid definition quarantined, it is out of service"
            ),
            (Some(version), LoadTime::Start) => tracing::error!(
                definition.kind = kind, definition.id = id, definition.file = %file, error.message = problem,
                definition.version = version.short(),
                "invalid definition quarantined, its last valid version is in service"
            ),
            (Some(version), LoadTime::Reload) => tracing::warn!(
                definition.kind = kind, definition.id = id, definition.file = %file, error.message = problem,
                definition.version = version.short(),
                "invalid definition quarantined, its last valid version is in service"
            ),
        }
    }
    if count > LOGGED_MAX {
        tracing::error!(definitions.quarantined = count, "more invalid definitions are quarantined than are logged");
    }
}

/// The catalogue of a load.
///
/// # Errors
/// [`ErrorCode::InvalidDefinition`] with every problem of every file, if no definition is in service, or if there is a
/// problem and the configuration is strict.
pub(crate) fn require_catalogue(outcome: LoadOutcome, strict: bool) -> Result<Arc<Catalogue>, Cause> {
    let LoadOutcome { catalogue, report } = outcome;
    if let (true, Some(cause)) = (strict, report.to_cause()) {
        return Err(cause);
    }
    catalogue.ok_or_else(|| {
        report.to_cause().unwrap_or_else(|| Cause::new(ErrorCode::Internal, "the loader returned no catalogue"))
    })
}

/// The names that definitions may use in this configuration, for commands that only check.
///
/// # Errors
/// [`ErrorCode::InvalidPolicy`] if the bundle, which owns the names of policies, cannot be read; those of the documents of
/// tools.
pub async fn known_names(config: &Config) -> Result<KnownNames, Cause> {
    let bundle = policy::open_bundle(config).await?;
    let tool_names = outbound::tool_names(config).await?;
    let host_names = host_names(config, &greenroom_runtimes::handlers(), &greenroom_runtimes::tools(), tool_names);
    Ok(with_policy(host_names, bundle.data()))
}

/// Collects the names that definitions may use from their owners, except for those of the policy. The tools of configured
/// sources come with their schemes.
#[must_use]
pub fn host_names(
    config: &Config,
    handlers: &[Arc<dyn Handler>],
    tools: &[Arc<dyn Tool>],
    source_tools: impl IntoIterator<Item = String>,
) -> KnownNames {
    KnownNames::new(
        [],
        handlers.iter().map(|handler| handler.name()),
        tools.iter().map(|tool| tool.name()),
        models::provider_names(config),
    )
    .with_python_handlers(config.python.configured_folder().map(Path::to_owned))
    .with_components(config.wasm.as_ref().map(|wasm| wasm.components.clone()))
    .with_tools(source_tools)
    .with_tool_servers(config.mcp.servers.iter().map(|server| server.name.as_str()))
}

/// The known names with those that the data of a policy has instead of those of another policy.
#[must_use]
pub fn with_policy(known_names: KnownNames, data: &Json) -> KnownNames {
    let keys = |path: &str| {
        let names = data.pointer(path).and_then(Json::as_object);
        names.map(|names| names.keys().cloned().collect::<BTreeSet<String>>())
    };
    let (policies, policy_capabilities) = (keys("/cfg/policies").unwrap_or_default(), keys("/cfg/capabilities"));
    KnownNames { policies, policy_capabilities, ..known_names }
}

/// The categories of the configured catalogue.
///
/// # Errors
/// [`ErrorCode::InvalidDefinition`], [`ErrorCode::InvalidPolicy`].
pub async fn categories(config: &Config) -> Result<Vec<CategoryId>, Cause> {
    let (source, known_names) = (source(config).await?, known_names(config).await?);
    let catalogue = require_catalogue(load(source, config.strict, known_names).await?, config.strict)?;
    Ok(catalogue.categories().map(|category| category.id.clone()).collect())
}
