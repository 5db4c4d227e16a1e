//! Problems of definition files with their locations.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

/// Characters of a name or a value in a message; the rest is cut.
const MESSAGE_CHARS_MAX: usize = 300;
/// The minimum similarity of two names, from 0 to 1, for a suggestion.
const SIMILARITY_MIN: f64 = 0.72;

/// The severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The problem prevents loading.
    Error,
    /// The problem does not prevent loading.
    Warning,
}

macro_rules! problem_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// The kind of a problem. Each kind has a stable name, for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum ProblemKind {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl ProblemKind {
            /// Every kind of problem.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name of the kind in reports.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

problem_kinds! {
    /// The file or folder cannot be read.
    Unreadable = "unreadable";
    /// The file is larger than a definition may be.
    TooLarge = "too_large";
    /// The file is not UTF-8.
    NotUtf8 = "not_utf8";
    /// The file is not YAML.
    Syntax = "syntax";
    /// Lists and maps are nested deeper than allowed.
    TooDeep = "too_deep";
    /// Aliases exceed a limit, or refer to themselves.
    Alias = "alias";
    /// A key is duplicated.
    DuplicateKey = "duplicate_key";
    /// A field is unknown.
    UnknownField = "unknown_field";
    /// A required field is missing.
    MissingField = "missing_field";
    /// A value has the wrong type.
    WrongType = "wrong_type";
    /// A value has the right type, but is not allowed.
    InvalidValue = "invalid_value";
    /// Two definitions have the same id, or two parts of one the same name.
    DuplicateId = "duplicate_id";
    /// A reference has no target.
    UnknownReference = "unknown_reference";
    /// A policy is not a known name.
    UnknownPolicy = "unknown_policy";
    /// A handler, tool or provider is not a known name.
    UnknownName = "unknown_name";
    /// Steps, workflows or agents form a cycle.
    Cycle = "cycle";
    /// Steps that claim to run at the same time depend on each other.
    NotParallel = "not_parallel";
    /// A step needs values of steps that are executed under different conditions.
    SkippedJoin = "skipped_join";
    /// A required input has no value.
    UnfilledInput = "unfilled_input";
    /// A declared input has no effect.
    UnusedInput = "unused_input";
    /// A template, a reference or a condition is invalid.
    Expression = "expression";
    /// A template, a reference or a condition exceeds a bound.
    ExpressionBounds = "expression_bounds";
    /// A model has no price.
    NoPrice = "no_price";
    /// The file contains no definition, or is elsewhere than its definition says.
    Misplaced = "misplaced";
    /// An agent is named that something has replaced.
    Deprecated = "deprecated";
    /// A member has no effect in this release.
    NoEffect = "no_effect";
    /// Another definition, which this one needs, is quarantined.
    Quarantined = "quarantined";
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A location in a file; lines and columns begin at 1. Line 0 means the whole file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// The file, relative to the folder that was loaded.
    pub file: Arc<Path>,
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

impl Location {
    /// Creates the location of a whole file.
    #[must_use]
    pub fn whole_file(file: impl Into<PathBuf>) -> Self {
        Self { file: Arc::from(file.into()), line: 0, column: 0 }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The location.
    pub location: Location,
    /// The severity.
    pub severity: Severity,
    /// The kind.
    pub kind: ProblemKind,
    /// A description of the problem.
    pub found: String,
    /// The expected value or the fix; empty if `found` is sufficient.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}: {severity}[{}]: {}", self.location, self.kind, printable(&self.found))?;
        if !self.expected.is_empty() {
            write!(f, "; {}", printable(&self.expected))?;
        }
        Ok(())
    }
}

/// Shortens a text and escapes its control characters: a file may contain any text, and a terminal obeys some.
fn printable(text: &str) -> String {
    let mut printed: String = text.chars().take(MESSAGE_CHARS_MAX).flat_map(printable_char).collect();
    if text.chars().nth(MESSAGE_CHARS_MAX).is_some() {
        printed.push('…');
    }
    printed
}

fn printable_char(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

/// Returns a suggestion of a similar name, as the end of a sentence: `, did you mean `x`?`.
#[must_use]
pub fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(found, known).map(|name| format!(", did you mean `{name}`?"))
}

/// Returns the most similar known name, if any is similar enough.
pub(crate) fn closest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let similarity = |name: &'a str| (strsim::normalized_damerau_levenshtein(found, name), name);
    let best =
        known.into_iter().map(similarity).max_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(left.1)))?;
    (best.0 >= SIMILARITY_MIN).then_some(best.1)
}
