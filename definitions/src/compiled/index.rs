//! The index of the compiled form: one line for each name and each definition, so that a change of one definition is a
//! change of two lines. It has no offsets, which every change would move: the texts are in its order.

use std::collections::BTreeSet;

use greenroom_protocol::ContentHash;

use crate::kind::DefinitionKind;
use crate::known_names::KnownNames;

/// The beginning of the first line; it changes with the format.
pub(super) const HEAD: &str = "greenroom compiled definitions 1";

/// What a line has in place of a file, if there was none for the definition alone.
pub(super) const NO_FILE: &str = "-";

/// The kind of a name that the host owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    Policy,
    Handler,
    Tool,
    ToolServer,
    Provider,
}

impl NameKind {
    pub(super) const ALL: [Self; 5] = [Self::Policy, Self::Handler, Self::Tool, Self::ToolServer, Self::Provider];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Handler => "handler",
            Self::Tool => "tool",
            Self::ToolServer => "tool_server",
            Self::Provider => "provider",
        }
    }

    pub(super) const fn names(self, all: &KnownNames) -> &BTreeSet<String> {
        match self {
            Self::Policy => &all.policies,
            Self::Handler => &all.handlers,
            Self::Tool => &all.tools,
            Self::ToolServer => &all.tool_servers,
            Self::Provider => &all.providers,
        }
    }

    const fn names_mut(self, all: &mut KnownNames) -> &mut BTreeSet<String> {
        match self {
            Self::Policy => &mut all.policies,
            Self::Handler => &mut all.handlers,
            Self::Tool => &mut all.tools,
            Self::ToolServer => &mut all.tool_servers,
            Self::Provider => &mut all.providers,
        }
    }
}

/// A definition, with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexLine {
    pub(super) kind: DefinitionKind,
    pub(super) id: &'static str,
    pub(super) hash: ContentHash,
    /// The file that contained it, or [`NO_FILE`].
    pub(super) file: &'static str,
    pub(super) body: &'static str,
}

/// The index, with the texts that it divides.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The number of files that were compiled.
    pub(super) files: usize,
    /// The names that the definitions use, and that the host owns.
    pub(super) names: KnownNames,
    pub(super) lines: Vec<IndexLine>,
}

impl Index {
    /// Reads the index, and divides the texts by it.
    ///
    /// # Errors
    /// The reason why these are not an index and its texts.
    pub(super) fn read(index: &'static str, bodies: &'static str) -> Result<Self, String> {
        let (first, lines) = index.split_once('\n').ok_or("it is empty")?;
        let hash = first.strip_prefix(HEAD).ok_or("it has another format")?;
        if hash.trim() != ContentHash::from_content(lines.as_bytes()).to_string() {
            return Err("its index has another hash".to_owned());
        }
        let (mut read, mut rest) = (Self::default(), bodies);
        for line in lines.lines() {
            read.add(line, &mut rest).ok_or_else(|| format!("it has an unknown line: {line}"))?;
        }
        if rest.is_empty() { Ok(read) } else { Err("it has texts without a definition".to_owned()) }
    }

    fn add(&mut self, line: &'static str, rest: &mut &'static str) -> Option<()> {
        let (kind, values) = line.split_once(' ')?;
        match kind {
            "files" => self.files = values.parse().ok()?,
            "name" => {
                let (kind, name) = values.split_once(' ')?;
                let kind = NameKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
                kind.names_mut(&mut self.names).insert(name.to_owned());
            }
            "definition" => {
                let mut values = values.splitn(5, ' ');
                let mut next = || values.next();
                let (kind, id, hash) = (DefinitionKind::from_name(next()?)?, next()?, next()?.parse().ok()?);
                let (bytes, file) = (next()?.parse().ok()?, next()?);
                let (body, after) = rest.split_at_checked(bytes)?;
                *rest = after.strip_prefix('\n')?;
                self.lines.push(IndexLine { kind, id, hash, file, body });
            }
            _ => return None,
        }
        Some(())
    }
}
