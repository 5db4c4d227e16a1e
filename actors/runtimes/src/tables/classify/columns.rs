//! The columns of a laid-out table: which has dates, which has numbers and in which notation, and which rows
//! are dated.

use greenroom_protocol::Cause;

use super::cells::{form, text_of};
use super::date_parts::JoinedDate;
use super::decide::{self, Decision, Naming, Subject};
use super::evidence::{ColumnCell, Evidence};
use super::figure::{Form, form_of};
use super::findings::Findings;
use super::layout::Layout;
use super::meaning::{Meaning, meaning_of};
use super::notation::{self, FileHint, Notation};
use super::numbers::{self, Numbers, Reading};
use super::series;
use super::settings::ClassifySettings;
use super::table::{Column, Dates, Kind, Row, Series};
use super::totals::{Keys, Label};
use super::units::{self, UnitColumn};
use crate::tables::dates::{self, DateOrder, DateSettings, DateVerdict};
use crate::tables::grid::{Cell, list};
use crate::tables::note::{Note, invalid, lines, preview, unreadable};
use crate::tables::unit::Unit;

/// The columns, before the rows that are no data are dropped.
pub(super) struct Classification {
    /// The columns.
    pub(super) columns: Vec<Column>,
    /// The values of the number columns.
    pub(super) numbers: Vec<Numbers>,
    /// The column that dates the rows.
    date: Option<usize>,
    /// With what the file says about its dates.
    pub(super) settings: ClassifySettings,
}

/// The cells of a column in the rows for which the mask is true.
fn cells_of<'a>(
    layout: &'a Layout,
    column: usize,
    mask: impl Fn(usize) -> bool,
) -> impl Iterator<Item = ColumnCell<'a>> {
    let rows = layout.rows.iter().enumerate().filter(move |(index, _)| mask(*index));
    rows.filter_map(move |(_, row)| Some(ColumnCell { line: row.line, cell: row.cells.get(column)? }))
}

/// The order of day and month that a column of the table has without doubt. Rows that may be totals are no evidence.
pub(super) fn order_of_dates(layout: &Layout, labels: &[Option<Label>], settings: &DateSettings) -> Option<DateOrder> {
    let columns = layout.names.iter().enumerate().map(|(index, name)| {
        let cells = cells_of(layout, index, |row| labels.get(row).is_none_or(Option::is_none));
        (name.as_str(), cells.map(|cell| (cell.line, cell.cell)).collect())
    });
    dates::order_of_file(columns, settings)
}

/// Decides what each column is, and reads the numbers. Rows that may be totals are no evidence.
///
/// # Errors
/// `invalid_data` with the line of a cell that cannot be read in its column.
pub(super) fn classify(
    layout: &Layout,
    labels: &[Option<Label>],
    joined: Option<&JoinedDate>,
    settings: &ClassifySettings,
    findings: &mut Findings,
) -> Result<Classification, Cause> {
    let is_evidence = |index: usize| labels.get(index).is_none_or(Option::is_none);
    let mut decisions: Vec<(Decision, Evidence)> = Vec::with_capacity(layout.names.len());
    for index in 0..layout.names.len() {
        let evidence = Evidence::collect(cells_of(layout, index, is_evidence));
        let decision = match joined.filter(|joined| joined.parts.contains(&index)) {
            Some(joined) => Decision::new(
                Kind::Identifier,
                format!("it is a part of the dates of column {}", preview(&joined.name)),
            ),
            None => {
                let cells: Vec<(u64, &Cell)> =
                    cells_of(layout, index, is_evidence).map(|cell| (cell.line, cell.cell)).collect();
                decide_column(layout, index, &cells, &evidence, &settings.dates, findings)?
            }
        };
        decisions.push((decision, evidence));
    }
    let mut columns = Vec::with_capacity(decisions.len());
    let mut all_numbers = Vec::new();
    let notations = notations(layout, &decisions, settings, findings)?;
    for (index, ((decision, _), notation)) in decisions.into_iter().zip(notations).enumerate() {
        let name = layout.names.get(index).cloned().unwrap_or_default();
        let mut reason = decision.reason;
        if let Some(notation) = notation {
            let reading = Reading { column: index, name: &name, notation, skips_exceptions: decision.skips_exceptions };
            let cells = cells_of(layout, index, |_| true).zip(labels.iter().map(Option::is_some));
            let read = numbers::read(reading, cells)?;
            if !read.values.iter().flatten().all(|value| value.is_integer()) {
                reason.push_str(&format!(", written with {}", notation.describe()));
            }
            all_numbers.push(read);
        }
        columns.push(Column { name, kind: decision.kind, reason });
    }
    let date = dating_column(&columns);
    Ok(Classification { columns, numbers: all_numbers, date, settings: *settings })
}

