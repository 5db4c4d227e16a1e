//! What an operator should know of a bundle that is valid.

use std::fmt;

use crate::access_request::input_path::UnknownPath;
use crate::rego_text::{Location, TextProblem};

/// What to do about a bundle without the text of its entrypoints.
const PACK_REMEDY: &str = "`greenroom policy pack` adds the text that `opa build` leaves out";

/// What an operator should know of a bundle that is valid. None of it changes a decision, but an unknown
/// path is a rule that does not decide what its author meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyWarning {
    /// It cannot be derived what the rules read, so every decision receives the whole input.
    NotDerived(TextProblem),
    /// A rule reads the input as a whole.
    WholeInput(Location),
    /// The bundle declares these paths below `input` for fewer requests than its rules read them.
    NarrowDeclaration(Vec<String>),
    /// A rule reads a path that the host never sends.
    UnknownPath {
        /// The first line that reads it.
        location: Location,
        /// The path.
        unknown: UnknownPath,
    },
}

impl PolicyWarning {
    /// True if a rule cannot decide what its author meant.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(self, Self::UnknownPath { .. })
    }
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDerived(problem) => {
                write!(
                    f,
                    "{problem}: what the rules read cannot be derived, and every decision takes more time, because it \
                     receives the whole input"
                )?;
                match problem {
                    TextProblem::Missing { .. } => write!(f, "; {PACK_REMEDY}"),
                    TextProblem::Language
                    | TextProblem::TooLarge
                    | TextProblem::Encoding { .. }
                    | TextProblem::Syntax { .. }
                    | TextProblem::Unresolved { .. }
                    | TextProblem::Replacement { .. } => Ok(()),
                }
            }
            Self::WholeInput(location) => write!(
                f,
                "{location} reads the input as a whole: every decision takes more time, because it receives all of it"
            ),
            Self::NarrowDeclaration(paths) => write!(
                f,
                "`guard/checks` declares {} for fewer requests than the rules read them; they are sent with every \
                 request (`reads` and `capabilities` can be omitted, since what the rules read is derived)",
                paths.join(", ")
            ),
            Self::UnknownPath { location, unknown } => {
                write!(f, "{location} reads `{}`, which the input never has", unknown.path)?;
                unknown.suggestion.as_ref().map_or(Ok(()), |path| write!(f, "; did you mean `{path}`?"))
            }
        }
    }
}
