//! One file → one definition and its problems.

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

pub(super) fn read(file: &SourceFile, all: &mut DefinitionSet, problems: &mut Vec<Problem>) {
    let bytes = match file.bytes() {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.push(unreadable(file.name.to_path_buf(), format!("the file cannot be read: {error}")));
            return;
        }
    };
    let node = match yaml::parse(&bytes) {
        Ok(node) => node,
        Err(error) => {
            declare_file(file.kind, all);
            problems.push(Problem {
                location: location(&file.name, error.at),
                severity: Severity::Error,
                kind: error.kind,
                found: error.found,
                expected: error.expected,
            });
            return;
        }
    };
    let mut decoder = Decoder::new(file.name.clone());
    match resolve_kind(file.kind, &node) {
        DefinitionKind::Agent => agent(&mut decoder, node, file, all),
        DefinitionKind::Workflow => workflow(&mut decoder, node, file, all),
        DefinitionKind::Team => team(&mut decoder, node, file, all),
        DefinitionKind::Categories => match decode::categories(&mut decoder, &node) {
            Some(value) => all.categories.push(Located { value, node, file: file.name.clone() }),
            None => all.declared.categories = true,
        },
        DefinitionKind::Capabilities => match decode::capabilities(&mut decoder, &node) {
            Some(value) => all.capabilities.push(Located { value, node, file: file.name.clone() }),
            None => all.declared.capabilities = true,
        },
        DefinitionKind::Models => match decode::models(&mut decoder, &node) {
            Some(value) => all.models.push(Located { value, node, file: file.name.clone() }),
            None => all.declared.models = true,
        },
        DefinitionKind::Unknown => {
            let expected = "a definition begins with `agent_id`, `workflow_id`, `team_id`, `categories`, `capabilities` or `tiers`";
            decoder.error(node.at, ProblemKind::Misplaced, "this is not a definition", expected);
        }
    }
    problems.extend(decoder.into_problems());
}

fn location(name: &Arc<Path>, at: Position) -> Location {
    Location { file: name.clone(), line: at.line, column: at.column }
}

/// Records that the file of the categories, capabilities or models exists, although it is not valid YAML.
fn declare_file(kind: DefinitionKind, all: &mut DefinitionSet) {
    match kind {
        DefinitionKind::Categories => all.declared.categories = true,
        DefinitionKind::Capabilities => all.declared.capabilities = true,
        DefinitionKind::Models => all.declared.models = true,
        DefinitionKind::Agent | DefinitionKind::Workflow | DefinitionKind::Team | DefinitionKind::Unknown => {}
    }
}

/// The folder determines the kind of a file; outside of the known folders, its members do.
fn resolve_kind(kind: DefinitionKind, node: &Node) -> DefinitionKind {
    if kind != DefinitionKind::Unknown {
        return kind;
    }
    let NodeValue::Map(entries) = &node.value else { return DefinitionKind::Unknown };
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let known = [
        ("agent_id", DefinitionKind::Agent),
        ("workflow_id", DefinitionKind::Workflow),
        ("team_id", DefinitionKind::Team),
        ("categories", DefinitionKind::Categories),
        ("tiers", DefinitionKind::Models),
    ];
    match known.iter().find(|(name, _)| has(name)) {
        Some((_, kind)) => *kind,
        // An agent has this member too, beside others.
        None if entries.len() == 1 && has("capabilities") => DefinitionKind::Capabilities,
        None => DefinitionKind::Unknown,
    }
}

/// Returns the id that an invalid definition declares.
fn declared_id(node: &Node, name: &str) -> Option<String> {
    match &node.nearest(&[PathSegment::Name(name)]).value {
        NodeValue::Text(text) => Some(text.clone()),
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::List(_) | NodeValue::Map(_) => None,
    }
}

fn agent(decoder: &mut Decoder, node: Node, file: &SourceFile, all: &mut DefinitionSet) {
    let Some(spec) = decode::agent(decoder, &node) else {
        all.declared.agents.extend(declared_id(&node, "agent_id"));
        return;
    };
    if let Some(value) = compile_agent(decoder, spec, &node) {
        all.agents.push(Located { value, node, file: file.name.clone() });
    }
}

/// Compiles an agent; one with an invalid prompt is compiled without it, so that its other problems
/// are found too.
fn compile_agent(decoder: &mut Decoder, mut spec: AgentSpec, node: &Node) -> Option<Agent> {
    match Prompt::compile(&spec) {
        Ok(prompt) => Some(Agent::with_prompt(spec, prompt)),
        Err(problem) => {
            prompt_problem(decoder, &problem, node);
            spec.implementation.prompt = None;
            Agent::new(spec).ok()
        }
    }
}

fn prompt_problem(decoder: &mut Decoder, problem: &PromptError, node: &Node) {
    let text = node.nearest(&[
        PathSegment::Name("implementation"),
        PathSegment::Name("prompt"),
        PathSegment::Name(problem.part),
    ]);
    let kind = if problem.out_of_bounds { ProblemKind::ExpressionBounds } else { ProblemKind::Expression };
    // The parser reports the first line of content as the start of a block scalar.
    let at = match u32::try_from(problem.line) {
        Ok(line) if line > 1 => Position { line: text.at.line.saturating_add(line - 1), column: 1 },
        Ok(_) | Err(_) => text.at,
    };
    decoder.error(at, kind, problem.to_string(), "");
}

fn workflow(decoder: &mut Decoder, node: Node, file: &SourceFile, all: &mut DefinitionSet) {
    let Some(spec) = decode::workflow(decoder, &node) else {
        all.declared.workflows.extend(declared_id(&node, "workflow_id"));
        return;
    };
    let compiled = match crate::workflow::Workflow::compile(spec.clone()) {
        Ok(compiled) => Some(compiled),
        Err(problems) => {
            problems.iter().for_each(|problem| workflow_problem(decoder, problem, &spec, &node));
            None
        }
    };
    all.workflows.push(Located { value: LoadedWorkflow { spec, compiled }, node, file: file.name.clone() });
}

fn workflow_problem(decoder: &mut Decoder, problem: &PlanProblem, spec: &WorkflowSpec, node: &Node) {
    let mut path: Vec<PathSegment<'_>> = Vec::new();
    if let Some(id) = &problem.step {
        let mut positions = spec.steps.iter().enumerate().filter(|(_, step)| step.id == *id).map(|(at, _)| at);
        // A duplicate id is reported at its last occurrence.
        let position = if problem.kind == ProblemKind::DuplicateId { positions.next_back() } else { positions.next() };
        path.extend([PathSegment::Name("steps"), PathSegment::Item(position.unwrap_or_default())]);
    }
    match &problem.part {
        PlanPart::Whole => {}
        PlanPart::Member(name) => path.push(PathSegment::Name(name)),
        PlanPart::Entry(member, name) => path.extend([PathSegment::Name(member), PathSegment::Name(name)]),
    }
    decoder.error(node.nearest(&path).at, problem.kind, problem.to_string(), "");
}

fn team(decoder: &mut Decoder, node: Node, file: &SourceFile, all: &mut DefinitionSet) {
    match decode::team(decoder, &node) {
        Some(spec) => all.teams.push(Located { value: Team::new(spec), node, file: file.name.clone() }),
        None => all.declared.teams.extend(declared_id(&node, "team_id")),
    }
}
