//! Decodes names that something outside of the file must have, and records each of them as a reference.

use std::fmt::Display;
use std::str::FromStr;

use greenroom_protocol::{AgentId, CategoryId, TeamId, WorkflowId, policy_name};

use super::{Decoder, MapFields, list, name, one_of, parsed, text};
use crate::agent::{ToolApproval, ToolRef, ToolUse};
use crate::definition_set::ReferenceKind;
use crate::policy::PolicyParameter;
use crate::problem::ProblemKind;
use crate::yaml::{MapEntry, Node, NodeValue};

fn referred<T: FromStr<Err: Display> + Display>(decoder: &mut Decoder, node: &Node, kind: ReferenceKind) -> Option<T> {
    let id: T = parsed(decoder, node)?;
    decoder.refer(kind, node.at, id.to_string());
    Some(id)
}

pub(super) fn agent_id(decoder: &mut Decoder, node: &Node) -> Option<AgentId> {
    referred(decoder, node, ReferenceKind::Agent)
}

pub(super) fn agent_ids(decoder: &mut Decoder, node: &Node) -> Option<Vec<AgentId>> {
    list(decoder, node, agent_id)
}

pub(super) fn workflow_id(decoder: &mut Decoder, node: &Node) -> Option<WorkflowId> {
    referred(decoder, node, ReferenceKind::Workflow)
}

pub(super) fn workflow_ids(decoder: &mut Decoder, node: &Node) -> Option<Vec<WorkflowId>> {
    list(decoder, node, workflow_id)
}

pub(super) fn team_id(decoder: &mut Decoder, node: &Node) -> Option<TeamId> {
    referred(decoder, node, ReferenceKind::Team)
}

pub(super) fn category_id(decoder: &mut Decoder, node: &Node) -> Option<CategoryId> {
    referred(decoder, node, ReferenceKind::Category)
}

pub(super) fn policies(decoder: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    list(decoder, node, policy)
}

/// Decodes the name of a policy, or a map of its name and its parameter.
fn policy(decoder: &mut Decoder, node: &Node) -> Option<String> {
    if let NodeValue::Map(entries) = &node.value {
        let [entry] = entries.as_slice() else {
            return decoder.mistyped(node, "one policy with its parameter, such as `max_document_size: 5mb`");
        };
        decoder.refer(ReferenceKind::Policy, entry.at, entry.name.clone());
        return with_parameter(decoder, entry);
    }
    let policy = name(decoder, node)?;
    decoder.refer(ReferenceKind::Policy, node.at, policy.clone());
    if let Some(parameter) = PolicyParameter::for_policy(&policy) {
        let found = format!("the policy `{policy}` needs a parameter");
        let expected = format!("write `{policy}: VALUE`, {}", parameter.expected());
        decoder.error(node.at, ProblemKind::MissingField, found, expected);
        return None;
    }
    Some(policy)
}

fn with_parameter(decoder: &mut Decoder, entry: &MapEntry) -> Option<String> {
    let Some(parameter) = PolicyParameter::for_policy(&entry.name) else {
        let found = format!("the policy `{}` has no parameter", entry.name);
        decoder.error(entry.at, ProblemKind::InvalidValue, found, format!("write `- {}`", entry.name));
        return None;
    };
    let written = text(decoder, &entry.value)?;
    match parameter.parse(&written) {
        Some(value) => Some(policy_name::join(&entry.name, value)),
        None => {
            let found = format!("{written:?} is not a parameter of `{}`", entry.name);
            decoder.error(entry.value.at, ProblemKind::InvalidValue, found, parameter.expected());
            None
        }
    }
}

pub(super) fn snippets(decoder: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    list(decoder, node, snippet)
}

fn snippet(decoder: &mut Decoder, node: &Node) -> Option<String> {
    let snippet = name(decoder, node)?;
    decoder.refer(ReferenceKind::Snippet, node.at, snippet.clone());
    Some(snippet)
}

pub(super) fn capabilities(decoder: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    list(decoder, node, capability)
}

fn capability(decoder: &mut Decoder, node: &Node) -> Option<String> {
    let capability = name(decoder, node)?;
    decoder.refer(ReferenceKind::Capability, node.at, capability.clone());
    Some(capability)
}

pub(super) fn tools(decoder: &mut Decoder, node: &Node) -> Option<Vec<ToolUse>> {
    list(decoder, node, tool)
}

/// Decodes the name of a tool, or a map of its name and its settings.
fn tool(decoder: &mut Decoder, node: &Node) -> Option<ToolUse> {
    if !matches!(node.value, NodeValue::Map(_)) {
        return Some(ToolUse::from(tool_name(decoder, node)?));
    }
    let mut fields = MapFields::new(decoder, node, "a tool")?;
    let tool = fields.required(decoder, "tool", tool_name);
    let approval = fields.optional(decoder, "approval", tool_approval);
    fields.finish(decoder);
    Some(ToolUse { tool: tool?, approval: approval? })
}

fn tool_approval(decoder: &mut Decoder, node: &Node) -> Option<ToolApproval> {
    one_of(decoder, node, &[("required", ToolApproval::Required)])
}

fn tool_name(decoder: &mut Decoder, node: &Node) -> Option<ToolRef> {
    let tool: ToolRef = parsed(decoder, node)?;
    match &tool {
        ToolRef::Agent(id) => decoder.refer(ReferenceKind::Agent, node.at, id.as_str()),
        ToolRef::Native(name) => decoder.refer(ReferenceKind::Tool, node.at, name.clone()),
        // The tools of configured sources are known by their whole names.
        ToolRef::Http(_) => decoder.refer(ReferenceKind::Tool, node.at, tool.to_string()),
        ToolRef::Mcp { server, tool: _ } => decoder.refer(ReferenceKind::ToolServer, node.at, server.clone()),
    }
    Some(tool)
}
