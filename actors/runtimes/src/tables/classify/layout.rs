//! Grid → header and rows: which row names the columns, which rows above it, between and below are not data,
//! and whether every row has the width of the header.

use std::borrow::Cow;

use greenroom_protocol::Cause;

use super::cells::{text_of, used_width};
use super::findings::Findings;
use super::names;
use crate::tables::grid::{Cell, Grid, GridRow, list};
use crate::tables::note::{Note, lines, preview, unreadable};

mod header;
mod width;

/// Maximum texts of skipped rows that one note shows.
const SKIPPED_SHOWN_MAX: usize = 3;
/// Characters of a rule: fewer may be the mark for "no value".
const RULE_CHARS_MIN: usize = 3;
/// Columns from which a row with a single text is a caption and not a row of data.
const CAPTION_COLUMNS_MIN: usize = 3;

/// A table whose header is known.
#[derive(Debug)]
pub(super) struct Layout {
    /// The names of the columns, all different.
    pub(super) names: Vec<String>,
    /// True if the file has no header, so that the names are `column_1` and so on.
    pub(super) has_header: bool,
    /// The names as the header states them; empty where it states none.
    pub(super) stated_names: Vec<String>,
    /// The rows of data; each has as many cells as there are columns.
    pub(super) rows: Vec<GridRow>,
}

/// Finds the header and the rows of data of a grid.
///
/// # Errors
/// `invalid_data` if there are no rows, or with the line of a row whose width is not that of the header.
pub(super) fn lay_out(grid: Grid, findings: &mut Findings) -> Result<Layout, Cause> {
    let Grid { source, header, mut rows, notes: _, warnings: _ } = grid;
    if let Some(stated_names) = header {
        if rows.is_empty() {
            return Err(unreadable("the file has no records"));
        }
        let names = names::distinct_names(&stated_names, findings);
        return Ok(Layout { names, has_header: true, stated_names, rows });
    }
    drop_rules(&mut rows, findings);
    if rows.is_empty() {
        return Err(unreadable("the file has no rows"));
    }
    let position = header::find(&rows);
    if position.header.is_none() {
        width::check_names(rows.get(position.data..).unwrap_or_default(), position.width, &source)?;
    }
    let first = position.header.map_or(position.data, |header| header + 1);
    let mut body = rows.split_off(first);
    let header_row = position.header.and_then(|_| rows.pop());
    note_skipped("above the header", &rows, findings);
    let header_width = header_row.as_ref().map_or(position.width, |row| row.cells.len());
    let width = match &header_row {
        Some(row) => {
            let below = body.iter().map(used_width).filter(|width| *width <= header_width).max();
            used_width(row).max(below.unwrap_or(0))
        }
        None => position.width,
    };
    if let Some(row) = &header_row {
        drop_repeated_headers(row, &mut body, findings);
    } else if let Some(row) = body.first() {
        let message = format!(
            "No row of the file names the columns: line {} has data, so the columns are called column_1, column_2 and so \
             on. Add a line with names above it.",
            row.line
        );
        findings.warn(Note::new(message).at_line(row.line));
    }
    drop_captions(&mut body, width, findings);
    for row in &mut body {
        width::fit(row, width, &source)?;
    }
    let stated_names: Vec<String> = (0..width)
        .map(|index| {
            header_row
                .as_ref()
                .and_then(|row| row.cells.get(index))
                .map_or(String::new(), |cell| text_of(cell).into_owned())
        })
        .collect();
    if body.is_empty() {
        return Err(unreadable("the file has a header and no rows"));
    }
    if let Some(row) = &header_row {
        note_numeric_names(row, findings);
    }
    let has_header = header_row.is_some();
    let names = match has_header {
        true => names::distinct_names(&stated_names, findings),
        false => (1..=width).map(|number| format!("column_{number}")).collect(),
    };
    Ok(Layout { names, has_header, stated_names, rows: body })
}

fn note_skipped(position: &str, rows: &[GridRow], findings: &mut Findings) {
    let Some(first) = rows.first() else { return };
    let numbers: Vec<u64> = rows.iter().map(|row| row.line).collect();
    let texts: Vec<String> = rows.iter().take(SKIPPED_SHOWN_MAX).map(|row| preview(&row_text(row))).collect();
    let more = if rows.len() > SKIPPED_SHOWN_MAX { ", …" } else { "" };
    let verb = if rows.len() == 1 { "is" } else { "are" };
    let mut located = lines(&numbers);
    if let Some(letter) = located.get_mut(..1) {
        letter.make_ascii_uppercase();
    }
    let message = format!("{located} {verb} {position} and {verb} not counted as data: {}{more}.", texts.join(", "));
    findings.note(Note::new(message).at_line(first.line));
}

