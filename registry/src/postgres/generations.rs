//! Generations in PostgreSQL. An application locks the row of the current numbers, so those of all pods are decided one
//! after the other; the tick of each pod reads the numbers.

use async_trait::async_trait;
use greenroom_protocol::ContentHash;
use tokio::sync::watch;

use crate::columns::{Columns as _, to_int};
use crate::error::StoreError;
use crate::generation_store::rows::{decode, decode_info};
use crate::generation_store::{
    Generation, GenerationFiles, GenerationInfo, GenerationKind, GenerationStore, Generations, NewGeneration,
    check_files, hash_files, newest_removed, raise,
};
use crate::postgres::error::sqlx_error;
use crate::postgres::handle::StoreHandle;
use crate::postgres::readers::Reader;
use crate::postgres::transaction::{begin, commit};

/// Files that one statement stores.
const STATEMENT_FILES_MAX: usize = 256;

const SELECT_CURRENT: &str = "SELECT catalogue, policy FROM current_generations";
const LOCK_CURRENT: &str = "SELECT catalogue, policy FROM current_generations FOR UPDATE";
const SELECT_INFOS: &str = "SELECT number, hash, source, issuer, tenant, user_id AS \"user\", at FROM generations \
                            WHERE kind = $1 ORDER BY number DESC";
const SELECT_ONE: &str = "SELECT g.number, g.hash, g.source, g.issuer, g.tenant, g.user_id AS \"user\", g.at, m.name, \
                          f.content FROM generations g \
                          JOIN generation_members m ON m.kind = g.kind AND m.number = g.number \
                          JOIN generation_files f ON f.hash = m.hash \
                          WHERE g.kind = $1 AND g.number = $2 ORDER BY m.name COLLATE \"C\"";

const INSERT_GENERATION: &str = "INSERT INTO generations (kind, number, hash, source, issuer, tenant, user_id, at) \
                                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const INSERT_FILES: &str = "INSERT INTO generation_files (hash, content) \
                            SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT (hash) DO NOTHING";
const INSERT_MEMBERS: &str = "INSERT INTO generation_members (kind, number, name, hash) \
                              SELECT $1::text, $2::bigint, m.name, m.hash \
                              FROM unnest($3::text[], $4::bytea[]) AS m (name, hash)";
const UPDATE_CURRENT: &str = "UPDATE current_generations SET catalogue = $1, policy = $2";
/// Removes old generations of a kind.
const DELETE_OLD: [&str; 2] = [
    "DELETE FROM generations WHERE kind = $1 AND number <= $2",
    "DELETE FROM generation_members WHERE kind = $1 AND number <= $2",
];
/// Removes the files that no generation has any more.
const DELETE_FILES: &str = "DELETE FROM generation_files f \
                            WHERE NOT EXISTS (SELECT 1 FROM generation_members m WHERE m.hash = f.hash)";

/// The generations.
pub(super) struct PostgresGenerations(pub(super) StoreHandle);

#[async_trait]
impl GenerationStore for PostgresGenerations {
    async fn current_generations(&self) -> Result<Generations, StoreError> {
        let row = sqlx::query(SELECT_CURRENT).fetch_one(&self.0.readers).await.map_err(|error| sqlx_error(&error))?;
        let current = Generations { catalogue: row.number("catalogue")?, policy: row.number("policy")? };
        raise(&self.0.generations, current);
        Ok(current)
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
        let mut transaction = begin(&self.0).await?;
        // Dropping the transaction without a commit rolls it back.
        if lock_current(&mut transaction).await? != checked {
            return Ok(None);
        }
        let kind = new.kind;
        let number = checked.number(kind).saturating_add(1);
        let next = checked.with_number(kind, number);
        insert(&mut transaction, number, &new).await?;
        sqlx::query(UPDATE_CURRENT)
            .bind(to_int(next.catalogue))
            .bind(to_int(next.policy))
            .execute(&mut *transaction)
            .await
            .map_err(|error| sqlx_error(&error))?;
        delete_old(&mut transaction, kind, number).await?;
        commit(transaction).await?;
        raise(&self.0.generations, next);
        self.0.announcements.send_modify(|announced| announced.generations += 1);
        Ok(Some(number))
    }
}

async fn lock_current(connection: &mut Reader) -> Result<Generations, StoreError> {
    let row = sqlx::query(LOCK_CURRENT).fetch_one(connection).await.map_err(|error| sqlx_error(&error))?;
    Ok(Generations { catalogue: row.number("catalogue")?, policy: row.number("policy")? })
}

async fn insert(connection: &mut Reader, number: u64, new: &NewGeneration) -> Result<(), StoreError> {
    let NewGeneration { kind, files, source, by, at } = new;
    sqlx::query(INSERT_GENERATION)
        .bind(kind.as_str())
        .bind(to_int(number))
        .bind(hash_files(files).as_bytes().as_slice())
        .bind(source)
        .bind(by.issuer.as_str())
        .bind(by.tenant.as_str())
        .bind(by.user.as_str())
        .bind(at.as_micros())
        .execute(&mut *connection)
        .await
        .map_err(|error| sqlx_error(&error))?;
    insert_files(connection, *kind, number, files).await
}

async fn insert_files(
    connection: &mut Reader,
    kind: GenerationKind,
    number: u64,
    files: &GenerationFiles,
) -> Result<(), StoreError> {
    let files: Vec<_> = files.iter().collect();
    for files in files.chunks(STATEMENT_FILES_MAX) {
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let hash = |content: &[u8]| ContentHash::from_content(content).as_bytes().to_vec();
        let hashes: Vec<Vec<u8>> = files.iter().map(|(_, content)| hash(content)).collect();
        let contents: Vec<Vec<u8>> = files.iter().map(|(_, content)| content.to_vec()).collect();
        sqlx::query(INSERT_FILES)
            .bind(hashes.as_slice())
            .bind(contents.as_slice())
            .execute(&mut *connection)
            .await
            .map_err(|error| sqlx_error(&error))?;
        sqlx::query(INSERT_MEMBERS)
            .bind(kind.as_str())
            .bind(to_int(number))
            .bind(names.as_slice())
            .bind(hashes.as_slice())
            .execute(&mut *connection)
            .await
            .map_err(|error| sqlx_error(&error))?;
    }
    Ok(())
}

async fn delete_old(connection: &mut Reader, kind: GenerationKind, number: u64) -> Result<(), StoreError> {
    for sql in DELETE_OLD {
        sqlx::query(sql)
            .bind(kind.as_str())
            .bind(to_int(newest_removed(number)))
            .execute(&mut *connection)
            .await
            .map_err(|error| sqlx_error(&error))?;
    }
    sqlx::query(DELETE_FILES).execute(connection).await.map(drop).map_err(|error| sqlx_error(&error))
}
