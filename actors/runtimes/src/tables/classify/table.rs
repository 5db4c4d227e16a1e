//! A classified table: what each column is and why, which rows are data, and the series that can be computed
//! with.

use jiff::civil::Date;

use super::meaning::Meaning;
use crate::tables::decimal::Decimal;
use crate::tables::note::Note;

/// A table after all decisions about it.
#[derive(Debug)]
pub(crate) struct Table {
    /// The columns, in the order of the file.
    pub(crate) columns: Vec<Column>,
    /// The rows of data; titles, repeated headers and totals are not among them.
    pub(crate) rows: Vec<Row>,
    /// The column that dates the rows, with the day of each row.
    pub(crate) dates: Option<Dates>,
    /// Why columns that look like dates do not date the rows.
    pub(crate) undated: Vec<Note>,
    /// The figures, one series for each number column, or for each unit of one.
    pub(crate) series: Vec<Series>,
    /// Choices that are safe, but not the only possible ones.
    pub(crate) notes: Vec<Note>,
    /// Choices that may be wrong.
    pub(crate) warnings: Vec<Note>,
}

/// One row of data.
#[derive(Debug)]
pub(crate) struct Row {
    /// The line of the file on which it begins.
    pub(crate) line: u64,
    /// The texts of its cells.
    pub(crate) cells: Vec<String>,
}

/// The days of the rows.
#[derive(Debug)]
pub(crate) struct Dates {
    /// The index of the column.
    pub(crate) column: usize,
    /// One day for each row.
    pub(crate) days: Vec<Date>,
    /// How the order of day and month was assumed, if the days do not decide it.
    pub(crate) order: Option<Note>,
}

/// What a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Days.
    Date,
    /// Figures.
    Number,
    /// The currencies or the units of the figures of other columns.
    Unit,
    /// Few texts, which divide the rows into groups.
    Category,
    /// Ids, codes, telephone numbers and parts of dates: digits that are not a quantity.
    Identifier,
    /// Other texts.
    Text,
}

impl Kind {
    /// The kind in the facts.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Number => "number",
            Self::Unit => "unit",
            Self::Category => "category",
            Self::Identifier => "identifier",
            Self::Text => "text",
        }
    }
}

/// One column.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// The reason for its kind, as a sentence.
    pub(crate) reason: String,
}

/// Whether the figures of a series may be added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Additivity {
    /// Their sum is an amount.
    Additive,
    /// Their sum is an amount only if each row is one item, as with a price; no headline shows it.
    Doubtful,
    /// Their sum means nothing.
    None,
}

/// The figures of a column that have one unit.
#[derive(Debug)]
pub(crate) struct Series {
    /// Its name: that of the column, with the unit if the column has several.
    pub(crate) name: String,
    /// Its unit.
    pub(crate) unit: Option<String>,
    /// What the figures are.
    pub(crate) meaning: Meaning,
    /// Whether they may be added up.
    pub(crate) additivity: Additivity,
    /// One value for each row; `None` where the cell has none of this unit.
    pub(crate) values: Vec<Option<Decimal>>,
}
