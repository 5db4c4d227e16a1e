//! Generations in SQLite. The writer decides an application on the numbers that it knows, because no other process
//! writes the file.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, PrincipalId, Timestamp};
use rusqlite::Connection;
use tokio::sync::watch;

use crate::error::StoreError;
use crate::generation_store::rows::{decode, decode_info};
use crate::generation_store::{
    Generation, GenerationInfo, GenerationKind, GenerationStore, Generations, NewGeneration, check_files, hash_files,
    newest_removed,
};
use crate::sqlite::columns::{Columns as _, select};
use crate::sqlite::command::WriteCommand;
use crate::sqlite::commit::Commit;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::statement_batch::{SqlValue, to_int};
use crate::sqlite::writer_state::WriterState;

pub(super) mod numbers;

const SELECT_CURRENT: &str = "SELECT catalogue, policy FROM current_generations";
const SELECT_INFOS: &str = "SELECT number, hash, source, issuer, tenant, user, at FROM generations WHERE kind = ? \
                            ORDER BY number DESC";
const SELECT_ONE: &str = "SELECT g.number, g.hash, g.source, g.issuer, g.tenant, g.user, g.at, m.name, f.content \
                          FROM generations g JOIN generation_members m ON m.kind = g.kind AND m.number = g.number \
                          JOIN generation_files f ON f.hash = m.hash WHERE g.kind = ? AND g.number = ? ORDER BY m.name";

const INSERT_FILE: &str = "INSERT INTO generation_files (hash, content) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING";
const INSERT_MEMBER: &str = "INSERT INTO generation_members (kind, number, name, hash) VALUES (?, ?, ?, ?)";
const INSERT_GENERATION: &str = "INSERT INTO generations (kind, number, hash, source, issuer, tenant, user, at) \
                                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
const UPDATE_CURRENT: &str = "UPDATE current_generations SET catalogue = ?, policy = ?";
/// Removes old generations of a kind.
const DELETE_OLD: [&str; 2] = [
    "DELETE FROM generations WHERE kind = ? AND number <= ?",
    "DELETE FROM generation_members WHERE kind = ? AND number <= ?",
];
/// Removes the files that no generation has any more.
const DELETE_FILES: &str = "DELETE FROM generation_files WHERE hash NOT IN (SELECT hash FROM generation_members)";

/// Reads the numbers of the current generations on the connection of the writer.
pub(super) fn read_current(conn: &Connection) -> Result<Generations, StoreError> {
    let rows = select(conn, SELECT_CURRENT, [], |row| {
        Ok(Generations { catalogue: row.number("catalogue")?, policy: row.number("policy")? })
    })?;
    Ok(rows.into_iter().next().unwrap_or_default())
}

/// The generations.
pub(super) struct SqliteGenerations(pub(super) StoreHandle);

/// Stores a generation and makes it the current one.
struct ApplyGeneration {
    kind: GenerationKind,
    hash: ContentHash,
    source: String,
    by: PrincipalId,
    at: Timestamp,
    /// The name, the hash and the content of each file.
    files: Vec<(String, ContentHash, Arc<[u8]>)>,
    checked: Generations,
}

impl ApplyGeneration {
    fn new(new: NewGeneration, checked: Generations) -> Self {
        let NewGeneration { kind, files, source, by, at } = new;
        let hash = hash_files(&files);
        let hashed = files.into_iter().map(|(name, content)| (name, ContentHash::from_content(&content), content));
        Self { kind, hash, source, by, at, files: hashed.collect(), checked }
    }
}

impl WriteCommand for ApplyGeneration {
    type Output = Option<u64>;
    type Error = StoreError;

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<Option<u64>, StoreError> {
        let Self { kind, hash, source, by, at, files, checked } = self;
        let number = checked.number(kind).saturating_add(1);
        let next = checked.with_number(kind, number);
        if !state.shared.generations.decide(checked, next) {
            return Ok(None);
        }
        let shared = state.shared.clone();
        commit.on_committed(move |failure| shared.generations.on_committed(next, failure.is_none()));
        let key: [SqlValue; 2] = [kind.as_str().into(), number.into()];
        let rest: [SqlValue; 6] = [
            SqlValue::from(&hash),
            source.into(),
            by.issuer.as_str().into(),
            by.tenant.as_str().into(),
            by.user.as_str().into(),
            at.as_micros().into(),
        ];
        commit.statements.add(INSERT_GENERATION, key.iter().cloned().chain(rest).collect());
        for (name, hash, content) in files {
            commit.statements.add(INSERT_FILE, vec![SqlValue::from(&hash), SqlValue::Blob(content.to_vec())]);
            let member: [SqlValue; 2] = [name.into(), SqlValue::from(&hash)];
            commit.statements.add(INSERT_MEMBER, key.iter().cloned().chain(member).collect());
        }
        commit.statements.add(UPDATE_CURRENT, vec![next.catalogue.into(), next.policy.into()]);
        for sql in DELETE_OLD {
            commit.statements.add(sql, vec![kind.as_str().into(), newest_removed(number).into()]);
        }
        commit.statements.add(DELETE_FILES, Vec::new());
        Ok(Some(number))
    }
}

#[async_trait]
impl GenerationStore for SqliteGenerations {
    async fn current_generations(&self) -> Result<Generations, StoreError> {
        Ok(self.0.generations.committed())
    }

    fn watch(&self) -> watch::Receiver<Generations> {
        self.0.generations.subscribe()
    }

    async fn get(&self, kind: GenerationKind, number: u64) -> Result<Option<Generation>, StoreError> {
        let rows = self.0.read_rows(sqlx::query(SELECT_ONE).bind(kind.as_str()).bind(to_int(number))).await?;
        decode(&rows)
    }

    async fn list(&self, kind: GenerationKind) -> Result<Vec<GenerationInfo>, StoreError> {
        let rows = self.0.read_rows(sqlx::query(SELECT_INFOS).bind(kind.as_str())).await?;
        rows.iter().map(decode_info).collect()
    }

    async fn apply(&self, new: NewGeneration, checked: Generations) -> Result<Option<u64>, StoreError> {
        check_files(&new.files)?;
        self.0.queue.execute(ApplyGeneration::new(new, checked)).await
    }
}
