//! What the rules of a bundle read of the input, derived from the Rego text that OPA packs beside the
//! module. Nothing of the text is executed.
//!
//! The derivation is conservative: a path that is not listed is certainly not read by the module of this
//! text. Whatever it cannot decide widens the result, up to the whole input.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use greenroom_protocol::Json;

use module::{Module, Rule};
use rule_index::RuleIndex;
use uses::{Use, list_uses};

mod agreement;
mod lexer;
mod module;
mod normal_form;
mod reference;
mod rule_index;
mod token_tree;
mod uses;

#[cfg(test)]
mod tests;

pub use agreement::Difference;
pub(crate) use uses::Extent;

/// Maximum bytes of all Rego files of a bundle; of a larger text nothing is derived.
const TEXT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A line of a Rego file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The path of the file in the bundle.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why it cannot be derived what the rules read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextProblem {
    /// The bundle has no Rego text of a rule that is evaluated.
    #[error("the bundle has no Rego text of `{rule}`")]
    Missing {
        /// The path of the rule.
        rule: String,
    },
    /// The text is written in the first version of the language.
    #[error("the Rego text of the bundle is not Rego v1")]
    Language,
    /// The text exceeds the limit.
    #[error("the Rego text of the bundle has more than {TEXT_BYTES_MAX} bytes")]
    TooLarge,
    /// A file is not UTF-8.
    #[error("{file} is not UTF-8")]
    Encoding {
        /// The path of the file.
        file: String,
    },
    /// A file is not the Rego that is known here.
    #[error("{location}: {problem}")]
    Syntax {
        /// The line.
        location: Location,
        /// What was found.
        problem: String,
    },
    /// A reference names neither a rule nor data of the bundle: the text is incomplete.
    #[error("{location}: the bundle has neither a rule nor data `{path}`")]
    Unresolved {
        /// The line of the reference.
        location: Location,
        /// The path of the reference.
        path: String,
    },
    /// `with` replaces the input, or a built-in that tests it.
    #[error("{location}: `with` replaces the input or a built-in that reads it")]
    Replacement {
        /// The line.
        location: Location,
    },
}

/// A path below `input`, and how much of its value is read.
pub(crate) type InputRead = (Vec<String>, Extent);

/// What the rules of some entrypoints read.
#[derive(Debug, Default)]
pub(crate) struct TextReads {
    /// The paths, each with the first line that reads it.
    pub(crate) inputs: BTreeMap<InputRead, Location>,
    /// The constant strings of the rules.
    pub(crate) texts: BTreeSet<String>,
    /// The constant numbers of the rules, as far as they are whole and not negative.
    pub(crate) numbers: BTreeSet<u64>,
}

/// The Rego files of a bundle.
pub(crate) struct RegoText<'s> {
    modules: Vec<Module<'s>>,
}

impl<'s> RegoText<'s> {
    /// Reads the files, which are given by path.
    pub(crate) fn read(sources: &'s BTreeMap<String, Vec<u8>>) -> Result<Self, TextProblem> {
        if sources.values().map(Vec::len).sum::<usize>() > TEXT_BYTES_MAX {
            return Err(TextProblem::TooLarge);
        }
        let read = |(file, content): (&'s String, &'s Vec<u8>)| {
            let text = std::str::from_utf8(content).map_err(|_| TextProblem::Encoding { file: file.clone() })?;
            Module::read(file, text).map_err(|error| TextProblem::Syntax {
                location: Location { file: file.clone(), line: error.line },
                problem: error.problem,
            })
        };
        Ok(Self { modules: sources.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// Derives what the rules at these paths read, and every rule that they use. `data` is the data of the
    /// bundle.
    pub(crate) fn reads(&self, entrypoints: &[&str], data: &Json) -> Result<TextReads, TextProblem> {
        let mut search =
            Search { index: RuleIndex::new(&self.modules), data, pending: Vec::new(), visited: BTreeSet::new() };
        for entrypoint in entrypoints {
            let path: Vec<_> = entrypoint.split('/').map(str::to_owned).collect();
            if !search.add_rules(&path) {
                return Err(TextProblem::Missing { rule: (*entrypoint).to_owned() });
            }
        }
        let mut reads = TextReads::default();
        while let Some((module, rule)) = search.pending.pop() {
            for found in list_uses(&search.index, module, rule) {
                search.record(found, module, &mut reads)?;
            }
        }
        Ok(reads)
    }
}

/// The search for all rules that are used.
struct Search<'m, 's> {
    index: RuleIndex<'m, 's>,
    data: &'m Json,
    pending: Vec<(&'m Module<'s>, &'m Rule)>,
    /// The rules that were found: their files, and their positions in them.
    visited: BTreeSet<(&'m str, usize)>,
}

impl Search<'_, '_> {
    /// Adds the rules that a path means; false if there are none.
    fn add_rules(&mut self, path: &[String]) -> bool {
        let matches = self.index.matches(path);
        let is_rule = !matches.is_empty();
        let added = matches.into_iter().filter(|(module, rule)| self.visited.insert((module.file, rule.position())));
        self.pending.extend(added);
        is_rule
    }

    fn record(&mut self, found: Use, module: &Module<'_>, reads: &mut TextReads) -> Result<(), TextProblem> {
        let location = |line| Location { file: module.file.to_owned(), line };
        match found {
            Use::Input { path, extent, line } => {
                reads.inputs.entry((path, extent)).or_insert_with(|| location(line));
            }
            Use::Name { path } => {
                self.add_rules(&path);
            }
            Use::Data { path, line } => {
                if !self.add_rules(&path) && !has_data(self.data, &path) {
                    let path = format!("data.{}", path.join("."));
                    return Err(TextProblem::Unresolved { location: location(line), path });
                }
            }
            Use::Replacement { line } => return Err(TextProblem::Replacement { location: location(line) }),
            Use::Text(text) => {
                reads.texts.insert(text);
            }
            Use::Number(number) => {
                reads.numbers.insert(number);
            }
        }
        Ok(())
    }
}

/// True if the data has a value at the path, or a value above it that has no members.
fn has_data(data: &Json, path: &[String]) -> bool {
    let mut value = data;
    for name in path {
        match value {
            Json::Object(members) => match members.get(name) {
                Some(member) => value = member,
                None => return false,
            },
            _ => return true,
        }
    }
    true
}
