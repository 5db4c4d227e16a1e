//! The lists of a JSON document, and which of them is the table.

use greenroom_protocol::{Cause, ErrorCode};
use serde_json::json;
use serde_json::value::RawValue;

use super::pages::Pages;
use super::value::{self, Lines};
use crate::tables::grid::{Cell, list};
use crate::tables::note::{Note, invalid, preview, unreadable};

/// Maximum depth at which lists are searched.
const DEPTH_MAX: usize = 4;
/// Items of a list that are searched for figures.
const SAMPLED_ITEMS: usize = 20;
/// Names of a list of column names beside a list of rows.
const HEADER_NAMES: [&str; 5] = ["columns", "header", "headers", "fields", "names"];

/// Something of a document that may be its table.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    /// Its path of members, such as `result.data`; empty for the complete document.
    pub(super) path: String,
    /// Its values.
    pub(super) content: Content<'a>,
}

/// The table of a document.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    /// Its values.
    pub(super) content: Content<'a>,
    /// How it was chosen.
    pub(super) notes: Vec<Note>,
    /// Why it may not be the whole table.
    pub(super) warnings: Vec<Note>,
}

/// The values of a table.
#[derive(Debug)]
pub(super) enum Content<'a> {
    /// A list of objects.
    Objects(Vec<&'a RawValue>),
    /// A list of lists; the header is a list beside it, one of them, or missing.
    Rows {
        /// The names of the columns, if a list beside the rows has them.
        header: Option<&'a RawValue>,
        /// The rows.
        rows: Vec<&'a RawValue>,
    },
    /// Lists of equal length, one for each column.
    Columns(Vec<(String, Vec<&'a RawValue>)>),
}

impl Content<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Objects(items) | Self::Rows { rows: items, .. } => items.len(),
            Self::Columns(columns) => columns.first().map_or(0, |(_, cells)| cells.len()),
        }
    }
}

/// The content of values of the same kind; `None` if the first is neither an object nor a list.
pub(super) fn content_of<'a>(items: Vec<&'a RawValue>) -> Option<Content<'a>> {
    let first = items.first()?;
    if value::is_object(first) {
        Some(Content::Objects(items))
    } else if value::is_list(first) {
        Some(Content::Rows { header: None, rows: items })
    } else {
        None
    }
}

/// Chooses the table of a document that is an object. `None` if the document is itself a record.
///
/// # Errors
/// `invalid_input` with the names of the candidates, if several may be the table or none has the requested
/// name; `invalid_data` if the document has no records.
pub(super) fn choose<'a>(
    document: &'a RawValue,
    table: Option<&str>,
    lines: &mut Lines<'_>,
) -> Result<Option<Choice<'a>>, Cause> {
    let mut found = Found::default();
    found.search(document, "", 0, lines)?;
    let names: Vec<String> = found.candidates.iter().map(|candidate| candidate.path.clone()).collect();
    if let Some(table) = table {
        let requested = found.candidates.into_iter().find(|candidate| candidate.path == table);
        return match requested {
            Some(candidate) => {
                let warnings = found.pages.warning(candidate.content.len()).into_iter().collect();
                Ok(Some(Choice { content: candidate.content, notes: Vec::new(), warnings }))
            }
            None if names.is_empty() => Err(super::no_table(table, "the JSON document has no list of records")),
            None => Err(super::no_table(table, &format!("the JSON document has {}", list_names(&names)))),
        };
    }
    if found.candidates.is_empty() {
        return found.reject_without_records().map(|()| None);
    }
    let with_figures: Vec<usize> = (0..found.candidates.len()).filter(|index| found.has_figures(*index)).collect();
    let chosen = match (with_figures.as_slice(), found.candidates.len()) {
        ([only], _) => *only,
        (_, 1) => 0,
        _ => return Err(several(&found.candidates)),
    };
    let candidate = found.candidates.swap_remove(chosen);
    let others: Vec<&str> =
        names.iter().filter(|name| **name != candidate.path).chain(&found.other_lists).map(String::as_str).collect();
    let mut notes = Vec::new();
    if !others.is_empty() {
        let message =
            format!("The table is {} of the JSON document; {} is not read.", preview(&candidate.path), list(others));
        notes.push(Note::new(message));
    }
    if let Content::Columns(columns) = &candidate.content {
        let columns = list(columns.iter().map(|(name, _)| name.as_str()));
        notes.push(Note::new(format!(
            "The lists {columns} of the JSON document have equal lengths and are the columns."
        )));
    }
    let warnings = found.pages.warning(candidate.content.len()).into_iter().collect();
    Ok(Some(Choice { content: candidate.content, notes, warnings }))
}

fn list_names(names: &[String]) -> String {
    list(names.iter().map(String::as_str))
}

