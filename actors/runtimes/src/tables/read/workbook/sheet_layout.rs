//! What the layout of a sheet hides or shares: hidden rows and columns, whose cells are read all the same, and
//! merged cells, whose text holds for each of their rows. The library does not have the former, so the XML of the
//! sheet is read once more.

use std::collections::BTreeSet;
use std::io::{BufReader, Cursor};
use std::ops::RangeInclusive;

use greenroom_protocol::Cause;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, escape};
use zip::ZipArchive;

use super::cells::{SheetContent, column_letters};
use crate::tables::grid::{CELLS_MAX, Cell, list, too_large};
use crate::tables::note::{Note, count, lines};

/// The files of a workbook.
type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// The layout of a sheet.
#[derive(Debug, Default)]
struct SheetLayout {
    /// The hidden rows, from 1.
    hidden_rows: BTreeSet<u64>,
    /// The hidden columns, from 0.
    hidden_columns: Vec<RangeInclusive<usize>>,
    /// The merged cells of one column: the column, from 0, and the rows, from 1.
    merged: Vec<(usize, RangeInclusive<u64>)>,
}

/// Applies the layout of a sheet to its cells: notes what is hidden, and copies the text of merged cells.
///
/// # Errors
/// `payload_too_large` if merged cells are more than the cells of a table.
pub(super) fn apply(bytes: &[u8], content: &mut SheetContent) -> Result<(), Cause> {
    let Some(layout) = read_layout(bytes, &content.name) else {
        let message = "Whether the sheet has hidden rows, hidden columns or merged cells could not be determined.";
        content.notes.push(Note::new(message));
        return Ok(());
    };
    content.notes.extend(hidden_rows_note(&layout, content));
    content.notes.extend(hidden_columns_note(&layout, content));
    let merged = fill_merged(&layout, content)?;
    content.notes.extend(merged);
    Ok(())
}

fn hidden_rows_note(layout: &SheetLayout, content: &SheetContent) -> Option<Note> {
    let rows = content.rows.iter().map(|row| row.line).filter(|line| layout.hidden_rows.contains(line));
    let hidden: Vec<u64> = rows.collect();
    let first = hidden.first()?;
    let message = format!(
        "{} hidden in the workbook, by a filter or by hand, and counted like the others: {}. Delete hidden rows to \
         leave them out.",
        are(hidden.len(), "row"),
        lines(&hidden)
    );
    Some(Note::new(message).at_line(*first))
}

fn hidden_columns_note(layout: &SheetLayout, content: &SheetContent) -> Option<Note> {
    let width = content.rows.first().map_or(0, |row| row.cells.len());
    let has_cells =
        |index: &usize| content.rows.iter().any(|row| row.cells.get(*index).is_some_and(|cell| *cell != Cell::Empty));
    let is_hidden = |index: &usize| {
        let column = index + content.first_column;
        layout.hidden_columns.iter().any(|range| range.contains(&column))
    };
    let hidden: Vec<String> = (0..width)
        .filter(|index| is_hidden(index) && has_cells(index))
        .map(|index| column_letters(index + content.first_column))
        .collect();
    if hidden.is_empty() {
        return None;
    }
    let letters = list(hidden.iter().map(String::as_str));
    let message =
        format!("{} hidden in the workbook and read like the others: {letters}.", are(hidden.len(), "column"));
    Some(Note::new(message))
}

/// `1 row is`, `2 rows are`
fn are(number: usize, noun: &str) -> String {
    format!("{} {}", count(number, noun), if number == 1 { "is" } else { "are" })
}

/// Copies the text or the date of merged cells to each of their rows. A figure is not copied: it would be added up
/// several times.
fn fill_merged(layout: &SheetLayout, content: &mut SheetContent) -> Result<Option<Note>, Cause> {
    let (mut copied, mut merged, mut first) = (0_usize, 0_usize, None);
    for (column, lines) in &layout.merged {
        let Some(index) = column.checked_sub(content.first_column) else { continue };
        let from = content.rows.partition_point(|row| row.line < *lines.start());
        let to = content.rows.partition_point(|row| row.line <= *lines.end());
        let Some((top, below)) = content.rows.get_mut(from..to).and_then(<[_]>::split_first_mut) else { continue };
        let Some(cell @ (Cell::Text(_) | Cell::Date(_))) = top.cells.get(index).filter(|_| top.line == *lines.start())
        else {
            continue;
        };
        let mut is_copied = false;
        for row in below {
            copied += 1;
            if copied > CELLS_MAX {
                return Err(too_large("the merged cells of the sheet are more than the cells that are read"));
            }
            if let Some(target @ Cell::Empty) = row.cells.get_mut(index) {
                *target = cell.clone();
                is_copied = true;
            }
        }
        merged += usize::from(is_copied);
        if is_copied {
            first.get_or_insert_with(|| (column_letters(*column), *lines.start(), *lines.end()));
        }
    }
    Ok(first.map(|(letters, from, to)| {
        let message = format!(
            "The text of {}, the first of them {letters}{from}:{letters}{to}, holds for each of their rows.",
            count(merged, "merged cell")
        );
        Note::new(message).at_line(from)
    }))
}

