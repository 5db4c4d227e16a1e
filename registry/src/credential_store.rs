//! API keys, without their secrets, and the principals that identity providers vouch for: the rights of their last token,
//! and whether they are revoked.
//!
//! A pod remembers what it has read. A revocation raises the revision of the store, which each pod reads several times a
//! second; what it has read at another revision does not count any more.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::request::KeyScope;
use protocol::{ContentHash, PrincipalId, TenantId, Timestamp, UserId};

use crate::error::StoreError;

pub(crate) mod rows;

/// Keys that one list has.
pub const KEYS_LISTED_MAX: u32 = 10_000;

/// Who revoked a key or a principal, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Who has revoked it.
    pub by: PrincipalId,
    /// When it was revoked.
    pub at: Timestamp,
}

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its id, by which its principal is named.
    pub id: UserId,
    /// The SHA-256 of its text. The text has 256 random bits, so that no search finds it from the hash, and a slow hash
    /// would protect nothing.
    pub hash: ContentHash,
    /// The user for whom it acts.
    pub owner: PrincipalId,
    /// What it is for, in words.
    pub name: String,
    /// What it allows.
    pub scope: KeyScope,
    /// Who has created it.
    pub created_by: PrincipalId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Its revocation; `None` if it is not revoked.
    pub revocation: Option<Revocation>,
}

/// A principal that an identity provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectRecord {
    /// The rights of its last token, in the form of the pod that has verified it; `None` if no token was seen.
    pub rights: Option<String>,
    /// Its revocation; `None` if it is not revoked.
    pub revocation: Option<Revocation>,
}

/// Stores API keys and principals.
#[async_trait]
pub trait CredentialStore: Send + Sync {
    /// Returns the number of revocations and reinstatements so far. This is cheap: it reads one small row.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn revision(&self) -> Result<u64, StoreError>;

    /// Adds a key.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written, or another key has its id.
    async fn add_key(&self, key: ApiKeyRecord) -> Result<(), StoreError>;

    /// Returns a key, also one that is revoked or has ended; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn find_key(&self, id: &UserId) -> Result<Option<ApiKeyRecord>, StoreError>;

    /// Lists the keys of a tenant, or of all, the newest first, at most [`KEYS_LISTED_MAX`].
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn list_keys(&self, tenant: Option<&TenantId>) -> Result<Vec<ApiKeyRecord>, StoreError>;

    /// Revokes a key and raises the revision, in one transaction. The first revocation of a key remains.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written; it may be repeated.
    async fn revoke_key(&self, id: &UserId, revocation: Revocation) -> Result<(), StoreError>;

    /// Returns what is known of a principal; `None` if nothing is.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn find_subject(&self, id: &PrincipalId) -> Result<Option<SubjectRecord>, StoreError>;

    /// Stores the rights of the last token of a principal. A revocation of it is not changed.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be written; it may be repeated.
    async fn save_rights(&self, id: &PrincipalId, rights: String) -> Result<(), StoreError>;

    /// Revokes a principal, or reinstates it with `None`, and raises the revision, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written; it may be repeated.
    async fn set_revocation(&self, id: &PrincipalId, revocation: Option<Revocation>) -> Result<(), StoreError>;
}