/// Decides what one column is: dates, or what its cells are otherwise.
fn decide_column(
    layout: &Layout,
    index: usize,
    cells: &[(u64, &Cell)],
    evidence: &Evidence,
    settings: &DateSettings,
    findings: &mut Findings,
) -> Result<Decision, Cause> {
    let name = layout.names.get(index).map_or("", String::as_str);
    match dates::classify_date_column(name, cells, settings) {
        DateVerdict::Dates { .. } => Ok(Decision::new(Kind::Date, "its cells are dates")),
        DateVerdict::Undated { warning } => {
            findings.warn_undated(warning);
            Ok(Decision::new(Kind::Text, "it looks like a column of dates and has no complete ones"))
        }
        DateVerdict::Unreadable { line, message } => Err(invalid(line, message)),
        DateVerdict::NotDates => {
            let is_unstated = layout.stated_names.get(index).is_some_and(|name| name.trim().is_empty());
            let naming = match layout.has_header {
                true if is_unstated => Naming::Unstated,
                true => Naming::Stated,
                false => Naming::NoHeader,
            };
            decide::decide(Subject { name, naming, meaning: meaning_of(name), evidence }, findings)
        }
    }
}

/// The notation of each number column.
fn notations(
    layout: &Layout,
    decisions: &[(Decision, Evidence)],
    settings: &ClassifySettings,
    findings: &mut Findings,
) -> Result<Vec<Option<Notation>>, Cause> {
    let numbers = || {
        let named = layout.names.iter().zip(decisions);
        named.map(|(name, (decision, evidence))| (name.as_str(), evidence, decision.kind == Kind::Number))
    };
    let decided = numbers().filter(|(_, _, is_number)| *is_number);
    let decided = decided.filter_map(|(name, evidence, _)| Some((evidence.marks.decisive()?, name)));
    let hint = FileHint::new(settings.notation, settings.dates.has_semicolons, decided);
    let mut all = Vec::with_capacity(decisions.len());
    for (name, evidence, is_number) in numbers() {
        all.push(match is_number {
            true => match numbers::contradicting(name, evidence).filter(|_| settings.notation.is_none()) {
                Some(cause) => return Err(cause),
                None => Some(notation::choose(name, &evidence.marks, hint, findings)),
            },
            false => None,
        });
    }
    Ok(all)
}

/// The column that dates the rows: by its name, or else the first column of dates.
fn dating_column(columns: &[Column]) -> Option<usize> {
    const NAMES: [&str; 16] = [
        "date", "datum", "day", "month", "period", "quarter", "time", "week", "fecha", "data", "tag", "monat", "jour",
        "mois", "päivä", "dato",
    ];
    let dates = || columns.iter().enumerate().filter(|(_, column)| column.kind == Kind::Date);
    let is_named = |column: &Column| {
        let name = column.name.to_lowercase();
        NAMES.iter().any(|word| name.contains(word))
    };
    dates().find(|(_, column)| is_named(column)).or_else(|| dates().next()).map(|(index, _)| index)
}

