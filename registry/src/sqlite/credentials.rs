//! API keys and principals in SQLite.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{PrincipalId, TenantId, UserId};

use crate::credential_store::rows::{decode_key, decode_subject, scope_text};
use crate::credential_store::{ApiKeyRecord, CredentialStore, KEYS_LISTED_MAX, Revocation, SubjectRecord};
use crate::error::StoreError;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::command::WriteCommand;
use crate::sqlite::commit::Commit;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::statement_batch::SqlValue;
use crate::sqlite::writer_state::WriterState;

const SELECT_REVISION: &str = "SELECT revision FROM credential_revision";
const SELECT_KEY: &str = "SELECT id, hash, issuer, tenant, user, name, scope, created_by, created_at, expires_at, \
                          revoked_by, revoked_at FROM api_keys WHERE id = ?";
const SELECT_KEYS: &str = "SELECT id, hash, issuer, tenant, user, name, scope, created_by, created_at, expires_at, \
                           revoked_by, revoked_at FROM api_keys WHERE ?1 IS NULL OR tenant = ?1 \
                           ORDER BY created_at DESC, id LIMIT ?2";
const SELECT_SUBJECT: &str =
    "SELECT rights, revoked_by, revoked_at FROM subjects WHERE issuer = ? AND tenant = ? AND user = ?";

const RAISE_REVISION: &str = "UPDATE credential_revision SET revision = revision + 1";
const INSERT_KEY: &str = "INSERT INTO api_keys (id, hash, issuer, tenant, user, name, scope, created_by, created_at, \
                          expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
const REVOKE_KEY: &str = "UPDATE api_keys SET revoked_by = ?, revoked_at = ? WHERE id = ? AND revoked_by IS NULL";
const UPSERT_RIGHTS: &str = "INSERT INTO subjects (issuer, tenant, user, rights) VALUES (?, ?, ?, ?) \
                             ON CONFLICT (issuer, tenant, user) DO UPDATE SET rights = excluded.rights";
const UPSERT_REVOCATION: &str = "INSERT INTO subjects (issuer, tenant, user, revoked_by, revoked_at) \
                                 VALUES (?, ?, ?, ?, ?) ON CONFLICT (issuer, tenant, user) DO UPDATE \
                                 SET revoked_by = excluded.revoked_by, revoked_at = excluded.revoked_at";

/// The keys and principals.
pub(super) struct SqliteCredentials(pub(super) StoreHandle);

/// Statements that become durable together.
struct WriteCredentials(Vec<(&'static str, Vec<SqlValue>)>);

impl WriteCommand for WriteCredentials {
    type Output = ();
    type Error = StoreError;

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        for (sql, values) in self.0 {
            commit.statements.add(sql, values);
        }
        Ok(())
    }
}

#[async_trait]
impl CredentialStore for SqliteCredentials {
    async fn revision(&self) -> Result<u64, StoreError> {
        let row = sqlx::query(SELECT_REVISION).fetch_one(&self.0.readers).await.map_err(|error| sqlx_error(&error))?;
        row.number("revision")
    }

    async fn add_key(&self, key: ApiKeyRecord) -> Result<(), StoreError> {
        let (id, hash) = (key.id.clone(), key.hash);
        let values = key_values(key)?;
        self.0.queue.execute(WriteCredentials(vec![(INSERT_KEY, values)])).await?;
        // A row that the database rejects would fail the commit of other callers, so a conflict writes nothing.
        match self.find_key(&id).await? {
            Some(stored) if stored.hash == hash => Ok(()),
            Some(_) | None => Err(StoreError::Failed(format!("there is another key {id}"))),
        }
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
        let Revocation { by, at } = revocation;
        let values: Vec<SqlValue> = vec![by.to_string().into(), at.as_micros().into(), id.as_str().into()];
        let statements = vec![(REVOKE_KEY, values), (RAISE_REVISION, Vec::new())];
        self.0.queue.execute(WriteCredentials(statements)).await
    }

    async fn find_subject(&self, id: &PrincipalId) -> Result<Option<SubjectRecord>, StoreError> {
        let query =
            sqlx::query(SELECT_SUBJECT).bind(id.issuer.as_str()).bind(id.tenant.as_str()).bind(id.user.as_str());
        let row = self.0.read_row(query).await?;
        row.as_ref().map(decode_subject).transpose()
    }

    async fn save_rights(&self, id: &PrincipalId, rights: String) -> Result<(), StoreError> {
        let values = principal_values(id).into_iter().chain([SqlValue::from(rights)]).collect();
        self.0.queue.execute(WriteCredentials(vec![(UPSERT_RIGHTS, values)])).await
    }

    async fn set_revocation(&self, id: &PrincipalId, revocation: Option<Revocation>) -> Result<(), StoreError> {
        let (by, at) = revocation.map(|Revocation { by, at }| (by.to_string(), at.as_micros())).unzip();
        let values = principal_values(id).into_iter().chain([SqlValue::from(by), SqlValue::from(at)]).collect();
        let statements = vec![(UPSERT_REVOCATION, values), (RAISE_REVISION, Vec::new())];
        self.0.queue.execute(WriteCredentials(statements)).await
    }
}

fn principal_values(id: &PrincipalId) -> [SqlValue; 3] {
    [id.issuer.as_str().into(), id.tenant.as_str().into(), id.user.as_str().into()]
}

fn key_values(key: ApiKeyRecord) -> Result<Vec<SqlValue>, StoreError> {
    let ApiKeyRecord { id, hash, owner, name, scope, created_by, created_at, expires_at, revocation: _ } = key;
    let named: [SqlValue; 2] = [id.as_str().into(), SqlValue::from(&hash)];
    let rest: [SqlValue; 5] = [
        name.into(),
        scope_text(&scope)?.into(),
        created_by.to_string().into(),
        created_at.as_micros().into(),
        expires_at.as_micros().into(),
    ];
    Ok(named.into_iter().chain(principal_values(&owner)).chain(rest).collect())
}
