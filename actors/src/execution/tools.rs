//! The tools of one agent: describes them to the model, and issues each call as a nested request of the
//! agent itself. A call that a person approves first is not issued before the decision.

use std::sync::Arc;

use futures::StreamExt;
use greenroom_definitions::agent::ToolUse;
use greenroom_definitions::{Agent, Catalogue};
use greenroom_protocol::conversation::{PendingToolCall, ToolDecision};
use greenroom_protocol::request::CallOptions;
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{CallKey, ContentHash, Json, Reply, Request, Values};

use super::ExecutionEnv;
use super::runtime::ExecutionContext;
use crate::model::{ToolCall, ToolSpec};
use crate::tool::{NestedCall, READ_ARTIFACT, TOOL_RESULT, ToolSource};

/// Maximum calls of one turn that run at the same time.
const CONCURRENT_CALLS_MAX: usize = 8;
/// Maximum size of unusable arguments in the result of a call.
const ARGUMENTS_BYTES_MAX: usize = 200;
/// The namespace of all tools in the format in which OpenAI's models write calls.
const NAMESPACE: &str = "functions.";
/// Characters of a tool's name that every provider accepts.
const NAME_CHARS_MAX: usize = 64;

/// What a call of a tool becomes.
struct ToolTarget {
    source: Arc<dyn ToolSource>,
    /// The name of the tool in its source.
    name: String,
    /// True if a person approves each call.
    needs_approval: bool,
}

impl ToolTarget {
    /// The tool as definitions name it.
    fn full_name(&self) -> String {
        format!("{}:{}", self.source.scheme(), self.name)
    }
}

/// The tools of one agent, by the names that its model sees.
pub(super) struct ToolSet {
    specs: Vec<ToolSpec>,
    /// The target of each spec, in the same order.
    targets: Vec<ToolTarget>,
    /// The tools of the definition; a further one reads results that became artifacts.
    declared: usize,
}

/// One call of a turn, and what is known of it.
pub(super) struct PlannedCall {
    /// The call as the model made it.
    pub(super) call: ToolCall,
    /// What is known of it.
    pub(super) state: CallState,
}

/// What is known of a call before the calls of its turn are made.
pub(super) enum CallState {
    /// Nothing: the model has just made it.
    New,
    /// It has ended with this result, and is not repeated.
    Ended(CallResult),
    /// A person has decided about it.
    Decided {
        /// The decision.
        decision: ToolDecision,
        /// The hash of the tool that the decision is about.
        described: ContentHash,
    },
}

/// The result of a call, as the model reads it.
pub(super) struct CallResult {
    /// JSON text, or the text of an error.
    pub(super) content: String,
    /// True if the call was denied, rejected or failed.
    pub(super) is_error: bool,
}

/// What became of a call.
pub(super) enum CallOutcome {
    /// It has ended.
    Ended(CallResult),
    /// It waits for an approval.
    Waiting {
        /// The call.
        call: PendingToolCall,
        /// The hash of its tool.
        described: ContentHash,
    },
}

impl CallResult {
    pub(super) const fn error(content: String) -> Self {
        Self { content, is_error: true }
    }
}

impl ToolSet {
    /// Collects the tools that the definition names and that exist.
    pub(super) async fn for_agent(env: &ExecutionEnv, catalogue: &Catalogue, agent: &Agent) -> Self {
        refresh_sources(env, agent).await;
        let mut set = Self { specs: Vec::new(), targets: Vec::new(), declared: 0 };
        for used in &agent.spec().tools {
            set.add(env, catalogue, &used.tool.to_string(), used.needs_approval());
        }
        set.declared = set.specs.len();
        let is_reader = |used: &ToolUse| used.tool.to_string() == READ_ARTIFACT;
        if set.declared > 0 && !agent.spec().tools.iter().any(is_reader) {
            set.add(env, catalogue, READ_ARTIFACT, false);
        }
        set
    }

