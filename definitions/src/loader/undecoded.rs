//! Files that could not be decoded, and positions in them.

use std::path::Path;
use std::sync::Arc;

use super::declared::id_from_name;
use super::find::SourceFile;
use crate::definition_set::{DefinitionSet, UndecodedFile};
use crate::kind::DefinitionKind;
use crate::problem::Location;
use crate::yaml::Position;

/// Adds a file that could not be decoded, with the id that it declares, if that could be read.
pub(super) fn add(file: &SourceFile, kind: DefinitionKind, id: Option<String>, all: &mut DefinitionSet) {
    let is_id_declared = id.is_some();
    let id = id.unwrap_or_else(|| id_from_name(&file.name));
    all.undecoded.push(UndecodedFile { kind, id, is_id_declared, file: file.name.clone() });
}

pub(super) fn location(name: &Arc<Path>, at: Position) -> Location {
    Location { file: name.clone(), line: at.line, column: at.column }
}
