//! API keys and principals in PostgreSQL. A revocation and the revision that it raises are one transaction, so a pod that
//! reads the revision afterwards reads the revocation too.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{PrincipalId, TenantId, UserId};

use crate::columns::Columns as _;
use crate::credential_store::rows::{decode_key, decode_subject, scope_text};
use crate::credential_store::{ApiKeyRecord, CredentialStore, KEYS_LISTED_MAX, Revocation, SubjectRecord};
use crate::error::StoreError;
use crate::postgres::error::sqlx_error;
use crate::postgres::handle::StoreHandle;
use crate::postgres::readers::Reader;
use crate::postgres::transaction::{begin, commit};

const SELECT_REVISION: &str = "SELECT revision FROM credential_revision";
const SELECT_KEY: &str = "SELECT id, hash, issuer, tenant, user_id AS \"user\", name, scope, created_by, created_at, \
                          expires_at, revoked_by, revoked_at FROM api_keys WHERE id = $1";
const SELECT_KEYS: &str = "SELECT id, hash, issuer, tenant, user_id AS \"user\", name, scope, created_by, created_at, \
                           expires_at, revoked_by, revoked_at FROM api_keys \
                           WHERE $1::text IS NULL OR tenant = $1::text \
                           ORDER BY created_at DESC, id COLLATE \"C\" LIMIT $2";
const SELECT_SUBJECT: &str =
    "SELECT rights, revoked_by, revoked_at FROM subjects WHERE issuer = $1 AND tenant = $2 AND user_id = $3";

const RAISE_REVISION: &str = "UPDATE credential_revision SET revision = revision + 1";
const INSERT_KEY: &str = "INSERT INTO api_keys (id, hash, issuer, tenant, user_id, name, scope, created_by, \
                          created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const REVOKE_KEY: &str = "UPDATE api_keys SET revoked_by = $2, revoked_at = $3 WHERE id = $1 AND revoked_by IS NULL";
const UPSERT_RIGHTS: &str = "INSERT INTO subjects (issuer, tenant, user_id, rights) VALUES ($1, $2, $3, $4) \
                             ON CONFLICT (issuer, tenant, user_id) DO UPDATE SET rights = excluded.rights";
const UPSERT_REVOCATION: &str = "INSERT INTO subjects (issuer, tenant, user_id, revoked_by, revoked_at) \
                                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (issuer, tenant, user_id) DO UPDATE \
                                 SET revoked_by = excluded.revoked_by, revoked_at = excluded.revoked_at";

/// The keys and principals.
pub(super) struct PostgresCredentials(pub(super) StoreHandle);

#[async_trait]
impl CredentialStore for PostgresCredentials {
    async fn revision(&self) -> Result<u64, StoreError> {
        let row = sqlx::query(SELECT_REVISION).fetch_one(&self.0.readers).await.map_err(|error| sqlx_error(&error))?;
        row.number("revision")
    }

    async fn add_key(&self, key: ApiKeyRecord) -> Result<(), StoreError> {
        let scope = scope_text(&key.scope)?;
        let mut transaction = begin(&self.0).await?;
        sqlx::query(INSERT_KEY)
            .bind(key.id.as_str())
            .bind(key.hash.as_bytes().as_slice())
            .bind(key.owner.issuer.as_str())
            .bind(key.owner.tenant.as_str())
            .bind(key.owner.user.as_str())
            .bind(key.name)
            .bind(scope)
            .bind(key.created_by.to_string())
            .bind(key.created_at.as_micros())
            .bind(key.expires_at.as_micros())
            .execute(&mut *transaction)
            .await
            .map_err(|error| sqlx_error(&error))?;
        commit(transaction).await
    }

    async fn find_key(&self, id: &UserId) -> Result<Option<ApiKeyRecord>, StoreError> {
        let row = self.0.read_row(sqlx::query(SELECT_KEY).bind(id.as_str())).await?;
        row.as_ref().map(decode_key).transpose()
    }

    async fn list_keys(&self, tenant: Option<&TenantId>) -> Result<Vec<ApiKeyRecord>, StoreError> {
        let query = sqlx::query(SELECT_KEYS).bind(tenant.map(TenantId::as_str)).bind(i64::from(KEYS_LISTED_MAX));
        let rows = self.0.read_rows(query).await?;
        rows.iter().map(decode_key).collect()
    }

    async fn revoke_key(&self, id: &UserId, revocation: Revocation) -> Result<(), StoreError> {
        let mut transaction = begin(&self.0).await?;
        sqlx::query(REVOKE_KEY)
            .bind(id.as_str())
            .bind(revocation.by.to_string())
            .bind(revocation.at.as_micros())
            .execute(&mut *transaction)
            .await
            .map_err(|error| sqlx_error(&error))?;
        raise_revision(&mut transaction).await?;
        commit(transaction).await
    }

    async fn find_subject(&self, id: &PrincipalId) -> Result<Option<SubjectRecord>, StoreError> {
        let query =
            sqlx::query(SELECT_SUBJECT).bind(id.issuer.as_str()).bind(id.tenant.as_str()).bind(id.user.as_str());
        let row = self.0.read_row(query).await?;
        row.as_ref().map(decode_subject).transpose()
    }

    async fn save_rights(&self, id: &PrincipalId, rights: String) -> Result<(), StoreError> {
        let mut transaction = begin(&self.0).await?;
        sqlx::query(UPSERT_RIGHTS)
            .bind(id.issuer.as_str())
            .bind(id.tenant.as_str())
            .bind(id.user.as_str())
            .bind(rights)
            .execute(&mut *transaction)
            .await
            .map_err(|error| sqlx_error(&error))?;
        commit(transaction).await
    }

    async fn set_revocation(&self, id: &PrincipalId, revocation: Option<Revocation>) -> Result<(), StoreError> {
        let (by, at) = revocation.map(|Revocation { by, at }| (by.to_string(), at.as_micros())).unzip();
        let mut transaction = begin(&self.0).await?;
        sqlx::query(UPSERT_REVOCATION)
            .bind(id.issuer.as_str())
            .bind(id.tenant.as_str())
            .bind(id.user.as_str())
            .bind(by)
            .bind(at)
            .execute(&mut *transaction)
            .await
            .map_err(|error| sqlx_error(&error))?;
        raise_revision(&mut transaction).await?;
        commit(transaction).await
    }
}

/// The row is locked last and until the end of the transaction, so revocations follow each other.
async fn raise_revision(connection: &mut Reader) -> Result<(), StoreError> {
    sqlx::query(RAISE_REVISION).execute(connection).await.map(drop).map_err(|error| sqlx_error(&error))
}
