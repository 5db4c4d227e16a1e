//! One file → one definition, or its problems.

use std::path::Path;
use std::sync::Arc;

use super::find::{Found, Sort, unreadable};
use super::{All, Written, WrittenWorkflow};
use crate::agent::{Agent, AgentSpec};
use crate::decode::{self, Reader};
use crate::plan::{Fault, Part};
use crate::problem::{Flaw, Place, Problem, Severity};
use crate::prompt::{Prompt, PromptError};
use crate::team::Team;
use crate::workflow::WorkflowSpec;
use crate::yaml::{self, Node, Position, Step, Tree};

/// A workflow in its file.
pub(super) type Workflow = Written<WrittenWorkflow>;

pub(super) fn read(found: &Found, all: &mut All, problems: &mut Vec<Problem>) {
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
                flaw: error.flaw,
                found: error.found,
                wanted: error.wanted,
            });
            return;
        }
    };
    let mut reader = Reader::new(found.name.clone());
    match sort(found.sort, &node) {
        Sort::Agent => agent(&mut reader, node, found, all),
        Sort::Workflow => workflow(&mut reader, node, found, all),
        Sort::Team => team(&mut reader, node, found, all),
        Sort::Categories => match decode::categories(&mut reader, &node) {
            Some(what) => all.categories.push(Written { what, node, file: found.name.clone() }),
            None => all.claimed.categories = true,
        },
        Sort::Models => match decode::models(&mut reader, &node) {
            Some(what) => all.models.push(Written { what, node, file: found.name.clone() }),
            None => all.claimed.models = true,
        },
        Sort::Unknown => {
            let wanted = "a definition begins with `agent_id`, `workflow_id`, `team_id`, `categories` or `tiers`";
            reader.error(node.at, Flaw::Misplaced, "this is no definition", wanted);
        }
    }
    problems.extend(reader.into_problems());
}

fn place(name: &Arc<Path>, at: Position) -> Place {
    Place { file: name.clone(), line: at.line, column: at.column }
}

/// A file that is no YAML may still be the one that holds the categories.
fn claim_file(sort: Sort, all: &mut All) {
    match sort {
        Sort::Categories => all.claimed.categories = true,
        Sort::Models => all.claimed.models = true,
        Sort::Agent | Sort::Workflow | Sort::Team | Sort::Unknown => {}
    }
}

/// The folder says what a file is; outside the known folders, its members do.
fn sort(sort: Sort, node: &Node) -> Sort {
    if sort != Sort::Unknown {
        return sort;
    }
    let Tree::Map(entries) = &node.tree else { return Sort::Unknown };
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let known = [
        ("agent_id", Sort::Agent),
        ("workflow_id", Sort::Workflow),
        ("team_id", Sort::Team),
        ("categories", Sort::Categories),
        ("tiers", Sort::Models),
    ];
    known.iter().find(|(name, _)| has(name)).map_or(Sort::Unknown, |(_, sort)| *sort)
}

/// The id that a file that cannot be read says it has.
fn claimed(node: &Node, name: &str) -> Option<String> {
    match &node.nearest(&[Step::Name(name)]).tree {
        Tree::Text(text) => Some(text.clone()),
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::List(_) | Tree::Map(_) => None,
    }
}

fn agent(reader: &mut Reader, node: Node, found: &Found, all: &mut All) {
    let Some(spec) = decode::agent(reader, &node) else {
        all.claimed.agents.extend(claimed(&node, "agent_id"));
        return;
    };
    if let Some(what) = compile_agent(reader, spec, &node) {
        all.agents.push(Written { what, node, file: found.name.clone() });
    }
}

/// An agent whose prompt is wrong goes on without it, so that its other problems are found too.
fn compile_agent(reader: &mut Reader, mut spec: AgentSpec, node: &Node) -> Option<Agent> {
    match Prompt::compile(&spec) {
        Ok(prompt) => Some(Agent::with_prompt(spec, prompt)),
        Err(wrong) => {
            prompt_problem(reader, &wrong, node);
            spec.implementation.prompt = None;
            Agent::new(spec).ok()
        }
    }
}

fn prompt_problem(reader: &mut Reader, wrong: &PromptError, node: &Node) {
    let text = node.nearest(&[Step::Name("implementation"), Step::Name("prompt"), Step::Name(wrong.part)]);
    let flaw = if wrong.bound { Flaw::ExpressionBounds } else { Flaw::Expression };
    // A block of text begins, for the parser, in its first line of content.
    let at = match u32::try_from(wrong.line) {
        Ok(line) if line > 1 => Position { line: text.at.line.saturating_add(line - 1), column: 1 },
        Ok(_) | Err(_) => text.at,
    };
    reader.error(at, flaw, wrong.to_string(), "");
}

fn workflow(reader: &mut Reader, node: Node, found: &Found, all: &mut All) {
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
    all.workflows.push(Written { what: WrittenWorkflow { spec, compiled }, node, file: found.name.clone() });
}

fn workflow_problem(reader: &mut Reader, fault: &Fault, spec: &WorkflowSpec, node: &Node) {
    let mut path: Vec<Step<'_>> = Vec::new();
    if let Some(id) = &fault.step {
        let mut places = spec.steps.iter().enumerate().filter(|(_, step)| step.id == *id).map(|(at, _)| at);
        // A repeated id is reported where it is repeated.
        let place = if fault.flaw == Flaw::DuplicateId { places.next_back() } else { places.next() };
        path.extend([Step::Name("steps"), Step::Item(place.unwrap_or_default())]);
    }
    match &fault.part {
        Part::Whole => {}
        Part::Member(name) => path.push(Step::Name(name)),
        Part::Entry(member, name) => path.extend([Step::Name(member), Step::Name(name)]),
    }
    reader.error(node.nearest(&path).at, fault.flaw, fault.to_string(), "");
}

fn team(reader: &mut Reader, node: Node, found: &Found, all: &mut All) {
    match decode::team(reader, &node) {
        Some(spec) => all.teams.push(Written { what: Team::new(spec), node, file: found.name.clone() }),
        None => all.claimed.teams.extend(claimed(&node, "team_id")),
    }
}
