//! A tool as an agent uses it: its name, and whether a person approves its calls.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ToolRef;

/// Who approves the calls of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolApproval {
    /// A person approves each call before it is made.
    Required,
}

/// A tool of an agent. It is written as its name, or as a map if it has settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "WrittenTool", into = "WrittenTool")]
#[schemars(with = "WrittenTool")]
pub struct ToolUse {
    /// The tool.
    pub tool: ToolRef,
    /// Who approves its calls; without it, they need no approval.
    pub approval: Option<ToolApproval>,
}

impl ToolUse {
    /// True if a person approves each call before it is made.
    #[must_use]
    pub const fn needs_approval(&self) -> bool {
        matches!(self.approval, Some(ToolApproval::Required))
    }
}

impl From<ToolRef> for ToolUse {
    fn from(tool: ToolRef) -> Self {
        Self { tool, approval: None }
    }
}

/// A tool as a definition writes it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum WrittenTool {
    /// The name of a tool.
    Name(ToolRef),
    /// A tool with settings.
    Settings(ToolSettings),
}

/// A tool with settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToolSettings {
    /// The tool.
    tool: ToolRef,
    /// `required`, if a person approves each call before it is made. The agent is then called as a step of a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    approval: Option<ToolApproval>,
}

impl From<WrittenTool> for ToolUse {
    fn from(written: WrittenTool) -> Self {
        match written {
            WrittenTool::Name(tool) => Self::from(tool),
            WrittenTool::Settings(ToolSettings { tool, approval }) => Self { tool, approval },
        }
    }
}

impl From<ToolUse> for WrittenTool {
    fn from(tool_use: ToolUse) -> Self {
        match tool_use {
            ToolUse { tool, approval: None } => Self::Name(tool),
            ToolUse { tool, approval } => Self::Settings(ToolSettings { tool, approval }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::ToolUse;

    #[test]
    fn a_tool_without_settings_is_written_as_its_name() {
        let written = json!(["native:calculator", { "tool": "agent:helper", "approval": "required" }]);
        let tools: Vec<ToolUse> = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(tools.iter().map(ToolUse::needs_approval).collect::<Vec<_>>(), [false, true]);
        assert_eq!(serde_json::to_value(&tools).unwrap(), written);
        let plain: ToolUse = serde_json::from_value(json!({ "tool": "native:calculator" })).unwrap();
        assert_eq!(serde_json::to_value(plain).unwrap(), Value::from("native:calculator"));
    }

    #[test]
    fn an_unknown_setting_is_rejected() {
        for written in [
            json!({ "tool": "native:x", "approval": "maybe" }),
            json!({ "tool": "native:x", "approve": "required" }),
            json!({ "approval": "required" }),
            json!("shell:x"),
        ] {
            assert!(serde_json::from_value::<ToolUse>(written.clone()).is_err(), "{written}");
        }
    }
}
