//! The memories of agents from the rows of a database, the same for every driver: their queries name the columns alike.

use greenroom_protocol::Timestamp;

use super::{Memory, MemoryMatch, VectorQuery, top_matches};
use crate::columns::Columns;
use crate::error::StoreError;

/// Reads the text of a memory, whose column has another type in each database.
pub(crate) type ReadText<R> = fn(&R) -> Result<String, StoreError>;

/// Decodes memories.
pub(crate) fn decode_memories<R: Columns>(rows: &[R], text: ReadText<R>) -> Result<Vec<Memory>, StoreError> {
    rows.iter().map(|row| decode_memory(row, text)).collect()
}

/// Decodes memories with their vectors, and returns the best matches.
pub(crate) fn decode_matches<R: Columns>(
    rows: &[R],
    text: ReadText<R>,
    query: VectorQuery<'_>,
) -> Result<Vec<MemoryMatch>, StoreError> {
    let memories = rows.iter().map(|row| Ok((decode_memory(row, text)?, decode_vector(row)?)));
    Ok(top_matches(query, memories.collect::<Result<Vec<_>, StoreError>>()?.into_iter()))
}

fn decode_memory<R: Columns>(row: &R, text: ReadText<R>) -> Result<Memory, StoreError> {
    Ok(Memory {
        id: row.hash("id")?,
        text: text(row)?,
        at: row.timestamp("at")?,
        expires_at: row.optional_int("expires_at")?.map(Timestamp::from_micros),
    })
}

fn decode_vector(row: &impl Columns) -> Result<Vec<f32>, StoreError> {
    let bytes = row.bytes("vector")?;
    Ok(bytes.chunks_exact(4).filter_map(|four| four.try_into().ok().map(f32::from_le_bytes)).collect())
}
