//! Events → tree, with an explicit stack, so that the nesting of a file causes no recursion.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::comments::NumberedComments;
use super::spaces::{self, PlainRole};
use super::{ALIASES_MAX, DEPTH_MAX, MapEntry, NODES_MAX, Node, NodeValue, Position, TEXT_BYTES_MAX, YamlError};
use super::{narrow, scalar, text};
use crate::problem::ProblemKind;

/// A list or map that is not complete.
struct Open {
    at: Position,
    anchor: usize,
    node: OpenNode,
}

enum OpenNode {
    List(Vec<Node>),
    /// The names are compared with those of the entries, or of a large map with a set of them.
    Map {
        entries: Vec<MapEntry>,
        names: BTreeSet<String>,
        name: Option<(Position, String)>,
    },
}

/// The size of a node with everything in it.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

/// The first line after a text that ends here.
fn line_after(end: &Marker) -> u32 {
    narrow(end.line()).saturating_add(u32::from(end.col() > 0))
}

impl Size {
    const fn plus(self, other: Self) -> Self {
        Self { nodes: self.nodes.saturating_add(other.nodes), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

#[derive(Default)]
struct Builder<'t> {
    comments: NumberedComments<'t>,
    open: Vec<Open>,
    /// Complete nodes with an anchor.
    anchors: BTreeMap<usize, (Node, Size)>,
    root: Option<Node>,
    /// The size of the file with all anchors and aliases.
    size: Size,
    /// The lines of blocks, and those of quoted texts except the first.
    quoted: Vec<Range<u32>>,
    aliases: usize,
    documents: usize,
}

/// Parses the single document of a file.
///
/// # Errors
/// The first error; the rest of the file cannot be interpreted after it.
pub fn parse(bytes: &[u8]) -> Result<Node, YamlError> {
    parse_text(text::decode(bytes)?)
}

/// Parses a JSON file. It is read as YAML, of which it is a part.
///
/// # Errors
/// As [`parse`].
pub fn parse_json(bytes: &[u8]) -> Result<Node, YamlError> {
    parse_text(&text::json_as_yaml(text::decode(bytes)?))
}

fn parse_text(text: &str) -> Result<Node, YamlError> {
    let mut builder = Builder { comments: NumberedComments::find(text), ..Builder::default() };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(cause) => {
                let at = position(cause.marker());
                let explained = spaces::explain(text, at.line, &builder.quoted);
                return Err(explained.unwrap_or_else(|| not_yaml(text, at, cause.info())));
            }
        };
        builder.event(event, &span)?;
    }
    // The parser accepts a byte order mark between the lines of a document.
    if text.contains(spaces::BYTE_ORDER_MARK)
        && let Some(error) = spaces::explain(text, u32::MAX, &builder.quoted)
    {
        return Err(error);
    }
    builder.root.ok_or_else(|| {
        let at = Position { line: 1, column: 1 };
        error(at, ProblemKind::Syntax, "the file is empty".into(), "it must hold a map".into())
    })
}

fn not_yaml(text: &str, at: Position, reason: &str) -> YamlError {
    let line = usize::try_from(at.line.saturating_sub(1)).ok().and_then(|before| text.lines().nth(before));
    let has_tab = line.is_some_and(|line| line.contains('\t'));
    let expected = if has_tab { "the line has a tab: replace it by spaces" } else { "" };
    error(at, ProblemKind::Syntax, format!("this is not YAML: {reason}"), expected.into())
}

fn error(at: Position, kind: ProblemKind, found: String, expected: String) -> YamlError {
    YamlError { at, kind, found, expected }
}

