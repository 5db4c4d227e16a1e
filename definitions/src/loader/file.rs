//! One file → one definition, or its problems.

use std::path::Path;
use std::sync::Arc;

use super::find::{DefinitionKind, SourceFile, unreadable};
use crate::agent::{Agent, AgentSpec};
use crate::decode::{self, Decoder};
use crate::definition_set::{DefinitionSet, LoadedWorkflow, Located};
use crate::plan::{PlanPart, PlanProblem};
use crate::problem::{Location, Problem, ProblemKind, Severity};
use crate::prompt::{Prompt, PromptError};
use crate::team::Team;
use crate::workflow::WorkflowSpec;
use crate::yaml::{self, Node, NodeValue, PathSegment, Position};

pub(super) fn read(found: &SourceFile, all: &mut DefinitionSet, problems: &mut Vec<Problem>) {
    let bytes = match found.bytes() {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.push(unreadable(found.name.to_path_buf(), format!("the file cannot be read: {error}")));
            return;
        }
    };
    let node = match yaml::parse(&bytes) {
        Ok(node) => node,
        Err(error) => {
            claim_file(found.sort, all);
            problems.push(Problem {
                place: place(&found.name, error.at),
                severity: Severity::Error,
                kind: error.flaw,
                found: error.found,
                expected: error.wanted,
            });
            return;
        }
    };
    let mut reader = Decoder::new(found.name.clone());
    match resolve_kind(found.sort, &node) {
        DefinitionKind::Agent => agent(&mut reader, node, found, all),
        DefinitionKind::Workflow => workflow(&mut reader, node, found, all),
        DefinitionKind::Team => team(&mut reader, node, found, all),
        DefinitionKind::Categories => match decode::categories(&mut reader, &node) {
            Some(what) => all.categories.push(Located { value: what, node, file: found.name.clone() }),
            None => all.claimed.categories = true,
        },
        DefinitionKind::Models => match decode::models(&mut reader, &node) {
            Some(what) => all.models.push(Located { value: what, node, file: found.name.clone() }),
            None => all.claimed.models = true,
        },
        DefinitionKind::Unknown => {
            let wanted = "a definition begins with `agent_id`, `workflow_id`, `team_id`, `categories` or `tiers`";
            reader.error(node.at, ProblemKind::Misplaced, "this is no definition", wanted);
        }
    }
    problems.extend(reader.into_problems());
}

fn place(name: &Arc<Path>, at: Position) -> Location {
    Location { file: name.clone(), line: at.line, column: at.column }
}

/// A file that is no YAML may still be the one that holds the categories.
fn claim_file(sort: DefinitionKind, all: &mut DefinitionSet) {
    match sort {
        DefinitionKind::Categories => all.claimed.categories = true,
        DefinitionKind::Models => all.claimed.models = true,
        DefinitionKind::Agent | DefinitionKind::Workflow | DefinitionKind::Team | DefinitionKind::Unknown => {}
    }
}

/// The folder says what a file is; outside the known folders, its members do.
fn resolve_kind(sort: DefinitionKind, node: &Node) -> DefinitionKind {
    if sort != DefinitionKind::Unknown {
        return sort;
    }
    let NodeValue::Map(entries) = &node.tree else { return DefinitionKind::Unknown };
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let known = [
        ("agent_id", DefinitionKind::Agent),
        ("workflow_id", DefinitionKind::Workflow),
        ("team_id", DefinitionKind::Team),
        ("categories", DefinitionKind::Categories),
        ("tiers", DefinitionKind::Models),
    ];
    known.iter().find(|(name, _)| has(name)).map_or(DefinitionKind::Unknown, |(_, sort)| *sort)
}

/// The id that a file that cannot be read says it has.
fn claimed(node: &Node, name: &str) -> Option<String> {
    match &node.nearest(&[PathSegment::Name(name)]).tree {
        NodeValue::Text(text) => Some(text.clone()),
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::List(_) | NodeValue::Map(_) => None,
    }
}

fn agent(reader: &mut Decoder, node: Node, found: &SourceFile, all: &mut DefinitionSet) {
    let Some(spec) = decode::agent(reader, &node) else {
        all.claimed.agents.extend(claimed(&node, "agent_id"));
        return;
    };
    if let Some(what) = compile_agent(reader, spec, &node) {
        all.agents.push(Located { value: what, node, file: found.name.clone() });
    }
}

/// An agent whose prompt is wrong goes on without it, so that its other problems are found too.
fn compile_agent(reader: &mut Decoder, mut spec: AgentSpec, node: &Node) -> Option<Agent> {
    match Prompt::compile(&spec) {
        Ok(prompt) => Some(Agent::with_prompt(spec, prompt)),
        Err(wrong) => {
            prompt_problem(reader, &wrong, node);
            spec.implementation.prompt = None;
            Agent::new(spec).ok()
        }
    }
}

fn prompt_problem(reader: &mut Decoder, wrong: &PromptError, node: &Node) {
    let text = node.nearest(&[
        PathSegment::Name("implementation"),
        PathSegment::Name("prompt"),
        PathSegment::Name(wrong.part),
    ]);
    let flaw = if wrong.bound { ProblemKind::ExpressionBounds } else { ProblemKind::Expression };
    // A block of text begins, for the parser, in its first line of content.
    let at = match u32::try_from(wrong.line) {
        Ok(line) if line > 1 => Position { line: text.at.line.saturating_add(line - 1), column: 1 },
        Ok(_) | Err(_) => text.at,
    };
    reader.error(at, flaw, wrong.to_string(), "");
}

fn workflow(reader: &mut Decoder, node: Node, found: &SourceFile, all: &mut DefinitionSet) {
    let Some(spec) = decode::workflow(reader, &node) else {
        all.claimed.workflows.extend(claimed(&node, "workflow_id"));
        return;
    };
    let compiled = match crate::workflow::Workflow::compile(spec.clone()) {
        Ok(compiled) => Some(compiled),
        Err(faults) => {
            faults.iter().for_each(|fault| workflow_problem(reader, fault, &spec, &node));
            None
        }
    };
    all.workflows.push(Located { value: LoadedWorkflow { spec, compiled }, node, file: found.name.clone() });
}

fn workflow_problem(reader: &mut Decoder, fault: &PlanProblem, spec: &WorkflowSpec, node: &Node) {
    let mut path: Vec<PathSegment<'_>> = Vec::new();
    if let Some(id) = &fault.step {
        let mut places = spec.steps.iter().enumerate().filter(|(_, step)| step.id == *id).map(|(at, _)| at);
        // A repeated id is reported where it is repeated.
        let place = if fault.kind == ProblemKind::DuplicateId { places.next_back() } else { places.next() };
        path.extend([PathSegment::Name("steps"), PathSegment::Item(place.unwrap_or_default())]);
    }
    match &fault.part {
        PlanPart::Whole => {}
        PlanPart::Member(name) => path.push(PathSegment::Name(name)),
        PlanPart::Entry(member, name) => path.extend([PathSegment::Name(member), PathSegment::Name(name)]),
    }
    reader.error(node.nearest(&path).at, fault.kind, fault.to_string(), "");
}

fn team(reader: &mut Decoder, node: Node, found: &SourceFile, all: &mut DefinitionSet) {
    match decode::team(reader, &node) {
        Some(spec) => all.teams.push(Located { value: Team::new(spec), node, file: found.name.clone() }),
        None => all.claimed.teams.extend(claimed(&node, "team_id")),
    }
}
