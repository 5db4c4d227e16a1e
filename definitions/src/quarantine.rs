//! A definition that is not in service in the version of its file, because that file, or a definition that it
//! needs, is invalid. The other definitions are not affected.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use greenroom_protocol::{Cause, ContentHash, ErrorCode};
use serde::Serialize;

use crate::kind::DefinitionKind;
use crate::problem::Problem;

/// A quarantined definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// The kind of definition.
    pub kind: DefinitionKind,
    /// Its id; that of the file, if the file has no id.
    pub id: String,
    /// The file.
    pub file: Arc<Path>,
    /// The first problem of the file.
    pub problem: Problem,
    /// The number of its other errors.
    pub more: usize,
    /// The last valid version, if it remains in service.
    pub in_service: Option<ContentHash>,
}

impl Quarantined {
    /// The error of a request for this definition.
    #[must_use]
    pub fn to_cause(&self) -> Cause {
        let message = format!("{self}; `greenroom definitions check` lists every problem");
        let details = serde_json::json!({ "quarantined": self });
        Cause::new(ErrorCode::InvalidDefinition, message).with_details(details)
    }

    /// The problem and the number of the others.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.more {
            0 => self.problem.to_string(),
            more => format!("{} (and {more} more)", self.problem),
        }
    }
}

impl fmt::Display for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = match self.in_service {
            Some(_) => "is in service in its last valid version",
            None => "is out of service",
        };
        match self.kind.id_member() {
            Some(_) => write!(f, "the {} `{}` {service}: {}", self.kind.as_str(), self.id, self.reason()),
            None => write!(f, "the {} {} {service}: {}", self.kind.as_str(), self.file.display(), self.reason()),
        }
    }
}
