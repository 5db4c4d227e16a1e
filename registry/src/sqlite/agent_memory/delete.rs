//! Deletion of memories, in bounded pieces, so that other commits go on between them.

use greenroom_protocol as protocol;
use protocol::{ContentHash, PrincipalId, TenantId, Timestamp};
use sqlx::sqlite::SqliteRow;

use super::commands::{DeleteMemories, MemoryKey};
use super::of_owner;
use crate::agent_memory::{DELETED_MAX, ForgetSelection, MemoryOwner};
use crate::error::StoreError;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;

const SELECT_ALL: &str = "SELECT tenant, agent, id FROM memories WHERE tenant = ? AND agent = ? LIMIT ?";
const SELECT_ONE: &str = "SELECT tenant, agent, id FROM memories WHERE tenant = ? AND agent = ? AND id = ?";
const SELECT_OF_SOURCE: &str = "SELECT tenant, agent, id FROM memories WHERE tenant = ?1 AND agent = ?2 \
                                AND source IS NOT NULL AND source = ?3 AND (?4 IS NULL OR at < ?4) LIMIT ?5";
const SELECT_OF_TENANT: &str = "SELECT tenant, agent, id FROM memories WHERE tenant = ? LIMIT ?";
const SELECT_OF_USER: &str = "SELECT tenant, agent, id FROM memories WHERE tenant = ? AND issuer = ? \
                              AND user IS NOT NULL AND user = ? LIMIT ?";
const SELECT_OLD: &str =
    "SELECT tenant, agent, id FROM memories WHERE at < ?1 AND (?2 IS NULL OR tenant = ?2) LIMIT ?3";
const SELECT_EXPIRED: &str = "SELECT tenant, agent, id FROM memories WHERE expires_at IS NOT NULL AND expires_at <= ?1 \
                              AND (?2 IS NULL OR tenant = ?2) LIMIT ?3";

/// Which memories are deleted.
#[derive(Debug, Clone, Copy)]
enum Deleted<'d> {
    /// All of an owner.
    Owner(&'d MemoryOwner),
    /// One of an owner.
    One(&'d MemoryOwner, &'d ContentHash),
    /// The parts of a document of an owner; with a time, those that were remembered before it.
    Source(&'d MemoryOwner, &'d str, Option<Timestamp>),
    /// All of a tenant.
    Tenant(&'d TenantId),
    /// Those of a user of a tenant.
    User(&'d TenantId, &'d PrincipalId),
    /// Those that were remembered before a time.
    Old(Option<&'d TenantId>, Timestamp),
    /// Those that have expired by a time.
    Expired(Option<&'d TenantId>, Timestamp),
}

impl Deleted<'_> {
    /// A memory that is remembered again meanwhile is not deleted.
    const fn before(self) -> Option<Timestamp> {
        match self {
            Self::Source(_, _, before) => before,
            Self::Old(_, before) => Some(before),
            Self::Owner(_) | Self::One(..) | Self::Tenant(_) | Self::User(..) | Self::Expired(..) => None,
        }
    }

    /// The first of the memories that are still there.
    async fn select(self, store: &StoreHandle) -> Result<Vec<SqliteRow>, StoreError> {
        let query = match self {
            Self::Owner(owner) => of_owner(SELECT_ALL, owner).bind(DELETED_MAX),
            Self::One(owner, id) => of_owner(SELECT_ONE, owner).bind(id.as_bytes().as_slice()),
            Self::Source(owner, name, before) => {
                of_owner(SELECT_OF_SOURCE, owner).bind(name).bind(before.map(Timestamp::as_micros)).bind(DELETED_MAX)
            }
            Self::Tenant(tenant) => sqlx::query(SELECT_OF_TENANT).bind(tenant.as_str()).bind(DELETED_MAX),
            Self::User(tenant, user) => sqlx::query(SELECT_OF_USER)
                .bind(tenant.as_str())
                .bind(user.issuer.as_str())
                .bind(user.user.as_str())
                .bind(DELETED_MAX),
            Self::Old(tenant, before) => {
                sqlx::query(SELECT_OLD).bind(before.as_micros()).bind(tenant.map(TenantId::as_str)).bind(DELETED_MAX)
            }
            Self::Expired(tenant, now) => {
                sqlx::query(SELECT_EXPIRED).bind(now.as_micros()).bind(tenant.map(TenantId::as_str)).bind(DELETED_MAX)
            }
        };
        query.fetch_all(&store.readers).await.map_err(|error| sqlx_error(&error))
    }

    /// Deletes them, and returns their number.
    async fn delete(self, store: &StoreHandle) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let rows = self.select(store).await?;
            let keys = rows.iter().map(decode_key).collect::<Result<Vec<_>, StoreError>>()?;
            let count = keys.len();
            // A store that is closed reports it also if there is nothing to delete.
            store.queue.execute(DeleteMemories { keys, before: self.before() }).await?;
            deleted += count as u64;
            if count < DELETED_MAX as usize {
                return Ok(deleted);
            }
        }
    }
}

fn decode_key(row: &SqliteRow) -> Result<MemoryKey, StoreError> {
    let (tenant, agent) = (row.text("tenant")?.to_owned(), row.text("agent")?.to_owned());
    Ok(MemoryKey { tenant, agent, id: row.hash("id")? })
}

/// Deletes memories of an owner, and returns their number.
pub(super) async fn forget(
    store: &StoreHandle,
    owner: &MemoryOwner,
    selection: &ForgetSelection,
) -> Result<u64, StoreError> {
    let deleted = match selection {
        ForgetSelection::All => Deleted::Owner(owner),
        ForgetSelection::One(id) => Deleted::One(owner, id),
        ForgetSelection::Source { name, before } => Deleted::Source(owner, name, *before),
    };
    deleted.delete(store).await
}

/// Deletes the memories of a tenant, or those for one of its users, and returns their number.
pub(super) async fn forget_of_tenant(
    store: &StoreHandle,
    tenant: &TenantId,
    user: Option<&PrincipalId>,
) -> Result<u64, StoreError> {
    match user {
        Some(user) => Deleted::User(tenant, user).delete(store).await,
        None => Deleted::Tenant(tenant).delete(store).await,
    }
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
