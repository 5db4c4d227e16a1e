//! Answers by key in SQLite, for callers and for the runs that a key belongs to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Reply, RunId, TenantId, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::error::StoreError;
use crate::idempotency::{Idempotency, Once};
use crate::runs::OnceKey;
use crate::sqlite::commands::{Command, OnceCommand};
use crate::sqlite::runs::row::id;
use crate::sqlite::statement_batch::{Value, from_int};
use crate::sqlite::writer::{Commit, hash_of, refuse as refuse_one};
use crate::sqlite::{Shared, failed};

pub(super) const ONCE_KEYS: &str = "INSERT INTO once_keys (key, tenant, body, run, reply, at) VALUES (?, ?, ?, ?, ?, ?) \
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
    pub(super) fn values(&self, key: &str, tenant: &TenantId, at: Timestamp) -> Vec<Value> {
        vec![
            key.into(),
            tenant.as_str().into(),
            Value::from(&self.body),
            self.run.as_ref().map(|run| run.as_str()).into(),
            self.reply.clone().into(),
            at.as_micros().into(),
        ]
    }

    fn once(&self, body: &ContentHash) -> Result<Once, StoreError> {
        if self.body != *body {
            return Ok(Once::Conflict);
        }
        if let Some(run) = &self.run {
            return Ok(Once::Began(run.clone()));
        }
        let reply = self.reply.as_deref().map(serde_json::from_str::<Reply>).transpose()?;
        Ok(reply.map_or(Once::Running, |reply| Once::Answered(Box::new(reply))))
    }
}

fn key_row(row: &SqliteRow) -> Result<KeyRow, StoreError> {
    let body: &[u8] = row.try_get("body").map_err(|error| failed(&error))?;
    let run: Option<&str> = row.try_get("run").map_err(|error| failed(&error))?;
    let reply = row.try_get("reply").map_err(|error| failed(&error))?;
    Ok(KeyRow { body: hash_of(body)?, run: run.map(id).transpose()?, reply })
}

/// The key that a command has to know about.
pub(super) fn key_of(command: &OnceCommand) -> Option<(String, TenantId)> {
    match command {
        OnceCommand::Begin { tenant, key, .. }
        | OnceCommand::Finish { tenant, key, .. }
        | OnceCommand::Abandon { tenant, key, .. } => Some((key.clone(), tenant.clone())),
        OnceCommand::Prune { .. } => None,
    }
}

/// Reads what is known of these keys.
pub(super) async fn look_up(
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
        "SELECT key, tenant, body, run, reply FROM once_keys WHERE key IN (SELECT value FROM json_each(?))",
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
pub(super) fn apply(command: OnceCommand, commit: &mut Commit) {
    match command {
        OnceCommand::Begin { tenant, key, body, now, answer } => {
            let place = (key, tenant);
            if let Some(used) = commit.keys.get(&place).and_then(Option::as_ref) {
                match used.once(&body) {
                    Ok(once) => commit.answer(answer, once),
                    Err(error) => refuse_one(answer, &error),
                }
                return;
            }
            let row = KeyRow { body, run: None, reply: None };
            commit.script.add(ONCE_KEYS, row.values(&place.0, &place.1, now));
            commit.keys.insert(place, Some(row));
            commit.answer(answer, Once::New);
        }
        OnceCommand::Finish { tenant, key, reply, now, answer } => {
            let place = (key, tenant);
            let taken = commit.keys.get_mut(&place).and_then(Option::as_mut);
            if let Some(used) = taken.filter(|used| used.reply.is_none()) {
                used.reply = Some(reply);
                let values = used.values(&place.0, &place.1, now);
                commit.script.add(ONCE_KEYS, values);
            }
            commit.answer(answer, ());
        }
        OnceCommand::Abandon { tenant, key, answer } => {
            let place = (key, tenant);
            let is_open = |used: &KeyRow| used.reply.is_none() && used.run.is_none();
            if commit.keys.get(&place).and_then(Option::as_ref).is_some_and(is_open) {
                let values = vec![place.0.as_str().into(), place.1.as_str().into()];
                commit.script.add("DELETE FROM once_keys WHERE key = ? AND tenant = ?", values);
                commit.keys.insert(place, None);
            }
            commit.answer(answer, ());
        }
        OnceCommand::Prune { before, answer } => {
            let sql = "DELETE FROM once_keys WHERE reply IS NOT NULL AND at < ?";
            commit.script.add(sql, vec![before.as_micros().into()]);
            commit.answer(answer, 0);
        }
    }
}

/// Refuses a command that could not be decided.
pub(super) fn refuse(command: OnceCommand, error: &StoreError) {
    match command {
        OnceCommand::Begin { answer, .. } => refuse_one(answer, error),
        OnceCommand::Finish { answer, .. } | OnceCommand::Abandon { answer, .. } => refuse_one(answer, error),
        OnceCommand::Prune { answer, .. } => refuse_one(answer, error),
    }
}

/// The answers.
pub(super) struct SqliteIdempotency(pub(super) Arc<Shared>);

#[async_trait]
impl Idempotency for SqliteIdempotency {
    async fn begin(
        &self,
        tenant: &TenantId,
        key: &OnceKey,
        body: &ContentHash,
        now: Timestamp,
    ) -> Result<Once, StoreError> {
        let (tenant, key, body) = (tenant.clone(), key.stored(), *body);
        self.0.queue.ask(|answer| Command::Once(OnceCommand::Begin { tenant, key, body, now, answer })).await
    }

    async fn finish(&self, tenant: &TenantId, key: &OnceKey, reply: &Reply, now: Timestamp) -> Result<(), StoreError> {
        let (tenant, key, reply) = (tenant.clone(), key.stored(), serde_json::to_string(reply)?);
        self.0.queue.ask(|answer| Command::Once(OnceCommand::Finish { tenant, key, reply, now, answer })).await
    }

    async fn abandon(&self, tenant: &TenantId, key: &OnceKey) -> Result<(), StoreError> {
        let (tenant, key) = (tenant.clone(), key.stored());
        self.0.queue.ask(|answer| Command::Once(OnceCommand::Abandon { tenant, key, answer })).await
    }

    async fn lookup(&self, tenant: &TenantId, key: &OnceKey, body: &ContentHash) -> Result<Once, StoreError> {
        let row = sqlx::query("SELECT body, run, reply FROM once_keys WHERE key = ? AND tenant = ?")
            .bind(key.stored())
            .bind(tenant.as_str())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| failed(&error))?;
        row.map_or(Ok(Once::New), |row| key_row(&row)?.once(body))
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let many: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM once_keys WHERE reply IS NOT NULL AND at < ?")
            .bind(before.as_micros())
            .fetch_one(&self.0.readers)
            .await
            .map_err(|error| failed(&error))?;
        self.0.queue.ask(|answer| Command::Once(OnceCommand::Prune { before, answer })).await?;
        Ok(from_int(many))
    }
}
