//! The bytes of a file → [`Grid`]. The content of a file determines how it is read, and never its name.
//!
//! ```text
//! gzip → file_format → workbook
//!                    → encoding → json, delimited
//! ```
//!
//! A file that cannot be read is rejected under the true name of its format. What a reader chose, where
//! another choice was possible, is a note of the grid.

use greenroom_protocol::Cause;

use super::grid::Grid;
use super::note;

mod delimited;
mod encoding;
mod file_format;
mod gzip;
mod json;
mod records;
mod sniff;
mod workbook;

use file_format::FileFormat;

/// Maximum size of a file after decompression. A small file may expand to any size.
pub(crate) const INFLATED_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Reads the table of a file. `table` names the sheet of a workbook, or the list of a JSON document, if the
/// file has several.
///
/// # Errors
/// `invalid_data` with the format or the line that cannot be read; `invalid_input` if the file has several
/// tables and `table` names none of them; `payload_too_large` beyond the bounds of a table.
pub(crate) fn read(bytes: &[u8], table: Option<&str>) -> Result<Grid, Cause> {
    if !gzip::is_gzip(bytes) {
        return read_content(bytes, table);
    }
    let content = gzip::inflate(bytes)?;
    if gzip::is_gzip(&content) {
        return Err(note::unreadable("the file is compressed by gzip twice; decompress it once and send the result"));
    }
    read_content(&content, table)
}

fn read_content(bytes: &[u8], table: Option<&str>) -> Result<Grid, Cause> {
    match file_format::detect(bytes)? {
        FileFormat::Workbook => return workbook::read(bytes, table),
        FileFormat::Text => {}
    }
    let (text, encoding_note) = encoding::decode(bytes)?;
    file_format::reject_markup(&text)?;
    json::reject_literal(&text)?;
    let mut grid = if json::is_json(&text) {
        json::read(&text, table)?
    } else {
        if let Some(name) = table {
            return Err(no_table(name, "the file is delimited text, which has one table without a name"));
        }
        delimited::read(&text)?
    };
    grid.notes.splice(0..0, encoding_note);
    Ok(grid)
}

/// Creates the error for a requested table that the file does not have.
fn no_table(name: &str, reason: &str) -> Cause {
    let message = format!("the input `table` names {}; {reason}", note::preview(name));
    Cause::new(greenroom_protocol::ErrorCode::InvalidInput, message)
}

#[cfg(test)]
mod tests;
