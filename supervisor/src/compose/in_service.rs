//! The definitions in service, as the store has them for the next process. A definition whose file is invalid when
//! a process starts remains in service in its last valid version, as it does while a process runs.

use std::path::PathBuf;
use std::sync::Arc;

use greenroom_definitions::{
    Catalogue, DefinitionKind, KnownNames, LoadOutcome, Source, StoredDefinition, load_after_restart,
};
use greenroom_protocol::Cause;
use greenroom_registry::definition_store::{DefinitionStore, VersionInService};

use super::blocking::run_blocking;
use super::catalogue;
use crate::config::{Config, SourceLocation};

/// Stores the definitions of the configured source that are in service.
pub(crate) struct InService {
    store: Arc<dyn DefinitionStore>,
    /// The name of the source; `None` for the embedded definitions, which are always valid.
    source: Option<String>,
    strict: bool,
}

impl InService {
    /// For the definitions of this configuration.
    pub(crate) fn new(config: &Config, store: Arc<dyn DefinitionStore>) -> Self {
        let source = config.definitions.as_ref().map(SourceLocation::absolute);
        Self { store, source, strict: config.strict }
    }

    /// The catalogue of a load; if a definition is quarantined, that of the source over the versions that were in service
    /// last.
    ///
    /// # Errors
    /// As [`catalogue::require_catalogue`]; those of the store.
    pub(crate) async fn with_last_valid(
        &self,
        outcome: LoadOutcome,
        source: Source,
        known_names: &KnownNames,
    ) -> Result<Arc<Catalogue>, Cause> {
        let is_complete = outcome.catalogue.as_ref().is_some_and(|catalogue| catalogue.quarantined().len() == 0);
        let outcome = match self.source.as_ref().filter(|_| !is_complete) {
            Some(name) => match self.last(name).await? {
                Some(last) => {
                    let known_names = known_names.clone();
                    run_blocking(move || load_after_restart(&source, &known_names, &last)).await?
                }
                None => outcome,
            },
            None => outcome,
        };
        catalogue::require_catalogue(outcome, self.strict)
    }

    /// Stores what is in service. A failure does not stop the pod: only a definition that becomes invalid before the
    /// next process starts needs it.
    pub(crate) async fn store(&self, catalogue: &Catalogue) {
        let Some(source) = &self.source else { return };
        let versions: Vec<VersionInService> = catalogue.to_stored().into_iter().map(to_version).collect();
        if let Err(error) = self.store.set_in_service(source, &versions).await {
            tracing::error!(error.message = %error, "cannot store which versions of definitions are in service");
        }
    }

    /// The catalogue of the versions that were in service last; `None` if the store has none of this source.
    async fn last(&self, source: &str) -> Result<Option<Catalogue>, Cause> {
        let versions = self.store.list_in_service(source).await.map_err(|error| error.cause())?;
        let stored: Vec<StoredDefinition> = versions.into_iter().filter_map(to_stored).collect();
        if stored.is_empty() {
            return Ok(None);
        }
        let (catalogue, unreadable) = Catalogue::from_stored(stored);
        for definition in unreadable {
            tracing::warn!(
                definition.kind = definition.key.0.as_str(),
                definition.id = definition.key.1,
                error.message = definition.cause.message,
                "last valid version of definition cannot be read"
            );
        }
        Ok(Some(catalogue))
    }
}

fn to_version(stored: StoredDefinition) -> VersionInService {
    let StoredDefinition { kind, id, file, hash, body } = stored;
    let file = file.and_then(|file| file.into_os_string().into_string().ok());
    VersionInService { kind: kind.name().to_owned(), id, file, hash, body }
}

/// `None` for a kind of a newer release.
fn to_stored(version: VersionInService) -> Option<StoredDefinition> {
    let VersionInService { kind, id, file, hash, body } = version;
    Some(StoredDefinition { kind: DefinitionKind::from_name(&kind)?, id, file: file.map(PathBuf::from), hash, body })
}
