//! A name in a file that something outside of the file must have.

use crate::problem::Location;

/// The kind of thing that a name refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReferenceKind {
    Agent,
    Workflow,
    Team,
    Category,
    Capability,
    Policy,
    Snippet,
    Handler,
    Tool,
    ToolServer,
    Provider,
}

impl ReferenceKind {
    /// The noun for a message.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Workflow => "workflow",
            Self::Team => "team",
            Self::Category => "category",
            Self::Capability => "capability",
            Self::Policy => "policy",
            Self::Snippet => "snippet",
            Self::Handler => "handler",
            Self::Tool => "tool",
            Self::ToolServer => "MCP server",
            Self::Provider => "provider",
        }
    }
}

/// A reference. It is recorded while a file is decoded, whether or not the rest of the file is valid.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    pub(crate) kind: ReferenceKind,
    pub(crate) name: String,
    pub(crate) location: Location,
}
