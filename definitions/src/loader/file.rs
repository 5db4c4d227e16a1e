//! One file → one definition and its problems.

use std::path::Path;
use std::sync::Arc;

use super::declared::{declared_id, declared_in_text};
use super::find::{SourceFile, unreadable};
use super::{snippet_file, undecoded};
use crate::agent::{Agent, AgentSpec};
use crate::decode::{self, Decoder};
use crate::definition_set::{DefinitionSet, LoadedWorkflow, Located, ReferenceKind};
use crate::kind::DefinitionKind;
use crate::plan::{PlanPart, PlanProblem};
use crate::problem::{Problem, ProblemKind, Severity};
use crate::prompt::{Prompt, PromptError};
use crate::snippet::includes;
use crate::team::Team;
use crate::workflow::WorkflowSpec;
use crate::yaml::{self, Node, NodeValue, PathSegment};

/// The path of the system prompt in the file of an agent.
pub(super) const SYSTEM_PROMPT: [PathSegment<'static>; 3] =
    [PathSegment::Name("implementation"), PathSegment::Name("prompt"), PathSegment::Name("system")];

pub(super) fn read(file: &SourceFile, all: &mut DefinitionSet, problems: &mut Vec<Problem>) {
    let bytes = match file.bytes() {
        Ok(bytes) => bytes,
        Err(error) => {
            undecoded::add(file, file.kind, None, all);
            problems.push(unreadable(file.name.to_path_buf(), format!("the file cannot be read: {error}")));
            return;
        }
    };
    if file.kind == DefinitionKind::Snippet {
        return snippet_file::read(file, &bytes, all, problems);
    }
    let parsed = if file.is_json() { yaml::parse_json(&bytes) } else { yaml::parse(&bytes) };
    let node = match parsed {
        Ok(node) => node,
        Err(error) => {
            let (kind, id) = declared_in_text(file.kind, &bytes);
            undecoded::add(file, kind, id, all);
            all.has_lost_defaults |= kind == DefinitionKind::Categories && has_defaults(&bytes);
            problems.push(Problem {
                location: undecoded::location(&file.name, error.at),
                severity: Severity::Error,
                kind: error.kind,
                found: error.found,
                expected: error.expected,
            });
            return;
        }
    };
    let mut decoder = Decoder::new(file.name.clone());
    let kind = resolve_kind(file.kind, &node);
    let id = kind.id_member().and_then(|member| declared_id(&node, member));
    if !decode(&mut decoder, kind, node, file, all) {
        undecoded::add(file, kind, id, all);
    }
    let (file_problems, references) = decoder.into_parts();
    all.has_lost_defaults |= kind == DefinitionKind::Categories
        && has_defaults(&bytes)
        && file_problems.iter().any(|problem| problem.severity == Severity::Error);
    problems.extend(file_problems);
    all.references.extend(references);
}

/// Decodes one definition into the set. Returns false if it could not be decoded.
fn decode(decoder: &mut Decoder, kind: DefinitionKind, node: Node, file: &SourceFile, all: &mut DefinitionSet) -> bool {
    let file = file.name.clone();
    match kind {
        DefinitionKind::Agent => {
            let decoded = decode::agent(decoder, &node).and_then(|spec| compile_agent(decoder, spec, &node));
            push(&mut all.agents, decoded, node, file)
        }
        DefinitionKind::Workflow => {
            let decoded = decode::workflow(decoder, &node).map(|spec| compile_workflow(decoder, spec, &node));
            push(&mut all.workflows, decoded, node, file)
        }
        DefinitionKind::Team => {
            let decoded = decode::team(decoder, &node).map(Team::new);
            push(&mut all.teams, decoded, node, file)
        }
        DefinitionKind::Categories => {
            let decoded = decode::categories(decoder, &node);
            push(&mut all.categories, decoded, node, file)
        }
        DefinitionKind::Capabilities => {
            let decoded = decode::capabilities(decoder, &node);
            push(&mut all.capabilities, decoded, node, file)
        }
        DefinitionKind::Models => {
            let decoded = decode::models(decoder, &node);
            push(&mut all.models, decoded, node, file)
        }
        DefinitionKind::Snippet | DefinitionKind::Unknown => {
            let expected = "a definition begins with `agent_id`, `workflow_id`, `team_id`, `categories`, `capabilities` or `tiers`";
            decoder.error(node.at, ProblemKind::Misplaced, "this is not a definition", expected);
            false
        }
    }
}

fn push<T>(all: &mut Vec<Located<T>>, value: Option<T>, node: Node, file: Arc<Path>) -> bool {
    let is_decoded = value.is_some();
    all.extend(value.map(|value| Located { value, node, file }));
    is_decoded
}

/// True if the text of a file of categories gives defaults. It is looked at only if the file is invalid.
fn has_defaults(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    lines.any(|line| {
        line.trim_ascii_start().starts_with(b"defaults") || line.windows(9).any(|part| part == b"defaults:")
    })
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

/// Compiles an agent; one with an invalid prompt is compiled without it, so that its other problems
/// are found too.
fn compile_agent(decoder: &mut Decoder, mut spec: AgentSpec, node: &Node) -> Option<Agent> {
    refer_to_snippets(decoder, &spec, node);
    match Prompt::compile_own(&spec) {
        Ok(prompt) => Some(Agent::with_prompt(spec, prompt)),
        Err(problem) => {
            prompt_problem(decoder, &problem, node);
            spec.implementation.prompt = None;
            Agent::new(spec).ok()
        }
    }
}

/// Records the snippets that the system prompt includes. One of an invalid form is a problem of the prompt.
fn refer_to_snippets(decoder: &mut Decoder, spec: &AgentSpec, node: &Node) {
    let Some(system) = spec.implementation.prompt.as_ref().and_then(|prompt| prompt.system.as_deref()) else { return };
    let text = node.nearest(&SYSTEM_PROMPT);
    for include in includes(system).unwrap_or_default() {
        decoder.refer(ReferenceKind::Snippet, text.line_position(include.line), include.name);
    }
}

fn prompt_problem(decoder: &mut Decoder, problem: &PromptError, node: &Node) {
    let text = node.nearest(&[
        PathSegment::Name("implementation"),
        PathSegment::Name("prompt"),
        PathSegment::Name(problem.part),
    ]);
    let kind = if problem.out_of_bounds { ProblemKind::ExpressionBounds } else { ProblemKind::Expression };
    decoder.error(text.line_position(problem.line), kind, problem.to_string(), "");
}

fn compile_workflow(decoder: &mut Decoder, spec: WorkflowSpec, node: &Node) -> LoadedWorkflow {
    let compiled = match crate::workflow::Workflow::compile(spec.clone()) {
        Ok(compiled) => Some(compiled),
        Err(problems) => {
            problems.iter().for_each(|problem| workflow_problem(decoder, problem, &spec, node));
            None
        }
    };
    LoadedWorkflow { spec, compiled }
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
