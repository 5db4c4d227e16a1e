//! What lists and searches show of definitions. It is read from their texts, so that a list neither compiles templates
//! and plans nor leaves seven hundred decoded agents in memory.

use std::collections::BTreeSet;

use greenroom_protocol::{AgentId, CategoryId, Cause, WorkflowId};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Catalogue, Definition, Entry};
use crate::agent::RuntimeKind;
use crate::canonical::parse_stored;
use crate::workflow::WorkflowSpec;

/// What a list shows of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AgentSummary {
    /// Its id.
    pub agent_id: AgentId,
    /// Its display name.
    pub name: String,
    /// Its category.
    pub category: CategoryId,
    /// Its purpose.
    pub description: String,
    /// Its author's version.
    pub version: String,
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// Words by which a person finds it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Its capabilities.
    #[serde(default)]
    pub capabilities: Vec<String>,
    implementation: RuntimeSummary,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct RuntimeSummary {
    runtime: RuntimeKind,
}

impl AgentSummary {
    /// The kind of runtime that executes it.
    #[must_use]
    pub const fn runtime(&self) -> RuntimeKind {
        self.implementation.runtime
    }
}

/// What a list shows of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowSummary {
    /// Its id.
    pub workflow_id: WorkflowId,
    /// Its display name.
    pub name: String,
    /// Its purpose.
    pub description: String,
    /// The number of its steps.
    pub steps: usize,
    /// The agents that its steps name, compensating agents included.
    pub agents: BTreeSet<AgentId>,
}

impl From<WorkflowSpec> for WorkflowSummary {
    fn from(spec: WorkflowSpec) -> Self {
        let WorkflowSpec { workflow_id, name, description, steps, .. } = spec;
        let (count, mut agents) = (steps.len(), BTreeSet::new());
        for step in steps {
            agents.extend(step.agent);
            agents.extend(step.compensate.map(|compensation| compensation.agent));
        }
        Self { workflow_id, name, description, steps: count, agents }
    }
}

impl Catalogue {
    /// What a list shows of every agent, by id. One whose text is damaged is left out, as in [`Catalogue::agents`].
    pub fn agent_summaries(&self) -> impl Iterator<Item = AgentSummary> {
        self.agents.values().filter_map(|entry| read(entry).ok())
    }

    /// What a list shows of every workflow, by id; as [`Catalogue::agent_summaries`].
    pub fn workflow_summaries(&self) -> impl Iterator<Item = WorkflowSummary> {
        self.workflows.values().filter_map(|entry| read::<_, WorkflowSpec>(entry).ok().map(WorkflowSummary::from))
    }
}

fn read<T: Definition, S: DeserializeOwned>(entry: &Entry<T>) -> Result<S, Cause> {
    parse_stored(entry.text(), T::KIND.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::Agent;
    use crate::catalogue::CatalogueParts;
    use crate::workflow::Workflow;

    #[test]
    fn summaries_have_what_the_definitions_have() {
        let agent = json!({
            "agent_id": "writer_001", "name": "Writer", "category": "business_ops", "description": "writes",
            "version": "1.2", "tags": ["letters"], "capabilities": ["text_generation"], "inputs": [],
            "outputs": [{ "name": "text", "type": "text" }],
            "implementation": { "runtime": "native", "handler": "native.test" },
        });
        let step = |id: &str| json!({ "id": id, "agent": "writer_001", "compensate": { "agent": "eraser" } });
        let workflow = json!({ "workflow_id": "letters", "name": "Letters", "steps": [step("one"), step("two")] });
        let catalogue = Catalogue::new(CatalogueParts {
            agents: vec![Agent::new(serde_json::from_value(agent).unwrap()).unwrap()],
            workflows: vec![Workflow::new(serde_json::from_value(workflow).unwrap()).unwrap()],
            ..CatalogueParts::default()
        });
        let agents: Vec<AgentSummary> = catalogue.agent_summaries().collect();
        let [writer] = agents.as_slice() else { panic!("{agents:?}") };
        assert_eq!((writer.agent_id.as_str(), writer.category.as_str()), ("writer_001", "business_ops"));
        assert_eq!((writer.version.as_str(), writer.runtime()), ("1.2", RuntimeKind::Native));
        assert_eq!(
            (writer.tags.join(","), writer.capabilities.join(",")),
            ("letters".to_owned(), "text_generation".to_owned())
        );
        let workflows: Vec<WorkflowSummary> = catalogue.workflow_summaries().collect();
        let [letters] = workflows.as_slice() else { panic!("{workflows:?}") };
        let named: Vec<&str> = letters.agents.iter().map(AgentId::as_str).collect();
        assert_eq!((letters.steps, named), (2, vec!["eraser", "writer_001"]));
    }
}
