//! Tree → structs. The decoder collects all problems instead of stopping at the first.

use std::path::Path;
use std::sync::Arc;

use greenroom_protocol::{Json, MicroUsd, Values};

use crate::definition_set::{Reference, ReferenceKind};
use crate::problem::{Location, Problem, ProblemKind, Severity, did_you_mean};
use crate::yaml::{MapEntry, Node, NodeValue, Position};

mod agent;
mod capabilities;
mod categories;
mod example;
mod field;
mod model_parameters;
mod models;
mod references;
mod value_type;
mod version;
mod workflow;

pub(crate) use agent::agent;
pub(crate) use capabilities::capabilities;
pub(crate) use categories::categories;
pub(crate) use models::models;
pub(crate) use workflow::{inline_team, team, workflow};

/// Collects the problems and the references of one file.
pub(crate) struct Decoder {
    file: Arc<Path>,
    problems: Vec<Problem>,
    references: Vec<Reference>,
}

/// Decodes one value; `None` if it is invalid, after recording the problem.
type Read<T> = fn(&mut Decoder, &Node) -> Option<T>;

impl Decoder {
    pub(crate) const fn new(file: Arc<Path>) -> Self {
        Self { file, problems: Vec::new(), references: Vec::new() }
    }

    pub(crate) fn into_parts(self) -> (Vec<Problem>, Vec<Reference>) {
        (self.problems, self.references)
    }

    /// Records a name that something outside of the file must have.
    pub(crate) fn refer(&mut self, kind: ReferenceKind, at: Position, name: impl Into<String>) {
        let location = Location { file: self.file.clone(), line: at.line, column: at.column };
        self.references.push(Reference { kind, name: name.into(), location });
    }

    pub(crate) fn error(
        &mut self,
        at: Position,
        kind: ProblemKind,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.problems.push(Problem {
            location: Location { file: self.file.clone(), line: at.line, column: at.column },
            severity: Severity::Error,
            kind,
            found: found.into(),
            expected: expected.into(),
        });
    }

    fn mistyped<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        self.error(
            node.at,
            ProblemKind::WrongType,
            format!("found {}", node.described()),
            format!("expected {expected}"),
        );
        None
    }
}

/// The members of a map. Each is decoded at most once; the remaining ones are unknown fields.
pub(crate) struct MapFields<'n> {
    at: Position,
    /// The kind of the map for a message: `an agent`.
    kind: &'static str,
    entries: Vec<&'n MapEntry>,
    known: Vec<&'static str>,
}

impl<'n> MapFields<'n> {
    /// Creates the fields of a map; `None` if the node is no map.
    pub(crate) fn new(decoder: &mut Decoder, node: &'n Node, kind: &'static str) -> Option<Self> {
        match &node.value {
            NodeValue::Map(entries) => {
                Some(Self { at: node.at, kind, entries: entries.iter().collect(), known: Vec::new() })
            }
            NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::Text(_) | NodeValue::List(_) => {
                decoder.mistyped(node, &format!("{kind}, which is a map"))
            }
        }
    }

    /// Removes a member and returns its value; a null member counts as missing.
    fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        let at = self.entries.iter().position(|entry| entry.name == name)?;
        let entry = self.entries.remove(at);
        Some(&entry.value).filter(|node| node.value != NodeValue::Null)
    }

    /// Decodes a required member.
    pub(crate) fn required<T>(&mut self, decoder: &mut Decoder, name: &'static str, read: Read<T>) -> Option<T> {
        match self.take(name) {
            Some(node) => read(decoder, node),
            None => {
                let hint = did_you_mean(name, self.entries.iter().map(|entry| entry.name.as_str()));
                // A similar name will be reported as unknown, with this one as its suggestion.
                if hint.is_none() {
                    decoder.error(self.at, ProblemKind::MissingField, format!("{} needs `{name}`", self.kind), "");
                } else {
                    decoder.error(
                        self.at,
                        ProblemKind::MissingField,
                        format!("{} needs `{name}`", self.kind),
                        "see below",
                    );
                }
                None
            }
        }
    }

    /// Decodes an optional member. `Some(None)` if it is missing, `None` if it is invalid.
    pub(crate) fn optional<T>(
        &mut self,
        decoder: &mut Decoder,
        name: &'static str,
        read: Read<T>,
    ) -> Option<Option<T>> {
        match self.take(name) {
            Some(node) => read(decoder, node).map(Some),
            None => Some(None),
        }
    }

    /// Decodes a member with a default value.
    pub(crate) fn or_default<T: Default>(
        &mut self,
        decoder: &mut Decoder,
        name: &'static str,
        read: Read<T>,
    ) -> Option<T> {
        self.optional(decoder, name, read).map(Option::unwrap_or_default)
    }

    /// Reports the remaining members as unknown fields.
    pub(crate) fn finish(self, decoder: &mut Decoder) {
        for entry in &self.entries {
            let hint = did_you_mean(&entry.name, self.known.iter().copied());
            let expected = hint.map_or_else(|| format!("{} has {}", self.kind, self.known.join(", ")), trimmed);
            decoder.error(
                entry.at,
                ProblemKind::UnknownField,
                format!("`{}` is not a field of {}", entry.name, self.kind),
                expected,
            );
        }
    }
}

