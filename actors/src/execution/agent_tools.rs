//! Agents as tools: `agent:ID` invokes another agent by a nested request.

use async_trait::async_trait;
use greenroom_definitions::Catalogue;
use greenroom_protocol::request::Invoke;
use greenroom_protocol::{AgentId, Cause, ErrorCode, Json, Request, Values};

use crate::tool::{NestedCall, ToolDescription, ToolSource};

/// The agents of the catalogue, as tools.
#[derive(Debug, Clone, Copy, Default)]
pub struct AgentTools;

#[async_trait]
impl ToolSource for AgentTools {
    fn scheme(&self) -> &str {
        "agent"
    }

    fn describe(&self, name: &str, catalogue: &Catalogue) -> Option<ToolDescription> {
        let agent = catalogue.agent(&AgentId::new(name).ok()?)?;
        Some(ToolDescription { description: agent.spec().description.clone(), parameters: agent.input_schema() })
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
        }))
    }

    /// Never succeeds: an agent is invoked by a request of its own, and not by a tool call.
    async fn call(&self, name: &str, _: Values) -> Result<Json, Cause> {
        Err(Cause::new(ErrorCode::UnknownTool, format!("agent:{name} is invoked, not called as a tool")))
    }
}
