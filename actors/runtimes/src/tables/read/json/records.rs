//! JSON objects → rows under the names of their members. The members of an inner object are columns too:
//! `price.amount`.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_protocol::Cause;
use serde_json::value::RawValue;

use super::value::{self, Lines};
use crate::tables::grid::{Cell, GridRow, RowCollector, check_width};
use crate::tables::note::{Note, invalid, preview};

/// Maximum depth of inner objects.
const DEPTH_MAX: usize = 4;

/// The columns of all records, in the order in which they first occur.
#[derive(Debug, Default)]
struct Columns {
    names: Vec<String>,
    by_name: BTreeMap<String, usize>,
    /// How many records have each column.
    records: Vec<u64>,
    /// The first line of a record without it.
    first_without: Vec<Option<u64>>,
    objects: BTreeSet<String>,
    lists: BTreeSet<String>,
}

impl Columns {
    fn index(&mut self, name: String, line: u64, is_first_record: bool, first_line: u64) -> Result<usize, Cause> {
        if let Some(index) = self.by_name.get(&name) {
            return Ok(*index);
        }
        let index = self.names.len();
        check_width(line, index + 1)?;
        self.names.push(name.clone());
        self.by_name.insert(name, index);
        self.records.push(0);
        self.first_without.push((!is_first_record).then_some(first_line));
        Ok(index)
    }

    /// Sets the cells of one object, and of the objects in it.
    fn read(&mut self, row: &mut Row, object: &RawValue, prefix: &str, depth: usize) -> Result<(), Cause> {
        for (name, member) in value::members(object, row.line)? {
            let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            let cell = match value::typed_cell(member, row.line)? {
                Some(cell) => cell,
                None if value::is_object(member) && depth < DEPTH_MAX => {
                    self.read(row, member, &name, depth + 1)?;
                    self.objects.insert(name);
                    continue;
                }
                None => {
                    if value::is_list(member) || value::is_object(member) {
                        self.lists.insert(name.clone());
                    }
                    value::cell(member, row.line)?
                }
            };
            let index = self.index(name, row.line, row.is_first, row.first_line)?;
            row.set(index, cell).map_err(|()| {
                let name = self.names.get(index).map_or("", String::as_str);
                invalid(row.line, format!("the record has the column {} twice", preview(name)))
            })?;
        }
        Ok(())
    }

    fn count(&mut self, row: &Row) {
        for (index, (records, first_without)) in self.records.iter_mut().zip(&mut self.first_without).enumerate() {
            match row.cells.get(index) {
                Some(Some(_)) => *records += 1,
                Some(None) | None => {
                    first_without.get_or_insert(row.line);
                }
            }
        }
    }

    fn notes(&self, total: u64, notes: &mut Vec<Note>) {
        for name in &self.objects {
            let message = format!("The member {0} has objects; their members are the columns {0}.….", preview(name));
            notes.push(Note::new(message).in_column(name));
        }
        for name in &self.lists {
            let message = format!("Column {} has lists, which are read as text.", preview(name));
            notes.push(Note::new(message).in_column(name));
        }
        for ((name, records), first_without) in self.names.iter().zip(&self.records).zip(&self.first_without) {
            if let Some(line) = first_without.filter(|_| *records < total) {
                let message = format!(
                    "Column {} is missing in {} of {total} records, first in line {line}; it is empty there.",
                    preview(name),
                    total - records
                );
                notes.push(Note::new(message).at_line(line).in_column(name));
            }
        }
    }
}

/// One record while its members are read. A member that it lacks is `None`.
#[derive(Debug)]
struct Row {
    line: u64,
    is_first: bool,
    first_line: u64,
    cells: Vec<Option<Cell>>,
}

impl Row {
    fn set(&mut self, index: usize, cell: Cell) -> Result<(), ()> {
        if self.cells.len() <= index {
            self.cells.resize(index + 1, None);
        }
        match self.cells.get_mut(index) {
            Some(free @ None) => {
                *free = Some(cell);
                Ok(())
            }
            Some(Some(_)) | None => Err(()),
        }
    }
}

/// Reads the records.
///
/// # Errors
/// `invalid_data` with the line of a record that is no object or has a member twice; `payload_too_large`
/// beyond the bounds of a table.
pub(super) fn read_objects(
    items: &[&RawValue],
    lines: &mut Lines<'_>,
    notes: &mut Vec<Note>,
) -> Result<(Vec<String>, Vec<GridRow>), Cause> {
    let mut columns = Columns::default();
    let mut rows = RowCollector::default();
    let first_line = items.first().map_or(1, |item| lines.line_of(item));
    for (index, item) in items.iter().enumerate() {
        let mut row = Row { line: lines.line_of(item), is_first: index == 0, first_line, cells: Vec::new() };
        if !value::is_object(item) {
            let message = format!("the record is {}, and the first one is an object", preview(item.get()));
            return Err(invalid(row.line, message));
        }
        columns.read(&mut row, item, "", 1)?;
        columns.count(&row);
        rows.push(row.line, row.cells.into_iter().map(|cell| cell.unwrap_or(Cell::Empty)).collect())?;
    }
    columns.notes(items.len() as u64, notes);
    let rows = rows.into_padded_rows(columns.names.len())?;
    Ok((columns.names, rows))
}
