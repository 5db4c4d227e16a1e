//! The memories of agents from the rows of a database, the same for every driver: their queries name the columns alike.

use greenroom_protocol as protocol;
use protocol::{PrincipalId, Timestamp};

use super::embedder::EmbedderId;
use super::matrix::VectorRow;
use super::search::StoredMemory;
use super::vector::{UnitVector, numbers_of_bytes};
use super::{Memory, MemoryCount, MemorySource, StoredVectors};
use crate::columns::Columns;
use crate::error::StoreError;

/// Reads the text of a memory, whose column has another type in each database.
pub(crate) type ReadText<R> = fn(&R) -> Result<String, StoreError>;

/// Decodes how many memories an owner has.
pub(crate) fn decode_count(row: &impl Columns) -> Result<MemoryCount, StoreError> {
    Ok(MemoryCount { memories: row.number("memories")?, of_documents: row.number("of_documents")? })
}

/// Decodes memories.
pub(crate) fn decode_memories<R: Columns>(rows: &[R], text: ReadText<R>) -> Result<Vec<Memory>, StoreError> {
    rows.iter().map(|row| decode_memory(row, text)).collect()
}

/// Decodes memories with their vectors.
pub(crate) fn decode_stored<R: Columns>(rows: &[R], text: ReadText<R>) -> Result<Vec<StoredMemory>, StoreError> {
    let stored =
        |row: &R| Ok(StoredMemory { memory: decode_memory(row, text)?, vector: row.bytes("vector")?.to_vec() });
    rows.iter().map(stored).collect()
}

/// Decodes vectors without their texts.
pub(crate) fn decode_vectors<R: Columns>(rows: &[R]) -> Result<Vec<VectorRow>, StoreError> {
    let decode = |row: &R| {
        Ok(VectorRow {
            id: row.hash("id")?,
            version: row.int("version")?,
            at: row.timestamp("at")?,
            expires_at: optional_timestamp(row)?,
            vector: row.bytes("vector")?.to_vec(),
        })
    };
    rows.iter().map(decode).collect()
}

/// Decodes which memories are stored, with the vectors of one embedder.
pub(crate) fn decode_stored_vectors<R: Columns>(
    rows: &[R],
    embedder: &EmbedderId,
) -> Result<StoredVectors, StoreError> {
    let decode = |row: &R| {
        let is_own = row.text("embedder")? == embedder.as_str();
        let bytes = row.bytes("vector")?;
        let vector = is_own.then(|| UnitVector::from_stored(numbers_of_bytes(bytes).collect())).flatten();
        Ok((row.hash("id")?, vector))
    };
    rows.iter().map(decode).collect()
}

fn decode_memory<R: Columns>(row: &R, text: ReadText<R>) -> Result<Memory, StoreError> {
    Ok(Memory {
        id: row.hash("id")?,
        text: text(row)?,
        at: row.timestamp("at")?,
        expires_at: optional_timestamp(row)?,
        user: decode_user(row)?,
        source: decode_source(row)?,
    })
}

fn optional_timestamp(row: &impl Columns) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.optional_int("expires_at")?.map(Timestamp::from_micros))
}

fn decode_user(row: &impl Columns) -> Result<Option<PrincipalId>, StoreError> {
    match row.optional_text("user")? {
        Some(_) => row.principal().map(Some),
        None => Ok(None),
    }
}

fn decode_source(row: &impl Columns) -> Result<Option<MemorySource>, StoreError> {
    let Some(name) = row.optional_text("source")? else { return Ok(None) };
    let line = |column| Ok::<_, StoreError>(u32::try_from(row.number(column)?).unwrap_or(u32::MAX));
    Ok(Some(MemorySource { name: name.to_owned(), first_line: line("first_line")?, last_line: line("last_line")? }))
}