fn several(candidates: &[Candidate<'_>]) -> Cause {
    let described = candidates.iter().map(|one| format!("{} with {} records", preview(&one.path), one.content.len()));
    let message = format!(
        "the JSON document has several lists that may be the table: {}; name one with the input `table`",
        described.collect::<Vec<_>>().join(", ")
    );
    let names: Vec<&str> = candidates.iter().map(|candidate| candidate.path.as_str()).collect();
    Cause::new(ErrorCode::InvalidInput, message).with_details(json!({ "tables": names }))
}

/// What a document has.
#[derive(Debug, Default)]
struct Found<'a> {
    candidates: Vec<Candidate<'a>>,
    /// Lists that are no tables.
    other_lists: Vec<String>,
    /// The first list without items.
    empty_list: Option<String>,
    /// An object in the document.
    inner_object: Option<String>,
    /// What is beside the lists.
    pages: Pages,
}

impl<'a> Found<'a> {
    fn search(&mut self, object: &'a RawValue, path: &str, depth: usize, lines: &mut Lines<'_>) -> Result<(), Cause> {
        let members = value::members(object, lines.line_of(object))?;
        let before = self.candidates.len();
        let mut scalars: Vec<(String, Vec<&'a RawValue>)> = Vec::new();
        for (name, member) in &members {
            let parent = path.rsplit('.').next().unwrap_or_default();
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if value::is_object(member) {
                self.inner_object.get_or_insert_with(|| path.clone());
                if depth + 1 < DEPTH_MAX {
                    self.search(member, &path, depth + 1, lines)?;
                }
            } else if value::is_list(member) {
                let items = value::items(member, lines.line_of(member))?;
                match content_of(items.clone()) {
                    Some(content) => self.candidates.push(Candidate { path, content }),
                    None if items.is_empty() => self.empty_list = self.empty_list.take().or(Some(path)),
                    None => {
                        scalars.push((name.clone(), items));
                        self.other_lists.push(path);
                    }
                }
            } else {
                self.pages.add(parent, name, &path, member);
            }
        }
        self.add_header(before, &members, path);
        if self.candidates.len() == before {
            self.add_columns(scalars, path);
        }
        Ok(())
    }

    /// `{"columns": ["date", "revenue"], "data": [["2024-10-01", 5]]}`: the names are beside the rows.
    fn add_header(&mut self, from: usize, members: &[(String, &'a RawValue)], path: &str) {
        let header =
            members.iter().find(|(name, member)| HEADER_NAMES.contains(&name.as_str()) && value::is_list(member));
        let Some((name, names)) = header else { return };
        let mut is_used = false;
        for candidate in self.candidates.iter_mut().skip(from) {
            if let Content::Rows { header, .. } = &mut candidate.content {
                *header = Some(names);
                is_used = true;
            }
        }
        if is_used {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.other_lists.retain(|other| *other != path);
            // Names with their types, as objects.
            self.candidates.retain(|candidate| candidate.path != path);
        }
    }

    /// `{"date": ["2024-10-01"], "revenue": [5]}`: the lists are the columns.
    fn add_columns(&mut self, scalars: Vec<(String, Vec<&'a RawValue>)>, path: &str) {
        let length = scalars.first().map_or(0, |(_, cells)| cells.len());
        if scalars.len() < 2 || length < 2 || scalars.iter().any(|(_, cells)| cells.len() != length) {
            return;
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
        self.other_lists.retain(|other| !scalars.iter().any(|(name, _)| *other == format!("{prefix}{name}")));
        self.candidates.push(Candidate { path: path.to_owned(), content: Content::Columns(scalars) });
    }

    fn has_figures(&self, index: usize) -> bool {
        let is_figure = |value: &RawValue| match value::cell(value, 1) {
            Ok(Cell::Number(_) | Cell::Measured(..)) => true,
            Ok(Cell::Text(text)) => text.bytes().any(|byte| byte.is_ascii_digit()),
            Ok(Cell::Empty | Cell::Boolean(_) | Cell::Date(_) | Cell::Error(_)) | Err(_) => false,
        };
        match self.candidates.get(index).map(|candidate| &candidate.content) {
            Some(Content::Objects(items)) => items.iter().take(SAMPLED_ITEMS).any(|item| {
                value::members(item, 1).is_ok_and(|members| members.iter().any(|(_, member)| is_figure(member)))
            }),
            Some(Content::Rows { rows, .. }) => rows
                .iter()
                .take(SAMPLED_ITEMS)
                .any(|row| value::items(row, 1).is_ok_and(|cells| cells.iter().any(|cell| is_figure(cell)))),
            Some(Content::Columns(columns)) => {
                columns.iter().any(|(_, cells)| cells.iter().take(SAMPLED_ITEMS).any(|cell| is_figure(cell)))
            }
            None => false,
        }
    }

    /// Accepts a document that is itself a record: without inner objects, and without a list for records.
    fn reject_without_records(self) -> Result<(), Cause> {
        if let Some(path) = self.empty_list {
            return Err(unreadable(format!("the list {} of the JSON document has no records", preview(&path))));
        }
        match self.inner_object {
            Some(path) => {
                let message = "the JSON document is one object without a list of records";
                Err(invalid(1, format!("{message}; it has the object {}", preview(&path))))
            }
            None => Ok(()),
        }
    }
}
