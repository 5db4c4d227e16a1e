//! The tools of one agent: describes them to the model, and issues each call as a nested request of the
//! agent itself.

use std::sync::Arc;

use futures::StreamExt;
use greenroom_definitions::{Agent, Catalogue};
use greenroom_protocol::request::CallOptions;
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{CallKey, Json, Reply, Request, Values};

use super::ExecutionEnv;
use super::runtime::ExecutionContext;
use crate::model::{Part, ToolCall, ToolSpec};
use crate::tool::{NestedCall, TOOL_RESULT, ToolSource};

/// Maximum calls of one turn that run at the same time.
const CONCURRENT_CALLS_MAX: usize = 8;
/// Maximum size of one tool result in a model request.
const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Maximum size of unusable arguments in the result of a call.
const ARGUMENTS_BYTES_MAX: usize = 200;
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
    pub(super) async fn for_agent(env: &ExecutionEnv, catalogue: &Catalogue, agent: &Agent) -> Self {
        refresh_sources(env, agent).await;
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

    /// Makes the calls of one turn at the same time, within a bound, and returns the results in the order of the
    /// calls. A call that is denied or fails is a result too: the model may continue without it.
    pub(super) async fn call_all(&self, ctx: &ExecutionContext<'_>, calls: &[ToolCall], key: &CallKey) -> Vec<Part> {
        let started = calls.iter().enumerate().map(|(index, call)| {
            let key = key.child(&format!("tool[{index}]"));
            Box::pin(async move {
                let (content, is_error) = match self.call_one(ctx, call, key).await {
                    Ok(content) => (content, false),
                    Err(message) => (message, true),
                };
                Part::ToolResult { id: call.id.clone(), content: truncate(content), is_error }
            })
        });
        let started: Vec<_> = started.collect();
        futures::stream::iter(started).buffered(CONCURRENT_CALLS_MAX).collect().await
    }

    async fn call_one(&self, ctx: &ExecutionContext<'_>, call: &ToolCall, key: CallKey) -> Result<String, String> {
        let known = self.specs.iter().zip(&self.targets).find(|(spec, _)| spec.name == call.name);
        let Some((spec, (source, name))) = known else {
            let names: Vec<&str> = self.specs.iter().map(|spec| spec.name.as_str()).collect();
            return Err(format!("there is no tool `{}`; the tools are: {}", call.name, names.join(", ")));
        };
        let arguments = parse_arguments(spec, &call.arguments)?;
        source.require_unchanged(name, spec).await.map_err(|cause| cause.to_string())?;
        // The grant has the limits on spending, which bind the calls of all levels together.
        let options = CallOptions { cost_max: None, ..ctx.invocation.invoke.options.clone() };
        let request =
            source.request(NestedCall { name, arguments, key, options }).map_err(|cause| cause.to_string())?;
        let is_tool = matches!(request, Request::CallTool(_));
        ctx.env.budgets.share(&ctx.invocation.grant, &ctx.invocation.key(), ctx.budget);
        result_text(is_tool, &ctx.issue_request(request).await)
    }
}

/// Brings what the sources know of the tools that the definition names up to date.
async fn refresh_sources(env: &ExecutionEnv, agent: &Agent) {
    let full_names: Vec<String> = agent.spec().tools.iter().map(ToString::to_string).collect();
    for source in &env.tool_sources {
        let parts = full_names.iter().filter_map(|name| name.split_once(':'));
        let names: Vec<&str> = parts.filter(|(scheme, _)| *scheme == source.scheme()).map(|(_, name)| name).collect();
        if !names.is_empty() {
            source.refresh(&names).await;
        }
    }
}

/// Parses the arguments as the model gave them. Null means that it gave none.
fn parse_arguments(spec: &ToolSpec, arguments: &Json) -> Result<Values, String> {
    let found = match arguments {
        Json::Object(members) => return Ok(members.clone().into_iter().collect()),
        Json::Null => return Ok(Values::new()),
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a text that is no JSON object",
        Json::Array(_) => "a list",
    };
    let required = spec.parameters.get("required").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let names: Vec<String> =
        required.iter().filter_map(Json::as_str).map(|name| format!(" with the argument `{name}`")).collect();
    Err(format!(
        "the arguments of `{}` must be one JSON object{}, not {found}: {}",
        spec.name,
        names.join(" and"),
        truncate_utf8(&arguments.to_string(), ARGUMENTS_BYTES_MAX)
    ))
}

/// The result as the model reads it: the outputs of an agent, or what a tool returned, which its reply holds in one
/// output.
fn result_text(is_tool: bool, reply: &Reply) -> Result<String, String> {
    match (&reply.error, reply.outputs.get(TOOL_RESULT)) {
        (Some(cause), _) => Err(cause.to_string()),
        (None, Some(result)) if is_tool => Ok(result.to_string()),
        // Values are JSON already, so serializing them cannot fail.
        (None, Some(_) | None) => Ok(serde_json::to_string(&reply.outputs).unwrap_or_default()),
    }
}

/// Truncates a result to its bound, and marks that it was cut.
fn truncate(content: String) -> String {
    if content.len() <= RESULT_BYTES_MAX {
        return content;
    }
    format!("{} … (cut)", truncate_utf8(&content, RESULT_BYTES_MAX))
}
