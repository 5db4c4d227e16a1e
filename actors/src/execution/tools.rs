//! The tools of an agent: what the model is told of them, and how a call goes out: at the door, as
//! the agent itself.

use greenroom_definitions::agent::ToolRef;
use greenroom_definitions::{Agent, Catalogue};
use greenroom_protocol::request::{CallOptions, CallTool, Invoke};
use greenroom_protocol::{CallKey, Cause, Json, MicroUsd, Reply, Request, RequestId, Values};

use super::ExecutionEnv;
use super::conversation::child_key;
use super::invocation::ExecutionContext;
use crate::model::{Part, ToolCall, ToolSpec};
use crate::tool::NATIVE_PREFIX;

/// Bytes of one result that a model is given.
const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Characters of a tool's name that every provider takes.
const NAME_CHARS_MAX: usize = 64;

/// The tools of one agent, by the names that its model sees.
pub(super) struct Tools {
    specs: Vec<ToolSpec>,
    refs: Vec<ToolRef>,
}

impl Tools {
    /// The tools that the definition names, as far as they are there.
    pub(super) fn for_agent(env: &ExecutionEnv, catalogue: &Catalogue, agent: &Agent) -> Self {
        let mut all = Self { specs: Vec::new(), refs: Vec::new() };
        for tool in &agent.spec().tools {
            let (description, parameters) = match tool {
                ToolRef::Agent(id) => match catalogue.agent(id) {
                    Some(other) => (other.spec().description.clone(), other.input_schema()),
                    None => continue,
                },
                ToolRef::Native(name) => match env.tools.get(name.as_str()) {
                    Some(native) => (native.description().to_owned(), native.parameters()),
                    None => continue,
                },
            };
            let name = all.unique_name(tool);
            all.specs.push(ToolSpec { name, description, parameters });
            all.refs.push(tool.clone());
        }
        all
    }

    /// A name of letters, digits, `_` and `-` that no other tool of this agent has.
    fn unique_name(&self, tool: &ToolRef) -> String {
        let text = match tool {
            ToolRef::Agent(id) => id.as_str(),
            ToolRef::Native(name) => name.as_str(),
        };
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = text.chars().map(plain).take(NAME_CHARS_MAX - 4).collect();
        let taken = |name: &str| self.specs.iter().any(|spec| spec.name == name);
        if !taken(&name) {
            return name;
        }
        (2_u32..).map(|n| format!("{name}_{n}")).find(|name| !taken(name)).unwrap_or(name)
    }

    /// What the model is told.
    pub(super) fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Makes the calls, one after the other, and gives the results in the same order. A call that is
    /// refused or fails is a result too: the model may do without.
    pub(super) async fn call_all(
        &self,
        ctx: &ExecutionContext<'_>,
        calls: &[ToolCall],
        key: &CallKey,
    ) -> Result<Vec<Part>, Cause> {
        let mut results = Vec::with_capacity(calls.len());
        for (index, call) in calls.iter().enumerate() {
            let key = child_key(key, &format!("tool[{index}]"))?;
            let (content, is_error) = match self.call_one(ctx, call, key).await {
                Ok(content) => (content, false),
                Err(message) => (message, true),
            };
            results.push(Part::ToolResult { id: call.id.clone(), content: cut(content), is_error });
        }
        Ok(results)
    }

    async fn call_one(&self, ctx: &ExecutionContext<'_>, call: &ToolCall, key: CallKey) -> Result<String, String> {
        let named = self.specs.iter().zip(&self.refs).find(|(spec, _)| spec.name == call.name);
        let Some((_, tool)) = named else { return Err(format!("there is no tool {}", call.name)) };
        let arguments = arguments(&call.arguments)?;
        let request = match tool {
            ToolRef::Agent(agent) => Request::Invoke(Invoke {
                agent: agent.clone(),
                inputs: arguments,
                context: Values::new(),
                version: None,
                key: Some(key),
                options: inner_options(ctx),
            }),
            ToolRef::Native(name) => {
                Request::CallTool(CallTool { tool: format!("{NATIVE_PREFIX}{name}"), arguments, key: Some(key) })
            }
        };
        let env = ctx.env;
        env.budgets.share(&ctx.job.grant, &ctx.job.key(), ctx.budget);
        let asked = ctx.job.grant.issue_request(RequestId::from_u128(env.ids.next_id()), request);
        let reply = env.pipeline.enter(asked).await;
        ctx.meter.add_nested(&reply.usage());
        result_text(&reply)
    }
}

/// What an inner agent may spend: what is left of the request's limit. Where there is a run, all its
/// calls share the run's budget anyway.
fn inner_options(ctx: &ExecutionContext<'_>) -> CallOptions {
    let options = &ctx.job.invoke.options;
    let left = |max: MicroUsd| match ctx.job.grant.run() {
        Some(_) => max,
        None => max.saturating_sub(ctx.meter.total().cost),
    };
    CallOptions { model: options.model.clone(), cost_max: options.cost_max.map(left) }
}

fn arguments(arguments: &Json) -> Result<Values, String> {
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
        // Values are JSON already, so writing them as JSON cannot fail.
        None => Ok(serde_json::to_string(&reply.outputs).unwrap_or_default()),
    }
}

/// Cuts a result at its bound, and says so.
fn cut(mut content: String) -> String {
    if content.len() > RESULT_BYTES_MAX {
        let end = (0..=RESULT_BYTES_MAX).rev().find(|end| content.is_char_boundary(*end)).unwrap_or_default();
        content.truncate(end);
        content.push_str(" … (cut)");
    }
    content
}
