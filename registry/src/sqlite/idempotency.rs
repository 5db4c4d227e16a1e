//! Answers by key in SQLite, for callers and for the runs that a key belongs to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Reply, RunId, TenantId, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::error::StoreError;
use crate::idempotency::{IdempotencyStore, KeyStatus};
use crate::runs::DedupKey;
use crate::sqlite::commands::{Command, IdempotencyWrite};
use crate::sqlite::runs::row::id;
use crate::sqlite::statement_batch::{SqlValue, from_int};
use crate::sqlite::writer::{Commit, hash_of, refuse as refuse_one};
use crate::sqlite::{Shared, failed};

pub(super) const INSERT_IDEMPOTENCY_KEY: &str = "INSERT INTO idempotency_keys (key, tenant, request_hash, run, reply, at) VALUES (?, ?, ?, ?, ?, ?) \
                                    ON CONFLICT (key, tenant) DO UPDATE SET reply = excluded.reply, at = excluded.at";

/// What a key was used for.
#[derive(Debug, Clone)]
pub(super) struct KeyRow {
    pub(super) body: ContentHash,
    pub(super) run: Option<RunId>,
    /// As JSON.
    pub(super) reply: Option<String>,
}

impl KeyRow {
    pub(super) fn values(&self, key: &str, tenant: &TenantId, at: Timestamp) -> Vec<SqlValue> {
        vec![
            key.into(),
            tenant.as_str().into(),
            SqlValue::from(&self.body),
            self.run.as_ref().map(|run| run.as_str()).into(),
            self.reply.clone().into(),
            at.as_micros().into(),
        ]
    }

    fn once(&self, body: &ContentHash) -> Result<KeyStatus, StoreError> {
        if self.body != *body {
            return Ok(KeyStatus::Conflict);
        }
        if let Some(run) = &self.run {
            return Ok(KeyStatus::RunStarted(run.clone()));
        }
        let reply = self.reply.as_deref().map(serde_json::from_str::<Reply>).transpose()?;
        Ok(reply.map_or(KeyStatus::InProgress, |reply| KeyStatus::Completed(Box::new(reply))))
    }
}

fn key_row(row: &SqliteRow) -> Result<KeyRow, StoreError> {
    let body: &[u8] = row.try_get("request_hash").map_err(|error| failed(&error))?;
    let run: Option<&str> = row.try_get("run").map_err(|error| failed(&error))?;
    let reply = row.try_get("reply").map_err(|error| failed(&error))?;
    Ok(KeyRow { body: hash_of(body)?, run: run.map(id).transpose()?, reply })
}

/// The key that a command has to know about.
pub(super) fn key_of(command: &IdempotencyWrite) -> Option<(String, TenantId)> {
    match command {
        IdempotencyWrite::Begin { tenant, key, .. }
        | IdempotencyWrite::Finish { tenant, key, .. }
        | IdempotencyWrite::Abandon { tenant, key, .. } => Some((key.clone(), tenant.clone())),
        IdempotencyWrite::Prune { .. } => None,
    }
}

/// Reads what is known of these keys.
pub(super) async fn prefetch(
    connection: &mut SqliteConnection,
    wanted: Vec<(String, TenantId)>,
    known: &mut HashMap<(String, TenantId), Option<KeyRow>>,
) -> Result<(), StoreError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let names = serde_json::to_string(&wanted.iter().map(|(key, _)| key).collect::<HashSet<_>>())?;
    known.extend(wanted.into_iter().map(|key| (key, None)));
    let rows = sqlx::query(
        "SELECT key, tenant, request_hash, run, reply FROM idempotency_keys WHERE key IN (SELECT value FROM json_each(?))",
    )
    .bind(names)
    .fetch_all(connection)
    .await
    .map_err(|error| failed(&error))?;
    for row in &rows {
        let key: String = row.try_get("key").map_err(|error| failed(&error))?;
        let tenant: &str = row.try_get("tenant").map_err(|error| failed(&error))?;
        known.insert((key, id(tenant)?), Some(key_row(row)?));
    }
    Ok(())
}

