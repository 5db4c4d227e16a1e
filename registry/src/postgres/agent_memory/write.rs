//! The writes of the memories of agents: a batch is one transaction, and a deletion a transaction for each bounded piece.

use greenroom_protocol as protocol;
use protocol::{PrincipalId, TenantId, Timestamp};

use super::of_owner;
use crate::agent_memory::{DELETED_MAX, ForgetSelection, MemoryBatch, MemoryOwner};
use crate::columns::from_int;
use crate::error::StoreError;
use crate::postgres::error::sqlx_error;
use crate::postgres::handle::StoreHandle;
use crate::postgres::transaction::{begin, commit};

/// Two pods that store for one owner do so one after the other: the row is locked until the commit.
const NEXT_VERSION: &str = "INSERT INTO memory_owners AS o (tenant, agent, version) VALUES ($1, $2, 1) \
                            ON CONFLICT (tenant, agent) DO UPDATE SET version = o.version + 1 RETURNING version";
/// A part of a document replaces what is stored under its id, unless that was remembered later; what an execution remembers
/// does not.
const INSERT_MEMORIES: &str = "INSERT INTO memories (tenant, agent, id, at, expires_at, text, vector, embedder, version, \
                               issuer, user_id, source, first_line, last_line) \
                               SELECT $1, $2, n.id, n.at, n.expires_at, n.text, n.vector, $3, $4, n.issuer, n.user_id, \
                               n.source, n.first_line, n.last_line \
                               FROM unnest($5::bytea[], $6::bigint[], $7::bigint[], $8::bytea[], $9::bytea[], \
                               $10::text[], $11::text[], $12::text[], $13::bigint[], $14::bigint[]) \
                               AS n (id, at, expires_at, text, vector, issuer, user_id, source, first_line, last_line) \
                               ON CONFLICT (tenant, agent, id) DO UPDATE SET at = excluded.at, \
                               expires_at = excluded.expires_at, text = excluded.text, vector = excluded.vector, \
                               embedder = excluded.embedder, version = excluded.version, issuer = excluded.issuer, \
                               user_id = excluded.user_id, source = excluded.source, \
                               first_line = excluded.first_line, last_line = excluded.last_line \
                               WHERE excluded.source IS NOT NULL AND excluded.at >= memories.at";
const DELETE_EXPIRED: &str =
    "DELETE FROM memories WHERE tenant = $1 AND agent = $2 AND expires_at IS NOT NULL AND expires_at <= $3";
/// Deletes the oldest memories over the limit that are no parts of documents.
const EVICT_OLDEST: &str = "DELETE FROM memories WHERE tenant = $1 AND agent = $2 AND id IN \
                            (SELECT id FROM memories WHERE tenant = $1 AND agent = $2 AND source IS NULL \
                            ORDER BY at, id LIMIT GREATEST(0, \
                            (SELECT count(*) FROM memories WHERE tenant = $1 AND agent = $2) - $3))";
const DELETE_OF_OWNER: &str = "DELETE FROM memories WHERE (tenant, agent, id) IN (\
                               SELECT tenant, agent, id FROM memories WHERE tenant = $1 AND agent = $2 \
                               AND ($3::bytea IS NULL OR id = $3) LIMIT $4 FOR UPDATE)";
const DELETE_OF_SOURCE: &str = "DELETE FROM memories WHERE (tenant, agent, id) IN (\
                                SELECT tenant, agent, id FROM memories WHERE tenant = $1 AND agent = $2 \
                                AND source = $3 AND ($4::bigint IS NULL OR at < $4) LIMIT $5 FOR UPDATE)";
const DELETE_OF_TENANT: &str = "DELETE FROM memories WHERE (tenant, agent, id) IN (\
                                SELECT tenant, agent, id FROM memories WHERE tenant = $1 \
                                AND ($2::text IS NULL OR (issuer = $2 AND user_id = $3)) LIMIT $4 FOR UPDATE)";
const DELETE_OLD: &str = "DELETE FROM memories WHERE (tenant, agent, id) IN (\
                          SELECT tenant, agent, id FROM memories WHERE at < $1 \
                          AND ($2::text IS NULL OR tenant = $2) LIMIT $3 FOR UPDATE)";
const DELETE_ALL_EXPIRED: &str = "DELETE FROM memories WHERE (tenant, agent, id) IN (\
                                  SELECT tenant, agent, id FROM memories WHERE expires_at IS NOT NULL \
                                  AND expires_at <= $1 AND ($2::text IS NULL OR tenant = $2) LIMIT $3 FOR UPDATE)";

/// The columns of a batch.
#[derive(Default)]
struct BatchColumns {
    ids: Vec<Vec<u8>>,
    at: Vec<i64>,
    expires_at: Vec<Option<i64>>,
    texts: Vec<Vec<u8>>,
    vectors: Vec<Vec<u8>>,
    issuers: Vec<Option<String>>,
    users: Vec<Option<String>>,
    sources: Vec<Option<String>>,
    first_lines: Vec<Option<i64>>,
    last_lines: Vec<Option<i64>>,
}

impl BatchColumns {
    fn new(batch: &MemoryBatch) -> Self {
        let mut columns = Self::default();
        for new in &batch.memories {
            let (memory, source) = (&new.memory, new.memory.source.as_ref());
            columns.ids.push(memory.id.as_bytes().to_vec());
            columns.at.push(memory.at.as_micros());
            columns.expires_at.push(memory.expires_at.map(Timestamp::as_micros));
            columns.texts.push(memory.text.as_bytes().to_vec());
            columns.vectors.push(new.vector.to_bytes());
            columns.issuers.push(memory.user.as_ref().map(|user| user.issuer.to_string()));
            columns.users.push(memory.user.as_ref().map(|user| user.user.to_string()));
            columns.sources.push(source.map(|source| source.name.clone()));
            columns.first_lines.push(source.map(|source| i64::from(source.first_line)));
            columns.last_lines.push(source.map(|source| i64::from(source.last_line)));
        }
        columns
    }
}

