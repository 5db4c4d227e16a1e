//! Versions of definitions in memory.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use greenroom_protocol::ContentHash;

use crate::definition_store::{DefinitionStore, VersionInService, check_size};
use crate::error::StoreError;
use crate::in_memory::shared::lock;

/// The versions of definitions.
#[derive(Debug, Default)]
pub(super) struct InMemoryDefinitions {
    bodies: Mutex<HashMap<ContentHash, String>>,
    in_service: Mutex<(String, Vec<VersionInService>)>,
}

#[async_trait]
impl DefinitionStore for InMemoryDefinitions {
    async fn put(&self, hash: &ContentHash, body: &str) -> Result<(), StoreError> {
        check_size(body)?;
        lock(&self.bodies).entry(*hash).or_insert_with(|| body.to_owned());
        Ok(())
    }

    async fn get(&self, hash: &ContentHash) -> Result<Option<String>, StoreError> {
        Ok(lock(&self.bodies).get(hash).cloned())
    }

    async fn set_in_service(&self, source: &str, versions: &[VersionInService]) -> Result<(), StoreError> {
        versions.iter().try_for_each(|version| check_size(&version.body))?;
        let mut versions = versions.to_vec();
        versions.sort_by(|one, other| (&one.kind, &one.id).cmp(&(&other.kind, &other.id)));
        let bodies = versions.iter().map(|version| (version.hash, version.body.to_string()));
        lock(&self.bodies).extend(bodies);
        *lock(&self.in_service) = (source.to_owned(), versions);
        Ok(())
    }

    async fn list_in_service(&self, source: &str) -> Result<Vec<VersionInService>, StoreError> {
        let in_service = lock(&self.in_service);
        Ok(if in_service.0 == source { in_service.1.clone() } else { Vec::new() })
    }
}
