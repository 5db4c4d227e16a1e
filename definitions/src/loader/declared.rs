//! The definition that an invalid file contains. It is named as not available, and a reference to it is then not a
//! second problem.

use std::path::Path;

use super::find::definition_kind;
use crate::catalogue::Catalogue;
use crate::definition_set::{DefinitionSet, UndecodedFile};
use crate::kind::DefinitionKind;
use crate::problem::Problem;
use crate::yaml::{Node, NodeValue, PathSegment};

/// Lines of a file in which the id is looked for.
const LINES_MAX: usize = 200;

/// Adds the definitions of files and folders that cannot be listed, and identifies those of files whose id cannot be
/// read: a file contains what it contained before, else a definition with its name.
pub(super) fn identify(all: &mut DefinitionSet, unlisted: &[Problem], previous: Option<&Catalogue>) {
    for file in all.undecoded.iter_mut().filter(|file| !file.is_id_declared) {
        if let Some((kind, id)) = previous.and_then(|previous| previous.files().get(&file.file)) {
            (file.kind, file.id) = (*kind, id.clone());
        }
    }
    for problem in unlisted {
        let unlisted = &problem.location.file;
        let before = previous.into_iter().flat_map(|previous| previous.files());
        let before: Vec<UndecodedFile> = before
            .filter(|(file, _)| file.starts_with(unlisted))
            .map(|(file, (kind, id))| UndecodedFile {
                kind: *kind,
                id: id.clone(),
                is_id_declared: true,
                file: file.clone(),
            })
            .collect();
        if before.is_empty() {
            let (kind, id) = (definition_kind(unlisted), id_from_name(unlisted));
            all.undecoded.push(UndecodedFile { kind, id, is_id_declared: false, file: unlisted.clone() });
        }
        all.undecoded.extend(before);
    }
}

/// Returns the id of a definition that is not valid.
pub(super) fn declared_id(node: &Node, member: &str) -> Option<String> {
    match &node.nearest(&[PathSegment::Name(member)]).value {
        NodeValue::Text(text) => Some(text.clone()),
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::List(_) | NodeValue::Map(_) => None,
    }
}

/// Returns the kind and the id of a file that is not valid YAML, from the first line that declares one.
pub(super) fn declared_in_text(kind: DefinitionKind, bytes: &[u8]) -> (DefinitionKind, Option<String>) {
    let kinds = match kind {
        DefinitionKind::Unknown => &[DefinitionKind::Agent, DefinitionKind::Workflow, DefinitionKind::Team][..],
        DefinitionKind::Agent
        | DefinitionKind::Workflow
        | DefinitionKind::Team
        | DefinitionKind::Categories
        | DefinitionKind::Capabilities
        | DefinitionKind::Models
        | DefinitionKind::Snippet => &[kind],
    };
    let text = String::from_utf8_lossy(bytes);
    let declared = text
        .lines()
        .take(LINES_MAX)
        .find_map(|line| kinds.iter().find_map(|kind| Some((*kind, member_of_line(line, kind.id_member()?)?))));
    declared.map_or((kind, None), |(kind, id)| (kind, Some(id)))
}

/// The value of a member that a line begins with, without quotes.
fn member_of_line(line: &str, member: &str) -> Option<String> {
    let is_quote = |c: char| matches!(c, '"' | '\'');
    let line = line.trim_start_matches(|c: char| c == '{' || c == '\u{feff}' || c.is_whitespace());
    let value = line.trim_start_matches(is_quote).strip_prefix(member)?.trim_start_matches(is_quote);
    let value = value.trim_start().strip_prefix(':')?.trim_start().trim_start_matches(is_quote);
    let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))).unwrap_or(value.len());
    value.get(..end).filter(|id| !id.is_empty()).map(str::to_owned)
}

/// The id that a file without a readable id has by convention.
pub(super) fn id_from_name(name: &Path) -> String {
    name.file_stem().unwrap_or(name.as_os_str()).to_string_lossy().into_owned()
}
