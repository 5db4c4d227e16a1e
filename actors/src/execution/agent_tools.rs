//! Agents as tools: `agent:ID` invokes another agent by a nested request.

use async_trait::async_trait;
use greenroom_definitions::{Agent, Catalogue};
use greenroom_protocol::request::Invoke;
use greenroom_protocol::{AgentId, Cause, ErrorCode, Json, Request, Values};

use crate::handler::FileAccess;
use crate::tool::{NestedCall, ToolDescription, ToolInput, ToolSource};

/// The agents of the catalogue, as tools.
#[derive(Debug, Clone, Copy, Default)]
pub struct AgentTools;

#[async_trait]
impl ToolSource for AgentTools {
    fn scheme(&self) -> &str {
        "agent"
    }

    fn list(&self, catalogue: &Catalogue) -> Vec<ToolDescription> {
        catalogue.agents().map(|agent| describe(agent)).collect()
    }

    fn describe(&self, name: &str, catalogue: &Catalogue) -> Option<ToolDescription> {
        catalogue.agent(&AgentId::new(name).ok()?).map(|agent| describe(agent))
    }

    fn request(&self, call: NestedCall<'_>) -> Result<Request, Cause> {
        let agent = AgentId::new(call.name).map_err(|error| Cause::new(ErrorCode::UnknownTool, error.to_string()))?;
        Ok(Request::Invoke(Invoke {
            agent,
            inputs: call.arguments,
            context: Values::new(),
            version: None,
            key: Some(call.key),
            options: call.options,
            approvals: None,
        }))
    }

    /// Never succeeds: an agent is invoked by a request of its own, and not by a tool call.
    async fn call(&self, name: &str, _: ToolInput, _: &FileAccess) -> Result<Json, Cause> {
        Err(Cause::new(ErrorCode::UnknownTool, format!("agent:{name} is invoked, not called as a tool")))
    }
}

fn describe(agent: &Agent) -> ToolDescription {
    ToolDescription {
        name: agent.id().to_string(),
        description: agent.spec().description.clone(),
        parameters: agent.input_schema(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::test_env::{TestEnv, TestEnvOptions, agent};

    #[tokio::test]
    async fn every_listed_tool_is_described_by_its_name() {
        let agents = vec![agent("one_001", json!({})), agent("two_001", json!({}))];
        let test = TestEnv::new(TestEnvOptions { agents, ..TestEnvOptions::default() });
        for (scheme, names) in [
            ("agent", &["one_001", "two_001"][..]),
            ("native", &["adder", "key_reader", "panicking", "read_artifact"][..]),
        ] {
            let source = test.env.tool_source(scheme).unwrap();
            let tools = source.list(&test.catalogue);
            assert_eq!(tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), names);
            for tool in tools {
                assert_eq!(source.describe(&tool.name, &test.catalogue), Some(tool));
            }
        }
    }
}
