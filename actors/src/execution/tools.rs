//! The tools of one agent: describes them to the model, and issues each call as a nested request of the
//! agent itself.

use std::sync::Arc;

use greenroom_definitions::{Agent, Catalogue};
use greenroom_protocol::request::CallOptions;
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{CallKey, Cause, Json, Reply, Values};

use super::ExecutionEnv;
use super::runtime::ExecutionContext;
use crate::model::{Part, ToolCall, ToolSpec};
use crate::tool::{NestedCall, ToolSource};

/// Maximum size of one tool result in a model request.
const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Characters of a tool's name that every provider accepts.
const NAME_CHARS_MAX: usize = 64;

/// The tools of one agent, by the names that its model sees.
pub(super) struct ToolSet {
    specs: Vec<ToolSpec>,
    /// The source and the name there of each spec, in the same order.
    targets: Vec<(Arc<dyn ToolSource>, String)>,
}

impl ToolSet {
    /// Collects the tools that the definition names and that exist.
    pub(super) fn for_agent(env: &ExecutionEnv, catalogue: &Catalogue, agent: &Agent) -> Self {
        let mut set = Self { specs: Vec::new(), targets: Vec::new() };
        for tool in &agent.spec().tools {
            let full_name = tool.to_string();
            let Some((scheme, target)) = full_name.split_once(':') else { continue };
            let Some(source) = env.tool_source(scheme) else { continue };
            let Some(tool) = source.describe(target, catalogue) else { continue };
            let name = set.unique_name(target);
            set.specs.push(ToolSpec { name, description: tool.description, parameters: tool.parameters });
            set.targets.push((Arc::clone(source), target.to_owned()));
        }
        set
    }

    /// Derives a name of letters, digits, `_` and `-` that no other tool of this agent has.
    fn unique_name(&self, target: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = target.chars().map(plain).take(NAME_CHARS_MAX - 4).collect();
        let is_used = |name: &str| self.specs.iter().any(|spec| spec.name == name);
        if !is_used(&name) {
            return name;
        }
        (2_u32..).map(|n| format!("{name}_{n}")).find(|name| !is_used(name)).unwrap_or(name)
    }

    /// The tools as the model request describes them.
    pub(super) fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Makes the calls one after the other and returns the results in the same order. A call that is
    /// denied or fails is a result too: the model may continue without it.
    pub(super) async fn call_all(
        &self,
        ctx: &ExecutionContext<'_>,
        calls: &[ToolCall],
        key: &CallKey,
    ) -> Result<Vec<Part>, Cause> {
        let mut results = Vec::with_capacity(calls.len());
        for (index, call) in calls.iter().enumerate() {
            let key = key.child(&format!("tool[{index}]"));
            let (content, is_error) = match self.call_one(ctx, call, key).await {
                Ok(content) => (content, false),
                Err(message) => (message, true),
            };
            results.push(Part::ToolResult { id: call.id.clone(), content: truncate(content), is_error });
        }
        Ok(results)
    }

    async fn call_one(&self, ctx: &ExecutionContext<'_>, call: &ToolCall, key: CallKey) -> Result<String, String> {
        let known = self.specs.iter().zip(&self.targets).find(|(spec, _)| spec.name == call.name);
        let Some((_, (source, name))) = known else { return Err(format!("there is no tool {}", call.name)) };
        let arguments = parse_arguments(&call.arguments)?;
        let call = NestedCall { name, arguments, key, options: nested_options(ctx) };
        let request = source.request(call).map_err(|cause| cause.to_string())?;
        ctx.env.budgets.share(&ctx.invocation.grant, &ctx.invocation.key(), ctx.budget);
        result_text(&ctx.issue_request(request).await)
    }
}

/// The options of a nested call. The grant has the limits on spending, which bind the calls of all levels together.
fn nested_options(ctx: &ExecutionContext<'_>) -> CallOptions {
    CallOptions { model: ctx.invocation.invoke.options.model.clone(), cost_max: None }
}

fn parse_arguments(arguments: &Json) -> Result<Values, String> {
    match arguments {
        Json::Object(members) => Ok(members.clone().into_iter().collect()),
        Json::Null => Ok(Values::new()),
        Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            Err("the arguments of a tool are one JSON object".to_owned())
        }
    }
}

fn result_text(reply: &Reply) -> Result<String, String> {
    match &reply.error {
        Some(cause) => Err(cause.to_string()),
        // Values are JSON already, so serializing them cannot fail.
        None => Ok(serde_json::to_string(&reply.outputs).unwrap_or_default()),
    }
}

/// Truncates a result to its bound, and marks that it was cut.
fn truncate(content: String) -> String {
    if content.len() <= RESULT_BYTES_MAX {
        return content;
    }
    format!("{} … (cut)", truncate_utf8(&content, RESULT_BYTES_MAX))
}