/// Reads the layout of a sheet; `None` if its file cannot be found or parsed.
fn read_layout(bytes: &[u8], sheet: &str) -> Option<SheetLayout> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let mut id = None;
    for_each_element(&mut archive, "xl/workbook.xml", |element| {
        if element.local_name().as_ref() == "sheet" && attribute(element, "name").as_deref() == Some(sheet) {
            id = attribute(element, "id");
        }
        Some(())
    })?;
    let id = id?;
    let mut target = None;
    for_each_element(&mut archive, "xl/_rels/workbook.xml.rels", |element| {
        if element.local_name().as_ref() == "Relationship" && attribute(element, "Id").as_ref() == Some(&id) {
            target = attribute(element, "Target");
        }
        Some(())
    })?;
    let target = target?;
    let path = match target.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None if target.starts_with("xl/") => target,
        None => format!("xl/{}", target.trim_start_matches("./")),
    };
    let mut layout = SheetLayout::default();
    let mut line = 0;
    for_each_element(&mut archive, &path, |element| layout.add(element, &mut line))?;
    Some(layout)
}

impl SheetLayout {
    /// Adds what one element says; `None` if it has a position that cannot be read.
    fn add(&mut self, element: &BytesStart<'_>, line: &mut u64) -> Option<()> {
        let is_hidden = || attribute(element, "hidden").is_some_and(|value| matches!(value.as_str(), "1" | "true"));
        match element.local_name().as_ref() {
            "row" => {
                *line = match attribute(element, "r") {
                    Some(number) => number.parse().ok()?,
                    None => line.checked_add(1)?,
                };
                if is_hidden() {
                    self.hidden_rows.insert(*line);
                }
            }
            "col" if is_hidden() => {
                let number = |name| attribute(element, name)?.parse::<usize>().ok()?.checked_sub(1);
                self.hidden_columns.push(number("min")?..=number("max")?);
            }
            "mergeCell" => {
                let range = attribute(element, "ref")?;
                let (from, to) = range.split_once(':').unwrap_or((&range, &range));
                let ((from_column, from_line), (to_column, to_line)) = (position(from)?, position(to)?);
                if from_column == to_column && from_line < to_line {
                    self.merged.push((from_column, from_line..=to_line));
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// `B12` → 1, 12
fn position(text: &str) -> Option<(usize, u64)> {
    const LETTERS_MAX: usize = 3;
    let text = text.replace('$', "");
    let (letters, digits) = text.split_at_checked(text.find(|c: char| c.is_ascii_digit())?)?;
    if letters.is_empty() || letters.len() > LETTERS_MAX || !letters.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let column = letters.bytes().fold(0, |number, byte| number * 26 + usize::from(byte - b'A') + 1);
    Some((column - 1, digits.parse().ok()?))
}

/// The value of an attribute, whatever the prefix of its name.
fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = element.attributes();
    let found =
        attributes.with_checks(false).flatten().find(|attribute| attribute.key.local_name().as_ref() == name)?;
    escape::unescape(&found.value).ok().map(std::borrow::Cow::into_owned)
}

/// Calls a function for each element of a file of the workbook. `None` if there is no such file, if it cannot be
/// parsed, or if the function returns `None`.
fn for_each_element(
    archive: &mut Archive<'_>,
    path: &str,
    mut on_element: impl FnMut(&BytesStart<'_>) -> Option<()>,
) -> Option<()> {
    let is_path = |name: &str| name.trim_start_matches('/').eq_ignore_ascii_case(path);
    let name = archive.file_names().filter_map(Result::ok).find(|name| is_path(name))?.into_owned();
    let mut xml = Reader::from_reader(BufReader::new(archive.by_name(&name).ok()?));
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match xml.read_event_into(&mut buffer).ok()? {
            Event::Start(element) | Event::Empty(element) => on_element(&element)?,
            Event::Eof => return Some(()),
            _ => {}
        }
    }
}
