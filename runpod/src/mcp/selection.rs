//! Which definitions are tools: all of them, those of a category, or those that are named. A selection spares a client a
//! long list; it is no permission.

use greenroom_protocol::{AgentId, WorkflowId};

/// What the name of the tool of an agent begins with.
const AGENT: &str = "agent_";
/// What the name of the tool of a workflow begins with.
const WORKFLOW: &str = "workflow_";
/// The longest name of a tool that every client accepts, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// A selection of definitions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Only agents of this category, and no workflows.
    pub category: Option<String>,
    /// Only the tools with these names.
    pub tools: Option<Vec<String>>,
}

/// What a tool calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Callee {
    Agent(AgentId),
    Workflow(WorkflowId),
}

impl Selection {
    /// True if the tool with this name, of this category if it is an agent, is one.
    pub(super) fn has(&self, name: &str, category: Option<&str>) -> bool {
        let is_of_category = self.category.as_deref().is_none_or(|selected| category == Some(selected));
        is_of_category && self.has_name(name)
    }

    /// True if the selection does not exclude the tool by its name.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.tools.as_ref().is_none_or(|names| names.iter().any(|known| known == name))
    }
}

impl Callee {
    /// What the tool with this name calls.
    pub(super) fn parse(name: &str) -> Option<Self> {
        if let Some(id) = name.strip_prefix(AGENT) {
            return AgentId::new(id).ok().map(Self::Agent);
        }
        WorkflowId::new(name.strip_prefix(WORKFLOW)?).ok().map(Self::Workflow)
    }

    /// The name of the tool; `None` if no client accepts it.
    pub(super) fn name(&self) -> Option<String> {
        let name = match self {
            Self::Agent(id) => format!("{AGENT}{id}"),
            Self::Workflow(id) => format!("{WORKFLOW}{id}"),
        };
        (name.len() <= NAME_BYTES_MAX).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let agent = Callee::Agent(AgentId::new("workflow_x").unwrap());
        let workflow = Callee::Workflow(WorkflowId::new("agent_x").unwrap());
        for callee in [agent, workflow] {
            assert_eq!(Callee::parse(&callee.name().unwrap()), Some(callee));
        }
        for wrong in ["", "x", "agent_", "agent_a b", "team_x", "Agent_x"] {
            assert_eq!(Callee::parse(wrong), None, "{wrong}");
        }
        let long = Callee::Agent(AgentId::new("x".repeat(128)).unwrap());
        assert_eq!(long.name(), None);
    }

    #[test]
    fn a_selection_has_a_category_and_names() {
        let all = Selection::default();
        assert!(all.has("agent_a", Some("sales")) && all.has("workflow_b", None));
        let category = Selection { category: Some("sales".into()), tools: None };
        assert!(category.has("agent_a", Some("sales")) && !category.has("agent_b", Some("other")));
        assert!(!category.has("workflow_b", None));
        let named = Selection { category: None, tools: Some(vec!["agent_a".into()]) };
        assert!(named.has("agent_a", Some("sales")) && !named.has("agent_b", Some("sales")));
    }
}