impl Classification {
    /// The columns that the search for totals compares: those whose figures add up, and those that describe a
    /// row.
    pub(super) fn keys(&self) -> Keys<'_> {
        let name = |numbers: &Numbers| self.columns.get(numbers.column).map_or("", |column| column.name.as_str());
        let adds_up = |numbers: &&Numbers| {
            let is_share = numbers.units.iter().flatten().any(|unit| matches!(unit, Unit::Share(_)));
            !is_share
                && !matches!(
                    meaning_of(name(numbers)),
                    Meaning::Ratio | Meaning::Price | Meaning::UnitPrice | Meaning::Level
                )
        };
        let numbers = self.numbers.iter().filter(adds_up).map(|numbers| numbers.values.as_slice()).collect();
        let describes = |column: &Column| match column.kind {
            Kind::Category | Kind::Text | Kind::Date => true,
            Kind::Number | Kind::Unit | Kind::Identifier => false,
        };
        let keys = self.columns.iter().enumerate().filter(|(_, column)| describes(column)).map(|(index, _)| index);
        Keys { numbers, keys: keys.collect(), date: self.date }
    }

    /// Rejects a cell that cannot be read in a row that has the label of a total and is data all the same.
    ///
    /// # Errors
    /// `invalid_data` with the line.
    pub(super) fn check_returned(&self, layout: &Layout, labels: &[Option<Label>], data: &[bool]) -> Result<(), Cause> {
        for (index, row) in layout.rows.iter().enumerate() {
            let is_returned = labels.get(index).is_some_and(Option::is_some) && data.get(index) == Some(&true);
            for numbers in self.numbers.iter().filter(|_| is_returned) {
                let has_value = numbers.values.get(index).copied().flatten().is_some();
                let cell = row.cells.get(numbers.column);
                let is_text = cell.is_some_and(|cell| matches!(form(cell), Form::Words | Form::Code | Form::Figure(_)));
                if let (Some(cell), Some(column), true, false) =
                    (cell, self.columns.get(numbers.column), is_text, has_value)
                {
                    let message =
                        format!("{} in column {} is not a number", preview(&text_of(cell)), preview(&column.name));
                    return Err(invalid(row.line, message));
                }
            }
        }
        Ok(())
    }

    /// Drops the rows without a date that have no figure either.
    ///
    /// # Errors
    /// `invalid_data` with the line of a row that has a figure and no date.
    pub(super) fn drop_undated(
        &self,
        layout: &Layout,
        mut data: Vec<bool>,
        findings: &mut Findings,
    ) -> Result<Vec<bool>, Cause> {
        let Some((date, column)) = self.date.and_then(|index| Some((index, self.columns.get(index)?))) else {
            return Ok(data);
        };
        let mut dropped = Vec::new();
        for ((index, row), is_data) in layout.rows.iter().enumerate().zip(&mut data) {
            let is_undated =
                row.cells.get(date).is_none_or(|cell| matches!(form(cell), Form::NoValue | Form::SheetError));
            if !*is_data || !is_undated {
                continue;
            }
            if self.numbers.iter().any(|numbers| numbers.values.get(index).copied().flatten().is_some()) {
                let message = format!(
                    "the row has no date in column {}; add it, or remove the row if it is a total",
                    preview(&column.name)
                );
                return Err(invalid(row.line, message));
            }
            *is_data = false;
            dropped.push(row.line);
        }
        if let Some(first) = dropped.first() {
            let message = format!("Rows without a date and without a figure are not counted: {}.", lines(&dropped));
            findings.note(Note::new(message).at_line(*first));
        }
        Ok(data)
    }

    /// The days of the rows of data.
    ///
    /// # Errors
    /// `invalid_data` with the line of a cell that is no date.
    pub(super) fn dates(
        &self,
        layout: &Layout,
        data: &[bool],
        findings: &mut Findings,
    ) -> Result<Option<Dates>, Cause> {
        let Some((index, column)) = self.date.and_then(|index| Some((index, self.columns.get(index)?))) else {
            return Ok(None);
        };
        let cells: Vec<(u64, &Cell)> =
            cells_of(layout, index, |row| data.get(row) == Some(&true)).map(|cell| (cell.line, cell.cell)).collect();
        match dates::classify_date_column(&column.name, &cells, &self.settings.dates) {
            DateVerdict::Dates { values, notes, order } => {
                findings.notes.extend(notes);
                let mut days = Vec::with_capacity(values.len());
                for (value, (line, cell)) in values.into_iter().zip(&cells) {
                    let message =
                        || format!("{} in column {} is not a date", preview(&text_of(cell)), preview(&column.name));
                    days.push(value.ok_or_else(|| invalid(*line, message()))?);
                }
                Ok(Some(Dates { column: index, days, order }))
            }
            DateVerdict::Unreadable { line, message } => Err(invalid(line, message)),
            DateVerdict::NotDates | DateVerdict::Undated { .. } => Ok(None),
        }
    }
}