fn position(marker: &Marker) -> Position {
    Position { line: narrow(marker.line()), column: narrow(marker.col() + 1) }
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), YamlError> {
        let at = position(&span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.document(at),
            Event::Scalar(text, style, anchor, tag) => {
                untagged(tag.is_some(), at)?;
                let bytes = text.len();
                let value = match style {
                    ScalarStyle::Plain => {
                        let value = self.plain(&text, at)?;
                        if matches!(value, NodeValue::Text(_)) {
                            self.comments.check(&span.end)?;
                        }
                        value
                    }
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                        self.quoted.push(at.line.saturating_add(1)..line_after(&span.end));
                        NodeValue::Text(text.into_owned())
                    }
                    // The parser reports the first line of its content as the start of a block.
                    ScalarStyle::Literal | ScalarStyle::Folded => {
                        self.quoted.push(at.line..line_after(&span.end));
                        NodeValue::Text(text.into_owned())
                    }
                };
                let size = Size { nodes: 1, bytes };
                self.count(size, at)?;
                self.finished(Node { at, value }, anchor, size)
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

    /// Parses a text without quotes. A name is a text, however it is written: `1.10` and `on` are names too.
    fn plain(&self, text: &str, at: Position) -> Result<NodeValue, YamlError> {
        let (role, is_name) = match self.open.last().map(|open| &open.node) {
            Some(OpenNode::Map { name: None, .. }) => (PlainRole::Name, true),
            Some(OpenNode::Map { name: Some((name, _)), .. }) if name.line == at.line => {
                (PlainRole::ValueBesideName, false)
            }
            Some(OpenNode::Map { .. } | OpenNode::List(_)) | None => (PlainRole::OtherValue, false),
        };
        spaces::check_plain(text, at, role)?;
        if is_name && text == "<<" {
            let found = "merge keys (`<<`) are not part of YAML 1.2".to_owned();
            let expected = "write the members out, or use an alias as the whole value of a name".to_owned();
            return Err(error(at, ProblemKind::Syntax, found, expected));
        }
        match scalar::plain(text, at) {
            Ok(NodeValue::Null) => Ok(NodeValue::Null),
            _ if is_name => Ok(NodeValue::Text(text.to_owned())),
            value => value,
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

    fn count(&mut self, more: Size, at: Position) -> Result<(), YamlError> {
        self.size.nodes = self.size.nodes.saturating_add(more.nodes);
        self.size.bytes = self.size.bytes.saturating_add(more.bytes);
        if self.size.nodes > NODES_MAX {
            let found = format!("the file has more than {NODES_MAX} values, aliases included");
            return Err(error(at, ProblemKind::TooLarge, found, String::new()));
        }
        if self.size.bytes > TEXT_BYTES_MAX {
            let found = format!("the texts of the file have more than {TEXT_BYTES_MAX} bytes, aliases included");
            return Err(error(at, ProblemKind::TooLarge, found, String::new()));
        }
        Ok(())
    }

    fn begin(&mut self, open: Open) -> Result<(), YamlError> {
        if self.open.len() == DEPTH_MAX {
            let found = format!("lists and maps are nested deeper than {DEPTH_MAX}");
            return Err(error(open.at, ProblemKind::TooDeep, found, String::new()));
        }
        self.count(Size { nodes: 1, bytes: 0 }, open.at)?;
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
        let size = if anchor > 0 { size(&node) } else { Size::default() };
        self.finished(node, anchor, size)
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), YamlError> {
        self.aliases += 1;
        if self.aliases > ALIASES_MAX {
            let found = format!("the file has more than {ALIASES_MAX} aliases");
            return Err(error(at, ProblemKind::Alias, found, String::new()));
        }
        let Some((node, size)) = self.anchors.get(&anchor) else {
            let found = "this alias refers to the value that contains it".to_owned();
            return Err(error(at, ProblemKind::Alias, found, String::new()));
        };
        let (node, size) = (Node { at, ..node.clone() }, *size);
        if self.open.len() + depth(&node) > DEPTH_MAX {
            let found = format!("lists and maps are nested deeper than {DEPTH_MAX}");
            return Err(error(at, ProblemKind::TooDeep, found, String::new()));
        }
        self.count(size, at)?;
        self.finished(node, 0, size)
    }

    fn finished(&mut self, node: Node, anchor: usize, size: Size) -> Result<(), YamlError> {
        if anchor > 0 {
            self.count(Size { nodes: 0, bytes: size.bytes }, node.at)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.node) {
            None => self.root = Some(node),
            Some(OpenNode::List(items)) => items.push(node),
            Some(OpenNode::Map { entries, names, name }) => match name.take() {
                Some((at, name)) => entries.push(MapEntry { at, name, value: node }),
                None => *name = Some(key(node, entries, names)?),
            },
        }
        Ok(())
    }
}

/// Entries of a map up to which their names are compared one by one.
const COMPARED_ENTRIES_MAX: usize = 24;

/// True if the map has this name, which `names` has from then on if the map is large.
fn is_duplicate(name: &str, entries: &[MapEntry], names: &mut BTreeSet<String>) -> bool {
    if entries.len() < COMPARED_ENTRIES_MAX {
        return entries.iter().any(|entry| entry.name == name);
    }
    if names.is_empty() {
        names.extend(entries.iter().map(|entry| entry.name.clone()));
    }
    !names.insert(name.to_owned())
}

fn key(node: Node, entries: &[MapEntry], names: &mut BTreeSet<String>) -> Result<(Position, String), YamlError> {
    let at = node.at;
    let name = match node.value {
        NodeValue::Text(text) => text,
        NodeValue::Bool(truth) => truth.to_string(),
        NodeValue::Number(number) => number.text.into(),
        NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_) => {
            let found = format!("{} is not a name", node.described());
            return Err(error(at, ProblemKind::WrongType, found, String::new()));
        }
    };
    if is_duplicate(&name, entries, names) {
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

/// Measures a tree, including its root. Recursion is safe, since the depth is bounded.
fn size(node: &Node) -> Size {
    let own = |bytes| Size { nodes: 1, bytes };
    match &node.value {
        NodeValue::Null | NodeValue::Bool(_) => own(0),
        NodeValue::Number(number) => own(number.text.len()),
        NodeValue::Text(text) => own(text.len()),
        NodeValue::List(items) => items.iter().map(size).fold(own(0), Size::plus),
        NodeValue::Map(entries) => {
            let entry = |entry: &MapEntry| own(entry.name.len()).plus(size(&entry.value));
            entries.iter().map(entry).fold(own(0), Size::plus)
        }
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::Text(_) => 0,
        NodeValue::List(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        NodeValue::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.value)).max().unwrap_or_default(),
    }
}
