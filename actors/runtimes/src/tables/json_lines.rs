//! JSON (an array of objects, or an object that holds one) and JSON Lines → table.

use std::collections::BTreeSet;

use greenroom_protocol::{Cause, ErrorCode, Json};

use super::csv;
use super::table::{self, Table, TableRow};

/// Maximum size of one line.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// True if the bytes begin like JSON.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    matches!(bytes.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'[' | b'{'))
}

/// Reads the bytes as a table.
///
/// # Errors
/// [`ErrorCode::InvalidData`] with the line; [`ErrorCode::PayloadTooLarge`] beyond the bounds of a table.
pub(crate) fn read(bytes: &[u8]) -> Result<Table, Cause> {
    let text = csv::decode_text(bytes)?;
    let records = if text.trim_start().starts_with('[') {
        parse_array(text)?
    } else {
        match unwrap_array(text) {
            Some(items) => number_items(items),
            None => parse_lines(text)?,
        }
    };
    to_table(&records)
}

/// `{"data": [ … ]}` and the like: one object whose only array of objects is the table.
fn unwrap_array(text: &str) -> Option<Vec<Json>> {
    let Ok(Json::Object(members)) = serde_json::from_str::<Json>(text) else { return None };
    let mut tables = members.into_iter().filter_map(|(_, member)| match member {
        Json::Array(items) if !items.is_empty() && items.iter().all(Json::is_object) => Some(items),
        Json::Array(_) | Json::Object(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    });
    let first = tables.next()?;
    tables.next().is_none().then_some(first)
}

fn number_items(items: Vec<Json>) -> Vec<(u64, Json)> {
    (1..).zip(items).collect()
}

fn parse_array(text: &str) -> Result<Vec<(u64, Json)>, Cause> {
    let items: Vec<Json> = serde_json::from_str(text).map_err(|error| {
        table::invalid(error.line() as u64, format!("the JSON cannot be read: {}", message_of(&error)))
    })?;
    Ok(number_items(items))
}

fn parse_lines(text: &str) -> Result<Vec<(u64, Json)>, Cause> {
    let mut records = Vec::new();
    for (line, content) in (1_u64..).zip(text.lines()) {
        if content.trim().is_empty() {
            continue;
        }
        if content.len() > LINE_BYTES_MAX {
            return Err(table::invalid(
                line,
                format!("the line has {} bytes, at most {LINE_BYTES_MAX} are read", content.len()),
            ));
        }
        let record = serde_json::from_str(content)
            .map_err(|error| table::invalid(line, format!("the JSON cannot be read: {}", message_of(&error))))?;
        records.push((line, record));
        table::check_length(records.len())?;
    }
    Ok(records)
}

/// The message of the parser, without its line, which is relative to the text that it parsed.
fn message_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn to_table(records: &[(u64, Json)]) -> Result<Table, Cause> {
    if records.is_empty() {
        return Err(Cause::new(ErrorCode::InvalidData, "the file has no records"));
    }
    table::check_length(records.len())?;
    let mut columns: Vec<String> = Vec::new();
    let mut known = BTreeSet::new();
    for (line, record) in records {
        let Json::Object(members) = record else {
            return Err(table::invalid(*line, "the record is not an object"));
        };
        for name in members.keys() {
            if known.insert(name.as_str()) {
                columns.push(name.clone());
                table::check_width(columns.len())?;
            }
        }
    }
    let mut rows = Vec::with_capacity(records.len());
    for (line, record) in records {
        let mut cells = Vec::with_capacity(columns.len());
        for column in &columns {
            let cell = match record.get(column) {
                None | Some(Json::Null) => String::new(),
                Some(Json::String(text)) => text.trim().to_owned(),
                Some(other) => other.to_string(),
            };
            table::check_cell(*line, column, cell.len())?;
            cells.push(cell);
        }
        rows.push(TableRow { line: *line, cells });
    }
    Ok(Table { columns: table::distinct_names(columns), rows, semicolons: false })
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;

    use super::{is_json, read};

    #[test]
    fn the_three_shapes_give_the_same_table() {
        for text in [
            "[{\"date\":\"2024-01-01\",\"n\":1.5},{\"date\":\"2024-01-02\",\"n\":null}]",
            "{\"date\":\"2024-01-01\",\"n\":1.5}\n\n{\"date\":\"2024-01-02\"}\n",
            "{\"rows\":[{\"date\":\"2024-01-01\",\"n\":1.5},{\"date\":\"2024-01-02\"}],\"source\":\"x\"}",
        ] {
            assert!(is_json(text.as_bytes()));
            let table = read(text.as_bytes()).unwrap();
            assert_eq!(table.columns, ["date", "n"], "{text}");
            assert_eq!(table.cells(1).map(|(_, cell)| cell).collect::<Vec<_>>(), ["1.5", ""]);
        }
    }

    #[test]
    fn invalid_records_are_rejected_with_their_line() {
        for (text, line) in
            [("{\"a\":1}\n{\"a\":\n", 2), ("[{\"a\":1},\n2]", 2), ("[\n{\"a\":1}\n", 3), ("{\"a\":1}\n7\n", 2)]
        {
            let cause = read(text.as_bytes()).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidData);
            assert_eq!(cause.details["line"], line, "{text}");
        }
        assert_eq!(read(b"[]").unwrap_err().code, ErrorCode::InvalidData);
    }
}
