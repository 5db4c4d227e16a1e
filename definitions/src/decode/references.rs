//! Decodes names that something outside of the file must have, and records each of them as a reference.

use std::fmt::Display;
use std::str::FromStr;

use greenroom_protocol::{AgentId, CategoryId, TeamId, WorkflowId};

use super::{Decoder, list, name, parsed};
use crate::agent::ToolRef;
use crate::definition_set::ReferenceKind;
use crate::yaml::Node;

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

fn policy(decoder: &mut Decoder, node: &Node) -> Option<String> {
    let policy = name(decoder, node)?;
    decoder.refer(ReferenceKind::Policy, node.at, policy.clone());
    Some(policy)
}

pub(super) fn capabilities(decoder: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    list(decoder, node, capability)
}

fn capability(decoder: &mut Decoder, node: &Node) -> Option<String> {
    let capability = name(decoder, node)?;
    decoder.refer(ReferenceKind::Capability, node.at, capability.clone());
    Some(capability)
}

pub(super) fn tools(decoder: &mut Decoder, node: &Node) -> Option<Vec<ToolRef>> {
    list(decoder, node, tool)
}

fn tool(decoder: &mut Decoder, node: &Node) -> Option<ToolRef> {
    let tool: ToolRef = parsed(decoder, node)?;
    match &tool {
        ToolRef::Agent(id) => decoder.refer(ReferenceKind::Agent, node.at, id.as_str()),
        ToolRef::Native(name) => decoder.refer(ReferenceKind::Tool, node.at, name.clone()),
    }
    Some(tool)
}
