//! What the writer does to shared contexts: decided on the whole context, written key by key.

use std::collections::{HashMap, HashSet};

use greenroom_protocol as protocol;
use protocol::{Json, RunId, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::context::data::{ChangedValue, ContextData, StoredValue};
use crate::context::{ContextError, Version};
use crate::error::StoreError;
use crate::group_commit::ReplySender;
use crate::runs::Fence;
use crate::sqlite::commands::ContextCommand;
use crate::sqlite::failed;
use crate::sqlite::runs::row::id;
use crate::sqlite::statement_batch::{SqlValue, from_int};
use crate::sqlite::writer::{Commit, refuse as refuse_one};

/// Contexts that are remembered between commits; they are read again when they are needed again.
const CACHED_CONTEXTS_MAX: usize = 256;

const CONTEXTS: &str = "INSERT INTO contexts (run, fence, version) VALUES (?, ?, ?) \
                        ON CONFLICT (run) DO UPDATE SET fence = excluded.fence, version = excluded.version";
const VALUES: &str = "INSERT INTO context_values (run, key, version, value, expires_at) VALUES (?, ?, ?, ?, ?) \
                      ON CONFLICT (run, key) DO UPDATE SET version = excluded.version, value = excluded.value, \
                      expires_at = excluded.expires_at";

/// The contexts that are being written.
#[derive(Default)]
pub(in crate::sqlite) struct ContextCache(HashMap<RunId, Option<ContextData>>);

impl ContextCache {
    pub(in crate::sqlite) fn knows(&self, run: &RunId) -> bool {
        self.0.contains_key(run)
    }

    pub(in crate::sqlite) fn forget(&mut self) {
        self.0.clear();
    }

    pub(in crate::sqlite) async fn prefetch(
        &mut self,
        connection: &mut SqliteConnection,
        unknown: Vec<RunId>,
    ) -> Result<(), StoreError> {
        for run in unknown.into_iter().collect::<HashSet<_>>() {
            let data = read_context(&mut *connection, &run).await?;
            if self.0.len() >= CACHED_CONTEXTS_MAX {
                self.0.retain(|_, data| data.is_none());
            }
            self.0.insert(run, data);
        }
        Ok(())
    }

    fn find_mut(&mut self, run: &RunId) -> Result<&mut ContextData, ContextError> {
        self.0.get_mut(run).and_then(Option::as_mut).ok_or(ContextError::Unknown)
    }
}

/// Reads a whole context; `None` if nobody has claimed it.
pub(super) async fn read_context(
    connection: &mut SqliteConnection,
    run: &RunId,
) -> Result<Option<ContextData>, StoreError> {
    // One statement sees one moment.
    let rows = sqlx::query(
        "SELECT c.fence, c.version AS last, v.key, v.version, v.value, v.expires_at FROM contexts c \
         LEFT JOIN context_values v ON v.run = c.run WHERE c.run = ?",
    )
    .bind(run.as_str())
    .fetch_all(connection)
    .await
    .map_err(|error| failed(&error))?;
    let Some(first) = rows.first() else { return Ok(None) };
    let mut data = ContextData {
        fence: Fence(number(first, "fence")?),
        version: Version(number(first, "last")?),
        ..ContextData::default()
    };
    for row in &rows {
        let key: Option<&str> = row.try_get("key").map_err(|error| failed(&error))?;
        let Some(key) = key else { continue };
        let value: Option<&str> = row.try_get("value").map_err(|error| failed(&error))?;
        let until: Option<i64> = row.try_get("expires_at").map_err(|error| failed(&error))?;
        let stored = StoredValue {
            version: Version(number(row, "version")?),
            value: value.map(serde_json::from_str::<Json>).transpose()?,
            expires_at: until.map(Timestamp::from_micros),
        };
        data.values.insert(id(key)?, stored);
    }
    Ok(Some(data))
}

fn number(row: &SqliteRow, column: &str) -> Result<u64, StoreError> {
    row.try_get::<i64, _>(column).map(from_int).map_err(|error| failed(&error))
}

/// Decides one command.
pub(in crate::sqlite) fn apply(contexts: &mut ContextCache, command: ContextCommand, commit: &mut Commit) {
    match command {
        ContextCommand::Claim { run, answer } => {
            let data = contexts.0.entry(run.clone()).or_default().get_or_insert_default();
            let fence = data.claim();
            commit.script.add(CONTEXTS, context_row(&run, data));
            commit.answer(answer, fence);
        }
        ContextCommand::Write { run, fence, put, now, answer } => {
            let changed = contexts.find_mut(&run).and_then(|data| data.put(fence, *put, now));
            let written = changed.and_then(|changed| {
                let version = changed.stored.version;
                write_changes(contexts, &run, &[changed], commit).map(|()| version)
            });
            finish(answer, written, &run, commit);
        }
        ContextCommand::Expire { run, fence, now, answer } => {
            let changed = contexts.find_mut(&run).and_then(|data| data.expire(fence, now));
            let written = changed
                .and_then(|changed| write_changes(contexts, &run, &changed, commit).map(|()| changed.len() as u64));
            finish(answer, written, &run, commit);
        }
        ContextCommand::Remove { run, fence, answer } => {
            let admitted = contexts.find_mut(&run).and_then(|data| data.check_fence(fence));
            if admitted.is_ok() {
                contexts.0.insert(run.clone(), None);
                commit.script.add("DELETE FROM context_values WHERE run = ?", vec![run.as_str().into()]);
                commit.script.add("DELETE FROM contexts WHERE run = ?", vec![run.as_str().into()]);
            }
            finish(answer, admitted, &run, commit);
        }
    }
}

fn finish<T: Send + 'static>(
    answer: ReplySender<T, ContextError>,
    written: Result<T, ContextError>,
    run: &RunId,
    commit: &mut Commit,
) {
    match written {
        Ok(value) => {
            commit.context_notify.push(run.clone());
            commit.answer(answer, value);
        }
        Err(error) => {
            let _ = answer.send(Err(error));
        }
    }
}

fn write_changes(
    contexts: &mut ContextCache,
    run: &RunId,
    changed: &[ChangedValue],
    commit: &mut Commit,
) -> Result<(), ContextError> {
    let data = contexts.find_mut(run)?;
    for ChangedValue { key, stored } in changed {
        let value = stored.value.as_ref().map(serde_json::to_string).transpose().map_err(StoreError::from)?;
        let until = stored.expires_at.map(Timestamp::as_micros);
        let row = vec![run.as_str().into(), key.as_str().into(), stored.version.0.into(), value.into(), until.into()];
        commit.script.add(VALUES, row);
    }
    if !changed.is_empty() {
        commit.script.add(CONTEXTS, context_row(run, data));
    }
    Ok(())
}

fn context_row(run: &RunId, data: &ContextData) -> Vec<SqlValue> {
    vec![run.as_str().into(), data.fence.0.into(), data.version.0.into()]
}

/// Refuses a command that could not be decided.
pub(in crate::sqlite) fn refuse(command: ContextCommand, error: &StoreError) {
    match command {
        ContextCommand::Claim { answer, .. } => refuse_one(answer, error),
        ContextCommand::Write { answer, .. } => refuse_one(answer, error),
        ContextCommand::Expire { answer, .. } => refuse_one(answer, error),
        ContextCommand::Remove { answer, .. } => refuse_one(answer, error),
    }
}