/// Stores memories in one transaction.
pub(super) async fn remember(
    store: &StoreHandle,
    owner: &MemoryOwner,
    batch: &MemoryBatch,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (tenant, agent) = (owner.tenant.as_str(), owner.agent.as_str());
    let columns = BatchColumns::new(batch);
    let mut transaction = begin(store).await?;
    let version = sqlx::query_scalar::<_, i64>(NEXT_VERSION).bind(tenant).bind(agent);
    let version = version.fetch_one(&mut *transaction).await.map_err(|error| sqlx_error(&error))?;
    sqlx::query(INSERT_MEMORIES)
        .bind(tenant)
        .bind(agent)
        .bind(batch.embedder.as_str())
        .bind(version)
        .bind(columns.ids)
        .bind(columns.at)
        .bind(columns.expires_at)
        .bind(columns.texts)
        .bind(columns.vectors)
        .bind(columns.issuers)
        .bind(columns.users)
        .bind(columns.sources)
        .bind(columns.first_lines)
        .bind(columns.last_lines)
        .execute(&mut *transaction)
        .await
        .map_err(|error| sqlx_error(&error))?;
    let expired = sqlx::query(DELETE_EXPIRED).bind(tenant).bind(agent).bind(now.as_micros());
    expired.execute(&mut *transaction).await.map_err(|error| sqlx_error(&error))?;
    if from_int(version).is_multiple_of(batch.eviction_interval()) {
        let owner_max = i64::try_from(batch.owner_max).unwrap_or(i64::MAX);
        let evicted = sqlx::query(EVICT_OLDEST).bind(tenant).bind(agent).bind(owner_max);
        evicted.execute(&mut *transaction).await.map_err(|error| sqlx_error(&error))?;
    }
    commit(transaction).await
}

/// Which memories are deleted.
#[derive(Debug, Clone, Copy)]
enum Deleted<'d> {
    /// Those of an owner.
    Owner(&'d MemoryOwner, &'d ForgetSelection),
    /// Those of a tenant, or of one of its users.
    Tenant(&'d TenantId, Option<&'d PrincipalId>),
    /// Those that were remembered before a time.
    Old(Option<&'d TenantId>, Timestamp),
    /// Those that have expired by a time.
    Expired(Option<&'d TenantId>, Timestamp),
}

impl Deleted<'_> {
    /// Deletes one piece of them, and returns the number.
    async fn delete_piece(self, store: &StoreHandle) -> Result<u64, StoreError> {
        let limit = i64::from(DELETED_MAX);
        let query = match self {
            Self::Owner(owner, ForgetSelection::Source { name, before }) => {
                of_owner(DELETE_OF_SOURCE, owner).bind(name.as_str()).bind(before.map(Timestamp::as_micros)).bind(limit)
            }
            Self::Owner(owner, ForgetSelection::All) => {
                of_owner(DELETE_OF_OWNER, owner).bind(None::<Vec<u8>>).bind(limit)
            }
            Self::Owner(owner, ForgetSelection::One(id)) => {
                of_owner(DELETE_OF_OWNER, owner).bind(Some(id.as_bytes().to_vec())).bind(limit)
            }
            Self::Tenant(tenant, user) => sqlx::query(DELETE_OF_TENANT)
                .bind(tenant.as_str())
                .bind(user.map(|user| user.issuer.as_str()))
                .bind(user.map(|user| user.user.as_str()))
                .bind(limit),
            Self::Old(tenant, before) => {
                sqlx::query(DELETE_OLD).bind(before.as_micros()).bind(tenant.map(TenantId::as_str)).bind(limit)
            }
            Self::Expired(tenant, now) => {
                sqlx::query(DELETE_ALL_EXPIRED).bind(now.as_micros()).bind(tenant.map(TenantId::as_str)).bind(limit)
            }
        };
        let mut transaction = begin(store).await?;
        let deleted = query.execute(&mut *transaction).await.map_err(|error| sqlx_error(&error))?;
        commit(transaction).await?;
        Ok(deleted.rows_affected())
    }

    /// Deletes them, and returns their number.
    async fn delete(self, store: &StoreHandle) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let count = self.delete_piece(store).await?;
            deleted += count;
            if count < u64::from(DELETED_MAX) {
                return Ok(deleted);
            }
        }
    }
}

/// Deletes memories of an owner, and returns their number.
pub(super) async fn forget(
    store: &StoreHandle,
    owner: &MemoryOwner,
    selection: &ForgetSelection,
) -> Result<u64, StoreError> {
    Deleted::Owner(owner, selection).delete(store).await
}

/// Deletes the memories of a tenant, or those for one of its users, and returns their number.
pub(super) async fn forget_of_tenant(
    store: &StoreHandle,
    tenant: &TenantId,
    user: Option<&PrincipalId>,
) -> Result<u64, StoreError> {
    Deleted::Tenant(tenant, user).delete(store).await
}

/// Deletes what was remembered before a time or has expired, and returns the number.
pub(super) async fn prune(
    store: &StoreHandle,
    tenant: Option<&TenantId>,
    before: Timestamp,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let old = Deleted::Old(tenant, before).delete(store).await?;
    Ok(old + Deleted::Expired(tenant, now).delete(store).await?)
}
