//! Events → tree, with an explicit stack, so that the nesting of a file causes no recursion.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::{
    ALIASES_MAX, DEPTH_MAX, FILE_BYTES_MAX, MapEntry, NODES_MAX, Node, NodeValue, Position, YamlError, scalar,
};
use crate::problem::ProblemKind;

/// A list or map that is not complete.
struct Open {
    at: Position,
    anchor: usize,
    node: OpenNode,
}

enum OpenNode {
    List(Vec<Node>),
    Map { entries: Vec<MapEntry>, names: BTreeSet<String>, name: Option<(Position, String)> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    /// Complete nodes with an anchor, with their number of nodes.
    anchors: BTreeMap<usize, (Node, usize)>,
    root: Option<Node>,
    nodes: usize,
    aliases: usize,
    documents: usize,
}

/// Parses the single document of a file.
///
/// # Errors
/// The first error; the rest of the file cannot be interpreted after it.
pub fn parse(bytes: &[u8]) -> Result<Node, YamlError> {
    if bytes.len() > FILE_BYTES_MAX {
        let expected = format!("a definition may have {FILE_BYTES_MAX} bytes");
        return Err(error(
            Position::default(),
            ProblemKind::TooLarge,
            format!("the file has {} bytes", bytes.len()),
            expected,
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|cause| not_utf8(bytes, cause.valid_up_to()))?;
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|cause| {
            error(
                position(cause.marker()),
                ProblemKind::Syntax,
                format!("this is not YAML: {}", cause.info()),
                String::new(),
            )
        })?;
        builder.event(event, position(&span.start))?;
    }
    builder.root.ok_or_else(|| {
        error(
            Position { line: 1, column: 1 },
            ProblemKind::Syntax,
            "the file is empty".into(),
            "it must hold a map".into(),
        )
    })
}

fn error(at: Position, kind: ProblemKind, found: String, expected: String) -> YamlError {
    YamlError { at, kind, found, expected }
}

fn not_utf8(bytes: &[u8], valid: usize) -> YamlError {
    let before = bytes.get(..valid).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let in_line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let column = String::from_utf8_lossy(in_line).chars().count() + 1;
    let at = Position { line: narrow(line), column: narrow(column) };
    let byte = bytes.get(valid).copied().unwrap_or_default();
    error(at, ProblemKind::NotUtf8, format!("the byte 0x{byte:02x} is not UTF-8"), "save the file as UTF-8".into())
}

fn position(marker: &Marker) -> Position {
    Position { line: narrow(marker.line()), column: narrow(marker.col() + 1) }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Position) -> Result<(), YamlError> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.document(at),
            Event::Scalar(text, style, anchor, tag) => {
                untagged(tag.is_some(), at)?;
                let value = match style {
                    ScalarStyle::Plain => scalar::plain(&text),
                    ScalarStyle::SingleQuoted
                    | ScalarStyle::DoubleQuoted
                    | ScalarStyle::Literal
                    | ScalarStyle::Folded => NodeValue::Text(text.into_owned()),
                };
                self.count(1, at)?;
                self.finished(Node { at, value }, anchor, 1)
            }
            Event::SequenceStart(anchor, tag) => {
                untagged(tag.is_some(), at)?;
                self.begin(Open { at, anchor, node: OpenNode::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                untagged(tag.is_some(), at)?;
                let node = OpenNode::Map { entries: Vec::new(), names: BTreeSet::new(), name: None };
                self.begin(Open { at, anchor, node })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, at),
        }
    }

    fn document(&mut self, at: Position) -> Result<(), YamlError> {
        self.documents += 1;
        if self.documents > 1 {
            let found = "a second document begins here".to_owned();
            return Err(error(at, ProblemKind::Syntax, found, "a file holds one definition".into()));
        }
        Ok(())
    }

    fn count(&mut self, more: usize, at: Position) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > NODES_MAX {
            let found = format!("the file has more than {NODES_MAX} values, aliases included");
            return Err(error(at, ProblemKind::TooLarge, found, String::new()));
        }
        Ok(())
    }

    fn begin(&mut self, open: Open) -> Result<(), YamlError> {
        if self.open.len() == DEPTH_MAX {
            let found = format!("lists and maps are nested deeper than {DEPTH_MAX}");
            return Err(error(open.at, ProblemKind::TooDeep, found, String::new()));
        }
        self.count(1, open.at)?;
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self) -> Result<(), YamlError> {
        let Some(Open { at, anchor, node }) = self.open.pop() else { return Ok(()) };
        let value = match node {
            OpenNode::List(items) => NodeValue::List(items),
            OpenNode::Map { entries, .. } => NodeValue::Map(entries),
        };
        let node = Node { at, value };
        let nodes = if anchor > 0 { size(&node) } else { 0 };
        self.finished(node, anchor, nodes)
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), YamlError> {
        self.aliases += 1;
        if self.aliases > ALIASES_MAX {
            let found = format!("the file has more than {ALIASES_MAX} aliases");
            return Err(error(at, ProblemKind::Alias, found, String::new()));
        }
        let Some((node, nodes)) = self.anchors.get(&anchor) else {
            let found = "this alias refers to the value that contains it".to_owned();
            return Err(error(at, ProblemKind::Alias, found, String::new()));
        };
        let (node, nodes) = (Node { at, ..node.clone() }, *nodes);
        if self.open.len() + depth(&node) > DEPTH_MAX {
            let found = format!("lists and maps are nested deeper than {DEPTH_MAX}");
            return Err(error(at, ProblemKind::TooDeep, found, String::new()));
        }
        self.count(nodes, at)?;
        self.finished(node, 0, nodes)
    }

    fn finished(&mut self, node: Node, anchor: usize, nodes: usize) -> Result<(), YamlError> {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), nodes));
        }
        match self.open.last_mut().map(|open| &mut open.node) {
            None => self.root = Some(node),
            Some(OpenNode::List(items)) => items.push(node),
            Some(OpenNode::Map { entries, names, name }) => match name.take() {
                Some((at, name)) => entries.push(MapEntry { at, name, value: node }),
                None => *name = Some(key(node, names)?),
            },
        }
        Ok(())
    }
}

fn key(node: Node, names: &mut BTreeSet<String>) -> Result<(Position, String), YamlError> {
    let at = node.at;
    let name = match node.value {
        NodeValue::Text(text) => text,
        NodeValue::Bool(truth) => truth.to_string(),
        NodeValue::Number(number) => number.to_string(),
        NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_) => {
            let found = format!("{} is not a name", node.described());
            return Err(error(at, ProblemKind::WrongType, found, String::new()));
        }
    };
    if !names.insert(name.clone()) {
        return Err(error(
            at,
            ProblemKind::DuplicateKey,
            format!("`{name}` is duplicated"),
            "remove one of them".into(),
        ));
    }
    Ok((at, name))
}

fn untagged(tagged: bool, at: Position) -> Result<(), YamlError> {
    if tagged {
        let found = "a tag (`!…`) has no meaning in a definition".to_owned();
        return Err(error(at, ProblemKind::Syntax, found, "remove it, or quote the text".into()));
    }
    Ok(())
}

/// Counts the nodes of a tree, including its root. Recursion is safe, since the depth is bounded.
fn size(node: &Node) -> usize {
    1 + match &node.value {
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::Text(_) => 0,
        NodeValue::List(items) => items.iter().map(size).sum(),
        NodeValue::Map(entries) => entries.iter().map(|entry| 1 + size(&entry.value)).sum(),
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::Text(_) => 0,
        NodeValue::List(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        NodeValue::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.value)).max().unwrap_or_default(),
    }
}
