//! A table whose columns have types, and of which nothing is computed: for queries, which also read a table without a
//! column of numbers. The rows of data are those of the facts: titles, repeated headers and totals are not among them.

use std::collections::BTreeSet;

use greenroom_protocol::Cause;
use jiff::civil::{Date, Time};

use super::cells::text_of;
use super::classified_grid::{ClassifiedGrid, classify_grid};
use super::columns::Classification;
use super::findings::Findings;
use super::layout::Layout;
use super::numbers::Numbers;
use super::settings::ClassifySettings;
use super::table::Kind;
use crate::tables::dates::{self, DateVerdict};
use crate::tables::decimal::Decimal;
use crate::tables::grid::{Cell, Grid};
use crate::tables::note::{Note, lines, preview, unreadable};
use crate::tables::unit::Unit;

/// A table for queries.
#[derive(Debug)]
pub(crate) struct TypedTable {
    /// The columns, in the order of the file. No two names differ only in the case of their letters.
    pub(crate) columns: Vec<TypedColumn>,
    /// How many rows each of them has.
    pub(crate) rows: usize,
    /// How the file was read, and what may be wrong about it.
    pub(crate) notes: Vec<Note>,
}

/// A column of such a table.
#[derive(Debug)]
pub(crate) struct TypedColumn {
    /// Its name.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// The unit of its figures, if all of them have the same.
    pub(crate) unit: Option<String>,
    /// One value for each row.
    pub(crate) values: TypedValues,
}

/// The values of a column; `None` for a cell without one.
#[derive(Debug, PartialEq)]
pub(crate) enum TypedValues {
    /// Figures.
    Numbers(Vec<Option<Decimal>>),
    /// Texts. A date is written as `2024-12-31`, followed by its time where the cell has one.
    Texts(Vec<Option<String>>),
}

/// Reads the rows and the types of a table.
///
/// # Errors
/// As [`super::classify`], except that a column of numbers and the dates of the rows are not required.
pub(crate) fn typed_table(grid: Grid, settings: &ClassifySettings) -> Result<TypedTable, Cause> {
    let ClassifiedGrid { layout, classification, data, mut findings } = classify_grid(grid, settings)?;
    let rows = data.iter().filter(|is_data| **is_data).count();
    if rows == 0 {
        return Err(unreadable("the file has no rows of data besides its totals"));
    }
    let Classification { columns: decided, numbers, settings, .. } = classification;
    let source = Source { layout: &layout, data: &data, settings: &settings };
    let mut columns = Vec::with_capacity(decided.len());
    for (index, column) in decided.into_iter().enumerate() {
        let figures = numbers.iter().find(|numbers| numbers.column == index);
        match figures {
            Some(figures) => columns.extend(source.figures(figures, column.name)),
            None => {
                let values = source.texts(index, &column.name, column.kind, &mut findings);
                columns.push(TypedColumn { name: column.name, kind: column.kind, unit: None, values });
            }
        }
    }
    name_apart(&mut columns);
    let Findings { mut notes, warnings, undated: _ } = findings;
    notes.splice(0..0, warnings);
    Ok(TypedTable { columns, rows, notes })
}

/// The rows from which columns are read.
struct Source<'a> {
    layout: &'a Layout,
    /// True for each row of data.
    data: &'a [bool],
    settings: &'a ClassifySettings,
}

impl Source<'_> {
    /// The items of the rows of data.
    fn of_data<T: Clone>(&self, items: &[T]) -> Vec<T> {
        items.iter().zip(self.data).filter(|(_, is_data)| **is_data).map(|(item, _)| item.clone()).collect()
    }

    /// A column of figures. If they have several units, these are a column of their own.
    fn figures(&self, numbers: &Numbers, name: String) -> Vec<TypedColumn> {
        let (values, units) = (self.of_data(&numbers.values), self.of_data(&numbers.units));
        let labels = |unit: &Option<Unit>| unit.map(|unit| unit.label().to_owned());
        let distinct: BTreeSet<Option<String>> = units.iter().map(labels).collect();
        let values = TypedValues::Numbers(values);
        let (unit, split) = match distinct.len() {
            0 | 1 => (distinct.into_iter().next().flatten(), None),
            _ => {
                let values = TypedValues::Texts(units.iter().map(labels).collect());
                let name = format!("{name}_unit");
                (None, Some(TypedColumn { name, kind: Kind::Unit, unit: None, values }))
            }
        };
        let column = TypedColumn { name, kind: Kind::Number, unit, values };
        std::iter::once(column).chain(split).collect()
    }

    /// A column of texts or of dates.
    fn texts(&self, index: usize, name: &str, kind: Kind, findings: &mut Findings) -> TypedValues {
        let rows = self.layout.rows.iter().zip(self.data).filter(|(_, is_data)| **is_data).map(|(row, _)| row);
        let cells: Vec<(u64, &Cell)> = rows.filter_map(|row| Some((row.line, row.cells.get(index)?))).collect();
        let plain = |cell: &Cell| Some(text_of(cell).into_owned()).filter(|text| !text.is_empty());
        if kind == Kind::Date
            && let DateVerdict::Dates { values, notes, .. } =
                dates::classify_date_column(name, &cells, &self.settings.dates)
        {
            findings.notes.extend(notes);
            let mut cut = Vec::new();
            let dated = values.iter().zip(&cells).map(|(date, (line, cell))| {
                let date = (*date)?;
                let (text, has_lost_time) = date_text(date, cell);
                cut.extend(has_lost_time.then_some(*line));
                Some(text)
            });
            let dated = dated.collect();
            if let Some(first) = cut.first() {
                let message = format!("The times in column {} are left out: {}.", preview(name), lines(&cut));
                findings.note(Note::new(message).at_line(*first).in_column(name));
            }
            return TypedValues::Texts(dated);
        }
        TypedValues::Texts(cells.iter().map(|(_, cell)| plain(cell)).collect())
    }
}

/// A date as a text that sorts as dates do, and whether the cell has a time that it lacks.
fn date_text(date: Date, cell: &Cell) -> (String, bool) {
    let day = date.to_string();
    match cell {
        Cell::Date(at) if at.time() != Time::midnight() => (at.to_string(), false),
        Cell::Text(text) if text.starts_with(&day) && text.contains(':') => (text.clone(), false),
        Cell::Text(text) => (day, text.contains(':')),
        Cell::Empty | Cell::Number(_) | Cell::Measured(..) | Cell::Boolean(_) | Cell::Date(_) | Cell::Error(_) => {
            (day, false)
        }
    }
}

/// Gives the columns names that are different for a query, which does not distinguish the case of letters.
fn name_apart(columns: &mut [TypedColumn]) {
    let mut used: BTreeSet<String> = BTreeSet::new();
    for (index, column) in columns.iter_mut().enumerate() {
        let plain: String = column.name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let base = match plain.trim() {
            "" => format!("column_{}", index + 1),
            name => name.to_owned(),
        };
        let mut unique = base.clone();
        let mut number = 2;
        while !used.insert(unique.to_lowercase()) {
            unique = format!("{base}_{number}");
            number += 1;
        }
        column.name = unique;
    }
}
