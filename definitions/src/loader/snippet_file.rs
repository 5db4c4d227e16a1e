//! The file of a snippet: a text that is a system template by itself.

use super::declared::id_from_name;
use super::find::SourceFile;
use super::undecoded;
use crate::definition_set::{DefinitionSet, LoadedSnippet, Reference, ReferenceKind};
use crate::kind::DefinitionKind;
use crate::problem::{Location, Problem, ProblemKind, Severity};
use crate::prompt::Prompt;
use crate::snippet::{SNIPPET_BYTES_MAX, includes, is_name};
use crate::yaml::Position;

/// Reads a snippet into the set. An invalid one is still known by its name, so that a prompt that includes it has no
/// problem of its own.
pub(super) fn read(file: &SourceFile, bytes: &[u8], all: &mut DefinitionSet, problems: &mut Vec<Problem>) {
    let name = id_from_name(&file.name);
    match text_of(&name, bytes) {
        Ok(text) => {
            let found = includes(&text).unwrap_or_default();
            all.references.extend(found.into_iter().map(|include| Reference {
                kind: ReferenceKind::Snippet,
                name: include.name.to_owned(),
                location: at_line(file, include.line),
            }));
            all.snippets.push(LoadedSnippet { name, text, file: file.name.clone() });
        }
        Err(invalid) => {
            problems.push(Problem {
                location: at_line(file, invalid.line),
                severity: Severity::Error,
                kind: invalid.kind,
                found: invalid.found,
                expected: invalid.expected,
            });
            undecoded::add(file, DefinitionKind::Snippet, Some(name), all);
        }
    }
}

/// Why a file is no snippet.
struct Invalid {
    /// The line, from 1; 0 for the whole file.
    line: usize,
    kind: ProblemKind,
    found: String,
    expected: String,
}

impl Invalid {
    fn whole(kind: ProblemKind, found: String, expected: String) -> Self {
        Self { line: 0, kind, found, expected }
    }
}

fn text_of(name: &str, bytes: &[u8]) -> Result<String, Invalid> {
    if !is_name(name) {
        let expected = "a name has lower-case letters, digits and `_`".to_owned();
        return Err(Invalid::whole(ProblemKind::InvalidValue, format!("{name:?} is not a valid name"), expected));
    }
    if bytes.len() > SNIPPET_BYTES_MAX {
        let found = format!("the snippet has more than {SNIPPET_BYTES_MAX} bytes");
        return Err(Invalid::whole(ProblemKind::TooLarge, found, "split it".to_owned()));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(Invalid::whole(ProblemKind::NotUtf8, "the file is not UTF-8".to_owned(), String::new()));
    };
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    if text.trim().is_empty() {
        return Err(Invalid::whole(ProblemKind::InvalidValue, "the snippet is empty".to_owned(), String::new()));
    }
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if let Some(line) = text.lines().position(|line| line.contains(is_control)) {
        let found = "the line has a control character".to_owned();
        return Err(Invalid { line: line + 1, kind: ProblemKind::Syntax, found, expected: "remove it".to_owned() });
    }
    match Prompt::check_snippet(&text) {
        Ok(()) => Ok(text),
        Err(error) => {
            let kind = if error.out_of_bounds { ProblemKind::ExpressionBounds } else { ProblemKind::Expression };
            Err(Invalid { line: error.line, kind, found: error.to_string(), expected: String::new() })
        }
    }
}

fn at_line(file: &SourceFile, line: usize) -> Location {
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    undecoded::location(&file.name, Position { line, column: u32::from(line > 0) })
}