/// Decides one command.
pub(super) fn apply(command: IdempotencyWrite, commit: &mut Commit) {
    match command {
        IdempotencyWrite::Begin { tenant, key, body, now, answer } => {
            let place = (key, tenant);
            if let Some(used) = commit.keys.get(&place).and_then(Option::as_ref) {
                match used.once(&body) {
                    Ok(once) => commit.answer(answer, once),
                    Err(error) => refuse_one(answer, &error),
                }
                return;
            }
            let row = KeyRow { body, run: None, reply: None };
            commit.script.add(INSERT_IDEMPOTENCY_KEY, row.values(&place.0, &place.1, now));
            commit.keys.insert(place, Some(row));
            commit.answer(answer, KeyStatus::New);
        }
        IdempotencyWrite::Finish { tenant, key, reply, now, answer } => {
            let place = (key, tenant);
            let taken = commit.keys.get_mut(&place).and_then(Option::as_mut);
            if let Some(used) = taken.filter(|used| used.reply.is_none()) {
                used.reply = Some(reply);
                let values = used.values(&place.0, &place.1, now);
                commit.script.add(INSERT_IDEMPOTENCY_KEY, values);
            }
            commit.answer(answer, ());
        }
        IdempotencyWrite::Abandon { tenant, key, answer } => {
            let place = (key, tenant);
            let is_open = |used: &KeyRow| used.reply.is_none() && used.run.is_none();
            if commit.keys.get(&place).and_then(Option::as_ref).is_some_and(is_open) {
                let values = vec![place.0.as_str().into(), place.1.as_str().into()];
                commit.script.add("DELETE FROM idempotency_keys WHERE key = ? AND tenant = ?", values);
                commit.keys.insert(place, None);
            }
            commit.answer(answer, ());
        }
        IdempotencyWrite::Prune { before, answer } => {
            let sql = "DELETE FROM idempotency_keys WHERE reply IS NOT NULL AND at < ?";
            commit.script.add(sql, vec![before.as_micros().into()]);
            commit.answer(answer, 0);
        }
    }
}

/// Refuses a command that could not be decided.
pub(super) fn refuse(command: IdempotencyWrite, error: &StoreError) {
    match command {
        IdempotencyWrite::Begin { answer, .. } => refuse_one(answer, error),
        IdempotencyWrite::Finish { answer, .. } | IdempotencyWrite::Abandon { answer, .. } => refuse_one(answer, error),
        IdempotencyWrite::Prune { answer, .. } => refuse_one(answer, error),
    }
}

/// The answers.
pub(super) struct SqliteIdempotency(pub(super) Arc<Shared>);

#[async_trait]
impl IdempotencyStore for SqliteIdempotency {
    async fn begin(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        body: &ContentHash,
        now: Timestamp,
    ) -> Result<KeyStatus, StoreError> {
        let (tenant, key, body) = (tenant.clone(), key.to_stored(), *body);
        self.0
            .queue
            .request(|answer| Command::Idempotency(IdempotencyWrite::Begin { tenant, key, body, now, answer }))
            .await
    }

    async fn finish(&self, tenant: &TenantId, key: &DedupKey, reply: &Reply, now: Timestamp) -> Result<(), StoreError> {
        let (tenant, key, reply) = (tenant.clone(), key.to_stored(), serde_json::to_string(reply)?);
        self.0
            .queue
            .request(|answer| Command::Idempotency(IdempotencyWrite::Finish { tenant, key, reply, now, answer }))
            .await
    }

    async fn abandon(&self, tenant: &TenantId, key: &DedupKey) -> Result<(), StoreError> {
        let (tenant, key) = (tenant.clone(), key.to_stored());
        self.0.queue.request(|answer| Command::Idempotency(IdempotencyWrite::Abandon { tenant, key, answer })).await
    }

    async fn lookup(&self, tenant: &TenantId, key: &DedupKey, body: &ContentHash) -> Result<KeyStatus, StoreError> {
        let row = sqlx::query("SELECT request_hash, run, reply FROM idempotency_keys WHERE key = ? AND tenant = ?")
            .bind(key.to_stored())
            .bind(tenant.as_str())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| failed(&error))?;
        row.map_or(Ok(KeyStatus::New), |row| key_row(&row)?.once(body))
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let many: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM idempotency_keys WHERE reply IS NOT NULL AND at < ?")
            .bind(before.as_micros())
            .fetch_one(&self.0.readers)
            .await
            .map_err(|error| failed(&error))?;
        self.0.queue.request(|answer| Command::Idempotency(IdempotencyWrite::Prune { before, answer })).await?;
        Ok(from_int(many))
    }
}