    fn add(&mut self, env: &ExecutionEnv, catalogue: &Catalogue, full_name: &str, needs_approval: bool) {
        let Some((scheme, target)) = full_name.split_once(':') else { return };
        let Some(source) = env.tool_source(scheme) else { return };
        let Some(tool) = source.describe(target, catalogue) else { return };
        let name = self.unique_name(target);
        self.specs.push(ToolSpec { name, description: tool.description, parameters: tool.parameters });
        self.targets.push(ToolTarget { source: Arc::clone(source), name: target.to_owned(), needs_approval });
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

    /// The tools as the model request describes them: those of the definition, and the reader of artifacts once a
    /// result has become one.
    pub(super) fn specs(&self, has_artifacts: bool) -> &[ToolSpec] {
        if has_artifacts { &self.specs } else { self.specs.get(..self.declared).unwrap_or_default() }
    }

    /// The name by which the model calls the reader of artifacts.
    pub(super) fn reader(&self) -> Option<&str> {
        let is_reader = |target: &ToolTarget| target.full_name() == READ_ARTIFACT;
        let mut all = self.specs.iter().zip(&self.targets);
        all.find(|(_, target)| is_reader(target)).map(|(spec, _)| spec.name.as_str())
    }

    /// Makes the calls of one turn at the same time, within a bound, and returns what became of them in the order of the
    /// calls. A call that is denied or fails has a result too: the model may continue without it. One that waits for an
    /// approval delays none of the others.
    pub(super) async fn call_all(
        &self,
        ctx: &ExecutionContext<'_>,
        calls: Vec<PlannedCall>,
        key: &CallKey,
    ) -> Vec<CallOutcome> {
        let started = calls.into_iter().enumerate().map(|(index, planned)| {
            let key = key.child(&format!("tool[{index}]"));
            Box::pin(self.begin_call(ctx, planned, key))
        });
        let started: Vec<_> = started.collect();
        futures::stream::iter(started).buffered(CONCURRENT_CALLS_MAX).collect().await
    }

    async fn begin_call(&self, ctx: &ExecutionContext<'_>, planned: PlannedCall, key: CallKey) -> CallOutcome {
        let PlannedCall { call, state } = planned;
        let approved = match state {
            CallState::New => None,
            CallState::Ended(result) => return CallOutcome::Ended(result),
            CallState::Decided { decision, described } if decision.approved => Some(described),
            CallState::Decided { decision, .. } => return CallOutcome::Ended(CallResult::error(rejection(&decision))),
        };
        let (spec, target, arguments) = match self.find(&call) {
            Ok(found) => found,
            Err(message) => return CallOutcome::Ended(CallResult::error(message)),
        };
        match approved {
            // The source may have lost a tool since, and then another one has its name.
            Some(approved) if approved != description_hash(spec, target) => {
                return CallOutcome::Ended(CallResult::error(changed_tool(&call.name)));
            }
            None if target.needs_approval => {
                let (described, tool) = (description_hash(spec, target), target.full_name());
                let arguments = Json::Object(arguments.into_iter().collect());
                return CallOutcome::Waiting { call: PendingToolCall::new(&key, &tool, arguments), described };
            }
            Some(_) | None => {}
        }
        CallOutcome::Ended(match issue_call(ctx, (spec, target), arguments, key).await {
            Ok(content) => CallResult { content, is_error: false },
            Err(message) => CallResult::error(message),
        })
    }

    /// The tool that the model calls as it was described and as its source has it, and the arguments that it gave.
    fn find(&self, call: &ToolCall) -> Result<(&ToolSpec, &ToolTarget, Values), String> {
        let named = |name: &str| self.specs.iter().zip(&self.targets).find(|(spec, _)| spec.name == name);
        // Some models write the namespace of their own format before the name, or spaces around it.
        let plain = call.name.trim();
        let known = named(&call.name).or_else(|| named(plain.strip_prefix(NAMESPACE).unwrap_or(plain)));
        let Some((spec, target)) = known else {
            let names: Vec<&str> = self.specs.iter().map(|spec| spec.name.as_str()).collect();
            return Err(format!("there is no tool `{}`; the tools are: {}", call.name, names.join(", ")));
        };
        Ok((spec, target, parse_arguments(spec, &call.arguments)?))
    }
}

/// Issues the request of a call, and returns its result as text.
async fn issue_call(
    ctx: &ExecutionContext<'_>,
    (spec, target): (&ToolSpec, &ToolTarget),
    arguments: Values,
    key: CallKey,
) -> Result<String, String> {
    target.source.require_unchanged(&target.name, spec).await.map_err(|cause| cause.to_string())?;
    // The grant has the limits on spending, which bind the calls of all levels together.
    let options = CallOptions { cost_max: None, ..ctx.invocation.invoke.options.clone() };
    let call = NestedCall { name: &target.name, arguments, key, options };
    let request = target.source.request(call).map_err(|cause| cause.to_string())?;
    let is_tool = matches!(request, Request::CallTool(_));
    ctx.env.budgets.share(&ctx.invocation.grant, &ctx.invocation.key(), ctx.budget);
    result_text(is_tool, &ctx.issue_request(request).await)
}

/// The hash of a tool as it is described to the model.
fn description_hash(spec: &ToolSpec, target: &ToolTarget) -> ContentHash {
    let described = serde_json::json!([target.full_name(), spec.description, spec.parameters]);
    ContentHash::from_content(described.to_string().as_bytes())
}

/// The result of a call whose tool is not the one that a person has approved.
fn changed_tool(name: &str) -> String {
    format!("not called: the tool `{name}` has changed since a person approved the call; call it again if it is needed")
}

/// The result of a call that a person has rejected.
fn rejection(decision: &ToolDecision) -> String {
    match &decision.reason {
        Some(reason) => format!("rejected by {}: {reason}", decision.by),
        None => format!("rejected by {}", decision.by),
    }
}

/// Brings what the sources know of the tools that the definition names up to date.
async fn refresh_sources(env: &ExecutionEnv, agent: &Agent) {
    let full_names: Vec<String> = agent.spec().tools.iter().map(|used| used.tool.to_string()).collect();
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
