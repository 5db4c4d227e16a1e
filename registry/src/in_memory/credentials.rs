//! API keys and principals in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{PrincipalId, TenantId, UserId};

use crate::credential_store::{ApiKeyRecord, CredentialStore, KEYS_LISTED_MAX, Revocation, SubjectRecord};
use crate::error::StoreError;
use crate::in_memory::shared::lock;

/// The keys and principals.
#[derive(Debug, Default)]
pub(super) struct InMemoryCredentials(Mutex<Stored>);

#[derive(Debug, Default)]
struct Stored {
    revision: u64,
    keys: BTreeMap<UserId, ApiKeyRecord>,
    subjects: BTreeMap<PrincipalId, SubjectRecord>,
}

#[async_trait]
impl CredentialStore for InMemoryCredentials {
    async fn revision(&self) -> Result<u64, StoreError> {
        Ok(lock(&self.0).revision)
    }

    async fn add_key(&self, key: ApiKeyRecord) -> Result<(), StoreError> {
        let mut stored = lock(&self.0);
        if stored.keys.contains_key(&key.id) {
            return Err(StoreError::Failed(format!("there is another key {}", key.id)));
        }
        stored.keys.insert(key.id.clone(), key);
        Ok(())
    }

    async fn find_key(&self, id: &UserId) -> Result<Option<ApiKeyRecord>, StoreError> {
        Ok(lock(&self.0).keys.get(id).cloned())
    }

    async fn list_keys(&self, tenant: Option<&TenantId>) -> Result<Vec<ApiKeyRecord>, StoreError> {
        let stored = lock(&self.0);
        let is_listed = |key: &&ApiKeyRecord| tenant.is_none_or(|tenant| key.owner.tenant == *tenant);
        let mut keys: Vec<_> = stored.keys.values().filter(is_listed).cloned().collect();
        keys.sort_by(|a, b| (b.created_at, &a.id).cmp(&(a.created_at, &b.id)));
        keys.truncate(KEYS_LISTED_MAX as usize);
        Ok(keys)
    }

    async fn revoke_key(&self, id: &UserId, revocation: Revocation) -> Result<(), StoreError> {
        let mut stored = lock(&self.0);
        if let Some(key) = stored.keys.get_mut(id) {
            key.revocation.get_or_insert(revocation);
        }
        stored.revision = stored.revision.saturating_add(1);
        Ok(())
    }

    async fn find_subject(&self, id: &PrincipalId) -> Result<Option<SubjectRecord>, StoreError> {
        Ok(lock(&self.0).subjects.get(id).cloned())
    }

    async fn save_rights(&self, id: &PrincipalId, rights: String) -> Result<(), StoreError> {
        let mut stored = lock(&self.0);
        let none = SubjectRecord { rights: None, revocation: None };
        stored.subjects.entry(id.clone()).or_insert(none).rights = Some(rights);
        Ok(())
    }

    async fn set_revocation(&self, id: &PrincipalId, revocation: Option<Revocation>) -> Result<(), StoreError> {
        let mut stored = lock(&self.0);
        let none = SubjectRecord { rights: None, revocation: None };
        stored.subjects.entry(id.clone()).or_insert(none).revocation = revocation;
        stored.revision = stored.revision.saturating_add(1);
        Ok(())
    }
}
