//! From the rows of a database to a generation, the same for every driver.

use std::sync::Arc;

use super::{Generation, GenerationFiles, GenerationInfo, hash_files};
use crate::columns::Columns;
use crate::error::StoreError;

/// A row of a generation, without its files.
pub(crate) fn decode_info(row: &impl Columns) -> Result<GenerationInfo, StoreError> {
    Ok(GenerationInfo {
        number: row.number("number")?,
        hash: row.hash("hash")?,
        source: row.text("source")?.to_owned(),
        by: row.principal()?,
        at: row.timestamp("at")?,
    })
}

/// The rows of one generation, each with one of its files in `name` and `content`.
pub(crate) fn decode<R: Columns>(rows: &[R]) -> Result<Option<Generation>, StoreError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let info = decode_info(first)?;
    let file = |row: &R| Ok((row.text("name")?.to_owned(), Arc::<[u8]>::from(row.bytes("content")?)));
    let files = rows.iter().map(file).collect::<Result<GenerationFiles, StoreError>>()?;
    if hash_files(&files) != info.hash {
        return Err(StoreError::Codec(format!("the files of generation {} do not have its hash", info.number)));
    }
    Ok(Some(Generation { info, files }))
}
