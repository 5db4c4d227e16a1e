//! The kind of definition that a file contains.

use serde::Serialize;

/// The kind of definition that a file contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DefinitionKind {
    /// An agent.
    Agent,
    /// A workflow.
    Workflow,
    /// A team.
    Team,
    /// The categories.
    Categories,
    /// The capabilities.
    Capabilities,
    /// The models.
    Models,
    /// A text that several prompts share.
    Snippet,
    /// A file that is no definition, or whose kind only its content would show.
    Unknown,
}

impl DefinitionKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Agent,
        Self::Workflow,
        Self::Team,
        Self::Categories,
        Self::Capabilities,
        Self::Models,
        Self::Snippet,
        Self::Unknown,
    ];

    /// The name of the kind, as a report and a store have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Workflow => "workflow",
            Self::Team => "team",
            Self::Categories => "categories",
            Self::Capabilities => "capabilities",
            Self::Models => "models",
            Self::Snippet => "snippet",
            Self::Unknown => "unknown",
        }
    }

    /// The kind of a name; `None` if no kind has it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The noun for a message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Workflow => "workflow",
            Self::Team => "team",
            Self::Categories => "file of categories",
            Self::Capabilities => "file of capabilities",
            Self::Models => "file of models",
            Self::Snippet => "snippet",
            Self::Unknown => "file",
        }
    }

    /// The member that has the id of a definition of this kind; `None` if it has none.
    #[must_use]
    pub const fn id_member(self) -> Option<&'static str> {
        match self {
            Self::Agent => Some("agent_id"),
            Self::Workflow => Some("workflow_id"),
            Self::Team => Some("team_id"),
            Self::Categories | Self::Capabilities | Self::Models | Self::Snippet | Self::Unknown => None,
        }
    }
}