/// Makes the series of the number columns from the rows of data.
pub(super) fn make_series(
    columns: &mut [Column],
    all: &[Numbers],
    rows: &[Row],
    findings: &mut Findings,
) -> Vec<Series> {
    let unit_columns = unit_columns(columns, rows);
    let is_quantity =
        |index: &usize| columns.get(*index).is_some_and(|column| meaning_of(&column.name) == Meaning::Quantity);
    let quantities: Vec<usize> = all.iter().map(|numbers| numbers.column).filter(is_quantity).collect();
    let mut made = Vec::new();
    for numbers in all {
        let Some(name) = columns.get(numbers.column).map(|column| column.name.clone()) else { continue };
        let meaning = meaning_of(&name);
        let unit_column = units::unit_column_of(numbers, (&name, meaning), &unit_columns, &quantities);
        let subject = units::Subject { name: &name, numbers, rows, unit_column };
        let split = units::split(&subject, findings);
        let Some(column) = columns.get_mut(numbers.column) else { continue };
        if split.is_empty() {
            column.kind = Kind::Text;
            "its figures have no common unit, so they are left out".clone_into(&mut column.reason);
            continue;
        }
        let labels: Vec<&str> = split.iter().filter_map(|series| series.unit.as_deref()).collect();
        if !labels.is_empty() {
            column.reason.push_str(&format!(", in {}", labels.join(", ")));
        }
        made.extend(series::make(&name, meaning, split, findings));
    }
    made
}

/// The columns of texts that are units of other columns.
fn unit_columns(columns: &mut [Column], rows: &[Row]) -> Vec<UnitColumn> {
    let mut all = Vec::new();
    for (index, column) in columns.iter_mut().enumerate() {
        if !matches!(column.kind, Kind::Category | Kind::Text) {
            continue;
        }
        let texts = rows.iter().filter_map(|row| row.cells.get(index)).map(String::as_str);
        let Some(unit) = units::unit_column(index, &column.name, texts.filter(|text| form_of(text) != Form::NoValue))
        else {
            continue;
        };
        column.kind = Kind::Unit;
        column.reason = if unit.has_currencies { "its cells are currencies" } else { "its cells are units" }.to_owned();
        all.push(unit);
    }
    all
}

/// Notes which of several columns of dates dates the rows.
pub(super) fn note_date_columns(columns: &[Column], dates: Option<&Dates>, findings: &mut Findings) {
    let Some(dating) = dates.and_then(|dates| columns.get(dates.column)) else { return };
    let others: Vec<&str> = columns
        .iter()
        .filter(|column| column.kind == Kind::Date && column.name != dating.name)
        .map(|column| column.name.as_str())
        .collect();
    if !others.is_empty() {
        let message = format!("Column {} dates the rows; {} has dates as well.", preview(&dating.name), list(others));
        findings.note(Note::new(message).in_column(&dating.name));
    }
}

/// The error for a table without a series; it names the column that comes closest.
pub(super) fn no_numbers(findings: &Findings) -> Cause {
    let closest = findings.warnings.iter().chain(&findings.notes).find(|note| note.column.is_some());
    match closest {
        Some(Note { line: Some(line), message, .. }) => {
            invalid(*line, format!("the data has no column of numbers. {message}"))
        }
        Some(Note { line: None, message, .. }) => unreadable(format!("the data has no column of numbers. {message}")),
        None => unreadable("the data has no column of numbers"),
    }
}
