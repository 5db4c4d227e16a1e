//! JSON → grid: a list of records, a document that has such a list, or a sequence of records (JSON Lines).
//!
//! ```text
//! documents → lists (which of them is the table) → records → value
//! ```
//!
//! Values are parsed from their own text, so that a figure keeps its digits, a record the order of its
//! members, and an error its line.

use greenroom_protocol::Cause;
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::no_table;
use crate::tables::grid::{Grid, GridRow, GridSource, ROWS_MAX, RowCollector, too_large};
use crate::tables::note::{Note, invalid, unreadable};

mod lists;
mod pages;
mod records;
mod value;

use lists::{Choice, Content};
use value::Lines;

/// True if the text begins like JSON. A header such as `[Date],[Revenue]` does not.
pub(super) fn is_json(text: &str) -> bool {
    let text = text.trim_start();
    let Some(inner) = text.strip_prefix(['[', '{']) else { return false };
    match inner.trim_start().chars().next() {
        Some(first) => matches!(first, '"' | '{' | '[' | '}' | ']' | '-' | 't' | 'f' | 'n') || first.is_ascii_digit(),
        None => true,
    }
}

/// Rejects a file that is nothing but `null` or a truth value, as a service without data answers.
///
/// # Errors
/// `invalid_data` with the value.
pub(super) fn reject_literal(text: &str) -> Result<(), Cause> {
    match text.trim() {
        value @ ("null" | "true" | "false") => {
            Err(unreadable(format!("the file is the JSON value `{value}`, which has no records")))
        }
        _ => Ok(()),
    }
}

/// Reads the text.
///
/// # Errors
/// `invalid_data` with the line; `invalid_input` if several lists may be the table and `table` names none of
/// them; `payload_too_large` beyond the bounds of a table.
pub(super) fn read(text: &str, table: Option<&str>) -> Result<Grid, Cause> {
    let documents = parse_documents(text)?;
    let mut lines = Lines::new(text);
    if let [document] = documents.as_slice() {
        if value::is_object(document)
            && let Some(Choice { content, notes, warnings }) = lists::choose(document, table, &mut lines)?
        {
            let grid = read_content(GridSource::Json, content, notes, &mut lines)?;
            return Ok(Grid { warnings, ..grid });
        }
        if value::is_list(document) {
            reject_table_name(table)?;
            let items = value::items(document, lines.line_of(document))?;
            return read_items(GridSource::Json, items, &mut lines);
        }
    }
    reject_table_name(table)?;
    read_items(GridSource::JsonLines, documents, &mut lines)
}

fn read_items(source: GridSource, items: Vec<&RawValue>, lines: &mut Lines<'_>) -> Result<Grid, Cause> {
    let Some(first) = items.first().copied() else { return Err(unreadable("the file has no records")) };
    match lists::content_of(items) {
        Some(content) => read_content(source, content, Vec::new(), lines),
        None => Err(invalid(lines.line_of(first), "the record is neither an object nor a list")),
    }
}

fn reject_table_name(table: Option<&str>) -> Result<(), Cause> {
    match table {
        Some(name) => Err(no_table(name, "the file is JSON and has one table without a name")),
        None => Ok(()),
    }
}

/// Splits the text into its documents. A file of JSON Lines has one for each row.
fn parse_documents(text: &str) -> Result<Vec<&RawValue>, Cause> {
    let mut lines = Lines::new(text);
    let mut documents: Vec<&RawValue> = Vec::new();
    for document in Deserializer::from_str(text).into_iter::<&RawValue>() {
        match document {
            Ok(document) => documents.push(document),
            Err(error) if error.is_eof() => {
                let end = documents.last().map_or(0, |last| lines.end_of(last));
                let start = end + text.get(end..).map_or(0, |rest| rest.len() - rest.trim_start().len());
                let message = "the JSON that begins here is not complete; the file may have been cut off";
                return Err(invalid(lines.line_at(start), message));
            }
            Err(error) => return Err(value::unparsable(error.line() as u64, &error)),
        }
        if documents.len() > ROWS_MAX {
            return Err(too_large(format!("the data has more than {ROWS_MAX} rows, the maximum that is read")));
        }
    }
    if documents.is_empty() {
        return Err(unreadable("the file has no records"));
    }
    Ok(documents)
}

fn read_content(
    source: GridSource,
    content: Content<'_>,
    mut notes: Vec<Note>,
    lines: &mut Lines<'_>,
) -> Result<Grid, Cause> {
    let (header, rows) = match content {
        Content::Objects(items) => {
            let (header, rows) = records::read_objects(&items, lines, &mut notes)?;
            (Some(header), rows)
        }
        Content::Rows { header, rows: items } => {
            let mut rows = RowCollector::default();
            if let Some(names) = header {
                let line = lines.line_of(names);
                rows.push(line, value::names(names, line)?)?;
            }
            for row in items {
                let line = lines.line_of(row);
                rows.push(line, value::cells(row, line)?)?;
            }
            (None, rows.into_rows())
        }
        Content::Columns(columns) => {
            let (header, rows) = read_columns(columns, lines)?;
            (Some(header), rows)
        }
    };
    if rows.is_empty() {
        return Err(unreadable("all records of the file are empty"));
    }
    Ok(Grid { source, header, rows, notes, warnings: Vec::new() })
}

fn read_columns(
    columns: Vec<(String, Vec<&RawValue>)>,
    lines: &mut Lines<'_>,
) -> Result<(Vec<String>, Vec<GridRow>), Cause> {
    let length = columns.first().map_or(0, |(_, cells)| cells.len());
    let mut rows = RowCollector::default();
    for index in 0..length {
        let values: Vec<&RawValue> = columns.iter().filter_map(|(_, cells)| cells.get(index).copied()).collect();
        let line = values.first().map_or(1, |first| lines.line_of(first));
        let cells = values.into_iter().map(|value| value::cell(value, line)).collect::<Result<_, _>>()?;
        rows.push(line, cells)?;
    }
    Ok((columns.into_iter().map(|(name, _)| name).collect(), rows.into_rows()))
}

#[cfg(test)]
mod tests;