fn row_text(row: &GridRow) -> String {
    let texts: Vec<Cow<'_, str>> = row.cells.iter().map(text_of).filter(|text| !text.is_empty()).collect();
    texts.join(" ")
}

/// Drops the lines of dashes, as they are below the header of a table in Markdown and of a printed one.
fn drop_rules(rows: &mut Vec<GridRow>, findings: &mut Findings) {
    let is_rule_mark = |c: char| matches!(c, '-' | '=' | ':' | '_' | '+' | '–' | '—' | '─' | '━' | '═');
    let is_rule = |cell: &Cell| matches!(cell, Cell::Text(text) if text.chars().count() >= RULE_CHARS_MIN && text.chars().all(is_rule_mark));
    let is_line = |row: &GridRow| {
        let mut cells = row.cells.iter().filter(|cell| **cell != Cell::Empty).peekable();
        cells.peek().is_some() && cells.all(is_rule)
    };
    let (rules, retained): (Vec<GridRow>, Vec<GridRow>) = std::mem::take(rows).into_iter().partition(is_line);
    *rows = retained;
    note_skipped("a rule", &rules, findings);
}

/// Drops the rows that repeat the header, as in several exports in one file, with the captions above them.
fn drop_repeated_headers(header: &GridRow, body: &mut Vec<GridRow>, findings: &mut Findings) {
    let is_same = |row: &GridRow| {
        let width = used_width(header).max(used_width(row));
        (0..width).all(|index| {
            let text = |row: &GridRow| row.cells.get(index).map_or(String::new(), |cell| text_of(cell).to_lowercase());
            text(header) == text(row)
        })
    };
    let (repeated, retained): (Vec<GridRow>, Vec<GridRow>) = std::mem::take(body).into_iter().partition(is_same);
    *body = retained;
    if let Some(first) = repeated.first() {
        let numbers: Vec<u64> = repeated.iter().map(|row| row.line).collect();
        let message =
            format!("The header in line {} repeats in {}; it is not counted as data.", header.line, lines(&numbers));
        findings.note(Note::new(message).at_line(first.line));
    }
}

/// Drops the rows that have a single text and no figure: titles and footnotes inside or below the table. Below the last
/// figure, a footnote may also have been split at a delimiter in it.
fn drop_captions(body: &mut Vec<GridRow>, width: usize, findings: &mut Findings) {
    // `Source: ERP, 2024-12-31` is a footnote with a date.
    let is_remark = |row: &GridRow| {
        row.cells.len() < width && matches!(row.cells.first(), Some(Cell::Text(text)) if text.contains(": "))
    };
    let has_value = |row: &GridRow| row.cells.iter().any(header::is_value) && !is_remark(row);
    let below = body.iter().rposition(has_value).map_or(body.len(), |last| last + 1);
    let is_caption = |index: usize, row: &GridRow| {
        let is_short = row.cells.len() < width || width >= CAPTION_COLUMNS_MIN;
        let mut cells = row.cells.iter().filter(|cell| **cell != Cell::Empty);
        let is_single = matches!((cells.next(), cells.next()), (Some(cell), None) if header::is_text(cell));
        (is_single && (is_short || index >= below)) || (index >= below && row.cells.len() < width)
    };
    let mut captions = Vec::new();
    let mut retained = Vec::with_capacity(body.len());
    for (index, row) in std::mem::take(body).into_iter().enumerate() {
        if is_caption(index, &row) { &mut captions } else { &mut retained }.push(row);
    }
    *body = retained;
    note_skipped("a text without a figure", &captions, findings);
}

/// Reports a header whose names are numbers, which could have been data.
fn note_numeric_names(header: &GridRow, findings: &mut Findings) {
    let numeric: Vec<&Cell> = header.cells.iter().filter(|cell| header::is_figure(cell)).collect();
    if numeric.is_empty() {
        return;
    }
    let texts: Vec<Cow<'_, str>> = numeric.iter().map(|cell| text_of(cell)).collect();
    let message = format!(
        "Line {} is read as the header, so {} {} and not counted as data.",
        header.line,
        list(texts.iter().map(AsRef::as_ref)),
        if numeric.len() == 1 { "is the name of a column" } else { "are names of columns" },
    );
    let note = Note::new(message).at_line(header.line);
    let is_likely = numeric.len() > 1 && numeric.iter().all(|cell| header::is_period(cell));
    if is_likely { findings.note(note) } else { findings.warn(note) }
}

#[cfg(test)]
mod tests;
