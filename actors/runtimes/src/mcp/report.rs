//! What is known of the servers, for people.

use serde::Serialize;

use super::tool_list::SkippedTool;

/// Whether a server is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ServerStatus {
    /// No agent has needed it yet.
    Unused,
    /// It is, and its list is known.
    Connected,
    /// It is not.
    Failed {
        /// Why, as one line.
        reason: String,
    },
}

/// One tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolReport {
    /// Its name in definitions, without the scheme.
    pub name: String,
    /// What it does, as its server states it.
    pub description: String,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerReport {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it is connected.
    #[serde(flatten)]
    pub status: ServerStatus,
    /// True if a call of it is communication with something outside of this organization.
    pub is_external: bool,
    /// Its tools, in the order of their names.
    pub tools: Vec<ToolReport>,
    /// What it lists and no agent can use.
    pub skipped: Vec<SkippedTool>,
}