/// Removes the leading comma of a hint, so that it can begin a sentence.
pub(crate) fn trimmed(hint: String) -> String {
    hint.trim_start_matches([',', ' ']).to_owned()
}

pub(crate) fn text(decoder: &mut Decoder, node: &Node) -> Option<String> {
    match &node.value {
        NodeValue::Text(text) => Some(text.clone()),
        NodeValue::Number(_) | NodeValue::Bool(_) => decoder.mistyped(node, "a text; put it in quotes"),
        NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_) => decoder.mistyped(node, "a text"),
    }
}

/// Decodes a text that is not empty.
pub(crate) fn name(decoder: &mut Decoder, node: &Node) -> Option<String> {
    let text = text(decoder, node)?;
    if text.trim().is_empty() {
        decoder.error(node.at, ProblemKind::InvalidValue, "the text is empty", "");
        return None;
    }
    Some(text)
}

pub(crate) fn number(decoder: &mut Decoder, node: &Node) -> Option<f64> {
    match &node.value {
        NodeValue::Number(number) => number.value.as_f64(),
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Text(_) | NodeValue::List(_) | NodeValue::Map(_) => {
            decoder.mistyped(node, "a number")
        }
    }
}

/// Decodes a number that is not negative.
pub(crate) fn amount(decoder: &mut Decoder, node: &Node) -> Option<f64> {
    let amount = number(decoder, node)?;
    if amount < 0.0 {
        decoder.error(node.at, ProblemKind::InvalidValue, format!("{amount} is negative"), "");
        return None;
    }
    Some(amount)
}

/// Decodes an amount of US dollars.
pub(crate) fn money(decoder: &mut Decoder, node: &Node) -> Option<f64> {
    let dollars = amount(decoder, node)?;
    if MicroUsd::from_usd(dollars).is_none() {
        decoder.error(node.at, ProblemKind::InvalidValue, format!("{dollars} is too large for an amount of money"), "");
        return None;
    }
    Some(dollars)
}

pub(crate) fn count(decoder: &mut Decoder, node: &Node) -> Option<u64> {
    match node.to_json().as_u64() {
        Some(count) => Some(count),
        None => decoder.mistyped(node, "a whole number, 0 or more"),
    }
}

/// Decodes a whole number from 1.
pub(crate) fn positive(decoder: &mut Decoder, node: &Node) -> Option<u64> {
    match node.to_json().as_u64() {
        Some(count) if count > 0 => Some(count),
        Some(_) | None => decoder.mistyped(node, "a whole number, 1 or more"),
    }
}

pub(crate) fn positive_u32(decoder: &mut Decoder, node: &Node) -> Option<u32> {
    let count = positive(decoder, node)?;
    let narrow = u32::try_from(count).ok();
    if narrow.is_none() {
        decoder.error(
            node.at,
            ProblemKind::InvalidValue,
            format!("{count} is too large"),
            format!("at most {}", u32::MAX),
        );
    }
    narrow
}

/// Decodes a value of any type, which is passed on as it is written.
pub(crate) fn json(decoder: &mut Decoder, node: &Node) -> Option<Json> {
    let mut is_exact = true;
    node.each_number(&mut |at, number| {
        if number.loses_places() {
            let found = format!("the number {} would be passed on as {}", number.text, number.value);
            let expected = format!("put it in quotes if it is a text, such as a version; else write {}", number.value);
            decoder.error(at, ProblemKind::InvalidValue, found, expected);
            is_exact = false;
        }
    });
    is_exact.then(|| node.to_json())
}

pub(crate) fn values(decoder: &mut Decoder, node: &Node) -> Option<Values> {
    let NodeValue::Map(_) = node.value else { return decoder.mistyped(node, "a map of names and values") };
    match json(decoder, node)? {
        Json::Object(members) => Some(members.into_iter().collect()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => None,
    }
}

/// Decodes a value that is written as a text: an id, a reference, a name of a closed list.
pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(decoder: &mut Decoder, node: &Node) -> Option<T> {
    let text = text(decoder, node)?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(message) => {
            decoder.error(node.at, ProblemKind::InvalidValue, format!("{text:?} is invalid"), message.to_string());
            None
        }
    }
}

/// Decodes a word of a closed list.
pub(crate) fn one_of<T: Copy>(decoder: &mut Decoder, node: &Node, all: &[(&str, T)]) -> Option<T> {
    let text = text(decoder, node)?;
    if let Some((_, value)) = all.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
    let hint = did_you_mean(&text, words.iter().copied()).unwrap_or_default();
    decoder.error(
        node.at,
        ProblemKind::InvalidValue,
        format!("`{text}` is not known{hint}"),
        format!("expected one of {}", words.join(", ")),
    );
    None
}

/// Decodes a list; it is invalid if any item is invalid.
pub(crate) fn list<T>(decoder: &mut Decoder, node: &Node, read: Read<T>) -> Option<Vec<T>> {
    let NodeValue::List(items) = &node.value else { return decoder.mistyped(node, "a list") };
    let read: Vec<Option<T>> = items.iter().map(|item| read(decoder, item)).collect();
    read.into_iter().collect()
}

pub(crate) fn ids<T: std::str::FromStr<Err: std::fmt::Display>>(decoder: &mut Decoder, node: &Node) -> Option<Vec<T>> {
    list(decoder, node, parsed)
}
