//! Text → tree with positions. Bytes, depth, nodes and aliases are bounded while events arrive, so
//! that a hostile file costs no more than a few valid files of the maximum size.

use greenroom_protocol::Json;
use serde_json::Number;

use crate::problem::ProblemKind;

mod build;
mod comments;
mod scalar;
mod spaces;
mod text;

pub use build::{parse, parse_json};

/// Bytes of one file.
pub const FILE_BYTES_MAX: usize = 256 * 1_024;
/// Maximum nesting of lists and maps.
pub const DEPTH_MAX: usize = 32;
/// Nodes of one file, including the nodes of expanded aliases.
pub const NODES_MAX: usize = 20_000;
/// Bytes of the texts of one file, including the texts of anchors and of expanded aliases.
pub const TEXT_BYTES_MAX: usize = 4 * FILE_BYTES_MAX;
/// Aliases of one file.
pub const ALIASES_MAX: usize = 100;

/// The start of a node; line and column begin at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

/// A value and its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The position of its start.
    pub at: Position,
    /// The value.
    pub value: NodeValue,
}

/// The value of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeValue {
    /// An empty value, `null` or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(WrittenNumber),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Named values, in the order of the file.
    Map(Vec<MapEntry>),
}

/// A number with the text that was written for it: `1.10` is the number 1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenNumber {
    /// The number.
    pub value: Number,
    /// The text.
    pub text: Box<str>,
}

impl WrittenNumber {
    /// True if a decimal place would be lost where the number is passed on as a value: `1.10` becomes 1.1.
    #[must_use]
    pub fn loses_places(&self) -> bool {
        let fraction = self.text.split_once('.').map_or("", |(_, fraction)| fraction);
        fraction.len() > 1 && fraction.ends_with('0') && !fraction.contains(['e', 'E'])
    }
}

/// A named value.
#[derive(Debug, Clone, PartialEq)]
pub struct MapEntry {
    /// The position of the name.
    pub at: Position,
    /// The name.
    pub name: String,
    /// The value.
    pub value: Node,
}

/// One segment of a path in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathSegment<'a> {
    /// The member of that name.
    Name(&'a str),
    /// The item at that index, from 0.
    Item(usize),
}

/// The error of a file that is not valid YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// The position.
    pub at: Position,
    /// The kind of problem.
    pub kind: ProblemKind,
    /// A description of the invalid value.
    pub found: String,
    /// The expected value; may be empty.
    pub expected: String,
}

impl Node {
    /// Returns the node at a path, or its nearest existing ancestor.
    #[must_use]
    pub fn nearest(&self, path: &[PathSegment<'_>]) -> &Self {
        let mut node = self;
        for segment in path {
            match node.child(*segment) {
                Some(child) => node = child,
                None => break,
            }
        }
        node
    }

    /// The position of a line of a text, from 1. The parser reports the first line of content as the start of a
    /// block scalar.
    #[must_use]
    pub fn line_position(&self, line: usize) -> Position {
        match u32::try_from(line) {
            Ok(line) if line > 1 => Position { line: self.at.line.saturating_add(line - 1), column: 1 },
            Ok(_) | Err(_) => self.at,
        }
    }

    fn child(&self, segment: PathSegment<'_>) -> Option<&Self> {
        match (segment, &self.value) {
            (PathSegment::Name(name), NodeValue::Map(entries)) => {
                entries.iter().find(|entry| entry.name == name).map(|entry| &entry.value)
            }
            (PathSegment::Item(at), NodeValue::List(items)) => items.get(at),
            (
                PathSegment::Name(_),
                NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::Text(_) | NodeValue::List(_),
            )
            | (
                PathSegment::Item(_),
                NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::Text(_) | NodeValue::Map(_),
            ) => None,
        }
    }

    /// Converts the value to JSON. Recursion is safe, since the depth of a tree is bounded.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match &self.value {
            NodeValue::Null => Json::Null,
            NodeValue::Bool(truth) => Json::Bool(*truth),
            NodeValue::Number(number) => Json::Number(number.value.clone()),
            NodeValue::Text(text) => Json::String(text.clone()),
            NodeValue::List(items) => items.iter().map(Self::to_json).collect(),
            NodeValue::Map(entries) => {
                entries.iter().map(|entry| (entry.name.clone(), entry.value.to_json())).collect()
            }
        }
    }

    /// Calls a function with each number in the tree.
    pub fn each_number(&self, on_number: &mut dyn FnMut(Position, &WrittenNumber)) {
        match &self.value {
            NodeValue::Number(number) => on_number(self.at, number),
            NodeValue::List(items) => items.iter().for_each(|item| item.each_number(on_number)),
            NodeValue::Map(entries) => entries.iter().for_each(|entry| entry.value.each_number(on_number)),
            NodeValue::Null | NodeValue::Bool(_) | NodeValue::Text(_) => {}
        }
    }

    /// Describes the node for a message.
    #[must_use]
    pub fn described(&self) -> String {
        match &self.value {
            NodeValue::Null => "nothing".into(),
            NodeValue::Bool(truth) => format!("`{truth}`"),
            NodeValue::Number(number) => format!("the number {}", number.text),
            NodeValue::Text(text) if text.chars().count() <= 40 => format!("the text {text:?}"),
            NodeValue::Text(_) => "a text".into(),
            NodeValue::List(_) => "a list".into(),
            NodeValue::Map(_) => "a map".into(),
        }
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
