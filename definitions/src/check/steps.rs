//! Checks the inputs and outputs of steps, and of their compensations, against the agent or workflow that
//! executes them.

use std::collections::BTreeSet;

use greenroom_protocol::{Json, StepId, Values};

use super::index::{Index, Lookup, hint, lookup};
use super::literals;
use super::reference_types::{Contradiction, ReferenceTypes, contradiction};
use crate::agent::Agent;
use crate::condition::Condition;
use crate::definition_set::{DefinitionSet, LoadedWorkflow, Located};
use crate::expr::{Expr, Reference, ReferenceRoot, Segment};
use crate::plan::WAIT_OUTPUT;
use crate::problem::{Problem, ProblemKind};
use crate::types::{Field, FieldType};
use crate::workflow::{StepSpec, WorkflowSpec};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet, index: &Index<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for definition in &all.workflows {
        let spec = &definition.value.spec;
        for (at, step) in spec.steps.iter().enumerate() {
            let path = [PathSegment::Name("steps"), PathSegment::Item(at)];
            let types = ReferenceTypes { index, spec, step: Some(step), is_compensation: false };
            let bound = BoundInputs { step: &step.id, path: &path, inputs: &step.inputs, types };
            if let Some(Lookup::Found(agent)) = step.agent.as_ref().map(|id| index.agent(id)) {
                inputs(definition, &bound, &Receiver::for_agent(agent), &mut problems);
                outputs(definition, at, step, agent, &mut problems);
            }
            if let Some(Lookup::Found(inner)) = step.workflow.as_ref().map(|id| lookup(&index.workflows, id.as_str()))
                && !inner.inputs.is_empty()
            {
                let receiver = Receiver { kind: "workflow", id: inner.workflow_id.as_str(), fields: &inner.inputs };
                inputs(definition, &bound, &receiver, &mut problems);
            }
            loop_items(definition, &types, at, step, &mut problems);
            compensation(definition, index, at, step, &mut problems);
            condition(definition, index, at, step, &mut problems);
            references_of_step(definition, index, at, step, &mut problems);
        }
        for (name, value) in &spec.outputs {
            references(
                definition,
                index,
                &[PathSegment::Name("outputs"), PathSegment::Name(name)],
                value,
                &mut problems,
            );
        }
        if let Some(value) = &spec.final_output {
            references(definition, index, &[PathSegment::Name("final_output")], value, &mut problems);
        }
        if spec.outputs.is_empty() {
            shadowed(definition, &mut problems);
        }
        team(definition, index, &mut problems);
    }
    problems
}

/// The executor of a step or of its compensation, which receives the inputs.
struct Receiver<'a> {
    /// `agent` or `workflow`.
    kind: &'static str,
    id: &'a str,
    fields: &'a [Field],
}

impl<'a> Receiver<'a> {
    fn for_agent(agent: &'a Agent) -> Self {
        Self { kind: "agent", id: agent.id().as_str(), fields: &agent.spec().inputs }
    }
}

/// The inputs of a step or of its compensation, and the path of the map that has the member `inputs`.
struct BoundInputs<'a> {
    step: &'a StepId,
    path: &'a [PathSegment<'a>],
    inputs: &'a Values,
    types: ReferenceTypes<'a>,
}

impl<'a> BoundInputs<'a> {
    /// The path of one input, or of all of them.
    fn path(&self, name: Option<&'a str>) -> Vec<PathSegment<'a>> {
        let inputs = std::iter::once(PathSegment::Name("inputs"));
        self.path.iter().copied().chain(inputs).chain(name.map(PathSegment::Name)).collect()
    }
}

/// Every input of a step must be an input of the receiver and have its type, or fill its only text.
fn inputs(
    definition: &Located<LoadedWorkflow>,
    bound: &BoundInputs<'_>,
    to: &Receiver<'_>,
    problems: &mut Vec<Problem>,
) {
    let spec = &definition.value.spec;
    let fields = to.fields;
    for field in fields {
        if let Some(value) = bound.inputs.get(&field.name) {
            let path = bound.path(Some(&field.name));
            literals::check(definition, &bound.types, &path, (bound.step, field, value), problems);
        } else if let Some(inherited) = spec.inputs.iter().find(|inherited| inherited.name == field.name) {
            inherited_input(definition, bound, (inherited, field), problems);
        }
    }
    let has_value = |name: &str| bound.inputs.get(name).is_some_and(|value| !value.is_null());
    let is_provided = |name: &str| has_value(name) || spec.inputs.iter().any(|field| field.name == name);
    let gaps: Vec<_> =
        fields.iter().filter(|field| field.required && field.default.is_none() && !is_provided(&field.name)).collect();
    let known = |name: &str| fields.iter().any(|field| field.name == name);
    let undeclared: Vec<&String> = bound.inputs.keys().filter(|name| !known(name)).collect();
    let only_text = fields.iter().filter(|field| field.required && field.kind().is_text()).count() == 1;
    let filled = matches!(gaps.as_slice(), [gap] if gap.kind().is_text()) && only_text && !undeclared.is_empty();
    if filled {
        return;
    }
    for name in undeclared {
        let known = fields.iter().map(|field| field.name.as_str());
        let found = format!("step `{}`: the {} `{}` has no input `{name}`", bound.step, to.kind, to.id);
        let path = bound.path(Some(name));
        problems.push(definition.error(&path, ProblemKind::UnknownField, found, hint(name, known)));
    }
    // A workflow without declared inputs accepts any, so a missing input cannot be detected.
    for gap in gaps.iter().filter(|_| !spec.inputs.is_empty()) {
        let found = format!("step `{}`: the {}'s input `{}` has no value", bound.step, to.kind, gap.name);
        let expected = "the run fails unless its context provides it";
        problems.push(definition.warning(&bound.path(None), ProblemKind::UnfilledInput, found, expected));
    }
}

/// An input that a step lacks is the run's input of that name, whose type must not be another one.
fn inherited_input(
    definition: &Located<LoadedWorkflow>,
    bound: &BoundInputs<'_>,
    (inherited, field): (&Field, &Field),
    problems: &mut Vec<Problem>,
) {
    let Some(Contradiction { path, found, expected }) = contradiction(&inherited.value_type, &field.value_type) else {
        return;
    };
    let name = &field.name;
    let found = format!(
        "step `{}`: `inputs.{name}{path}` must be {}, and the run's input `{name}{path}`, which the step receives, is {}",
        bound.step,
        expected.described(),
        found.described()
    );
    let path = bound.path(None);
    // A run without a value for an optional input has no problem.
    problems.push(match inherited.required {
        true => definition.error(&path, ProblemKind::WrongType, found, ""),
        false => definition.warning(&path, ProblemKind::WrongType, found, "a run with a value for it fails"),
    });
}

/// The items of a loop are a list.
fn loop_items(
    definition: &Located<LoadedWorkflow>,
    types: &ReferenceTypes<'_>,
    at: usize,
    step: &StepSpec,
    problems: &mut Vec<Problem>,
) {
    let Some(Ok(Expr::Reference(reference))) = step.for_each.as_ref().map(|for_each| Expr::parse(&for_each.items))
    else {
        return;
    };
    let Some(kind) = types.type_of(&reference).map(|found| found.kind).filter(|kind| *kind != FieldType::Array) else {
        return;
    };
    let path =
        [PathSegment::Name("steps"), PathSegment::Item(at), PathSegment::Name("for_each"), PathSegment::Name("items")];
    let found = format!(
        "step `{}`: `for_each.items` must be an array, and `${{{reference}}}` is {}",
        step.id,
        kind.described()
    );
    problems.push(definition.error(&path, ProblemKind::WrongType, found, ""));
}

/// The inputs of a compensation must be inputs of its agent. Otherwise the error is found only when a run has
/// failed, and its steps are not reversed.
fn compensation(
    definition: &Located<LoadedWorkflow>,
    index: &Index<'_>,
    at: usize,
    step: &StepSpec,
    problems: &mut Vec<Problem>,
) {
    let Some(compensation) = &step.compensate else { return };
    let Lookup::Found(agent) = index.agent(&compensation.agent) else { return };
    let path = [PathSegment::Name("steps"), PathSegment::Item(at), PathSegment::Name("compensate")];
    let types = ReferenceTypes { index, spec: &definition.value.spec, step: Some(step), is_compensation: true };
    let bound = BoundInputs { step: &step.id, path: &path, inputs: &compensation.inputs, types };
    inputs(definition, &bound, &Receiver::for_agent(agent), problems);
}

/// The outputs that a step references outside of its condition must be outputs of their steps.
fn references_of_step(
    definition: &Located<LoadedWorkflow>,
    index: &Index<'_>,
    at: usize,
    step: &StepSpec,
    problems: &mut Vec<Problem>,
) {
    let step_path = [PathSegment::Name("steps"), PathSegment::Item(at)];
    let mut check = |members: &[&str], value: &Json| {
        let path: Vec<_> = step_path.iter().copied().chain(members.iter().copied().map(PathSegment::Name)).collect();
        references(definition, index, &path, value, problems);
    };
    for (name, value) in &step.inputs {
        check(&["inputs", name], value);
    }
    for (name, value) in step.compensate.iter().flat_map(|compensation| &compensation.inputs) {
        check(&["compensate", "inputs", name], value);
    }
    if let Some(for_each) = &step.for_each {
        check(&["for_each", "items"], &for_each.items);
    }
    if let Some(approval) = &step.approval {
        check(&["approval", "prompt"], &Json::String(approval.prompt.clone()));
    }
}

/// An output that a condition references must be an output of its step.
fn condition(
    definition: &Located<LoadedWorkflow>,
    index: &Index<'_>,
    at: usize,
    step: &StepSpec,
    problems: &mut Vec<Problem>,
) {
    // The compiler of the plan reports an invalid condition.
    let Some(Ok(condition)) = step.when.as_deref().map(Condition::compile) else { return };
    for (id, name) in condition.outputs() {
        let path = [PathSegment::Name("steps"), PathSegment::Item(at), PathSegment::Name("when")];
        named_output(definition, index, &path, (id, name), problems);
    }
}

/// A named output of a step must be an output of the agent, unless it is the only name of the step.
fn outputs(
    definition: &Located<LoadedWorkflow>,
    at: usize,
    step: &StepSpec,
    agent: &Agent,
    problems: &mut Vec<Problem>,
) {
    for (position, name) in step.outputs.iter().enumerate() {
        if step.outputs.len() > 1 && agent.output(name).is_none() {
            let path = [
                PathSegment::Name("steps"),
                PathSegment::Item(at),
                PathSegment::Name("outputs"),
                PathSegment::Item(position),
            ];
            let known = agent.spec().outputs.iter().map(|field| field.name.as_str());
            let found = format!("step `{}`: the agent `{}` has no output `{name}`", step.id, agent.id());
            problems.push(definition.error(&path, ProblemKind::UnknownReference, found, hint(name, known)));
        }
    }
}

/// The output of `${steps.x.outputs.y}` must be an output of step `x`.
fn references(
    definition: &Located<LoadedWorkflow>,
    index: &Index<'_>,
    path: &[PathSegment<'_>],
    value: &Json,
    problems: &mut Vec<Problem>,
) {
    // The compiler of the plan reports an invalid expression.
    let Ok(expr) = Expr::parse(value) else { return };
    for reference in expr.references() {
        if let (ReferenceRoot::Step(step), Some(name)) = (&reference.root, reference.name()) {
            named_output(definition, index, path, (step.as_str(), name), problems);
        }
        undeclared_property(definition, index, path, reference, problems);
    }
}

/// A reference into a value may name only what the type of that input or output declares.
fn undeclared_property(
    definition: &Located<LoadedWorkflow>,
    index: &Index<'_>,
    path: &[PathSegment<'_>],
    reference: &Reference,
    problems: &mut Vec<Problem>,
) {
    let spec = &definition.value.spec;
    let Some(name) = reference.name() else { return };
    let (field, is_list) = match &reference.root {
        ReferenceRoot::Inputs => (spec.inputs.iter().find(|field| field.name == name), false),
        ReferenceRoot::Step(id) => {
            let Some(step) = spec.steps.iter().find(|step| step.id == *id) else { return };
            let Some(Lookup::Found(agent)) = step.agent.as_ref().map(|id| index.agent(id)) else { return };
            (agent.output(name), step.for_each.is_some())
        }
        // A value of the context, and an item, have no declaration.
        ReferenceRoot::Context | ReferenceRoot::Item | ReferenceRoot::Index => return,
    };
    // The outputs of a step with `for_each` are lists of those of its agent.
    let path_in_value = reference.path.get(1..).unwrap_or_default();
    let inner = match (is_list, path_in_value) {
        (false, _) => path_in_value,
        (true, [Segment::Index(_), inner @ ..]) => inner,
        (true, _) => return,
    };
    let Some(found) = field.and_then(|field| field.value_type.find_undeclared(inner)) else { return };
    let found = format!("`${{{reference}}}`: `{name}{}` has no property `{}`{}", found.object, found.name, found.hint);
    problems.push(definition.error(path, ProblemKind::UnknownReference, found, ""));
}

fn named_output(
    definition: &Located<LoadedWorkflow>,
    index: &Index<'_>,
    path: &[PathSegment<'_>],
    (step, name): (&str, &str),
    problems: &mut Vec<Problem>,
) {
    let Some(known) = outputs_of(&definition.value.spec, index, step) else { return };
    if known.contains(name) {
        return;
    }
    let found = format!("step `{step}` has no output `{name}`");
    let expected = match hint(name, known.iter().copied()) {
        empty if empty.is_empty() => format!("it has {}", known.into_iter().collect::<Vec<_>>().join(", ")),
        hint => hint,
    };
    problems.push(definition.error(path, ProblemKind::UnknownReference, found, expected));
}

/// Returns the outputs of a step; `None` if its executor is unknown.
fn outputs_of<'a>(spec: &'a WorkflowSpec, index: &Index<'a>, step: &str) -> Option<BTreeSet<&'a str>> {
    let step = spec.steps.iter().find(|one| one.id.as_str() == step)?;
    let mut known: BTreeSet<&str> = step.outputs.iter().map(String::as_str).collect();
    if let Some(agent) = &step.agent {
        let Lookup::Found(agent) = index.agent(agent) else { return None };
        known.extend(agent.spec().outputs.iter().map(|field| field.name.as_str()));
    } else if let Some(workflow) = &step.workflow {
        let Lookup::Found(inner) = lookup(&index.workflows, workflow.as_str()) else { return None };
        known.extend(inner.outputs.keys().map(String::as_str));
        if inner.outputs.is_empty() {
            known.extend(inner.steps.iter().flat_map(|step| &step.outputs).map(String::as_str));
        }
        known.insert("final_output");
    } else if step.wait_for.is_some() {
        known.insert(WAIT_OUTPUT);
    }
    Some(known)
}

/// Without `outputs`, a run returns every named output, so a duplicate name hides the earlier one.
fn shadowed(definition: &Located<LoadedWorkflow>, problems: &mut Vec<Problem>) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (at, step) in definition.value.spec.steps.iter().enumerate() {
        for (position, name) in step.outputs.iter().enumerate() {
            if !names.insert(name) {
                let path = [
                    PathSegment::Name("steps"),
                    PathSegment::Item(at),
                    PathSegment::Name("outputs"),
                    PathSegment::Item(position),
                ];
                let found = format!("step `{}`: an earlier step also names `{name}`", step.id);
                let expected = "the run returns the later one; choose one in `outputs`";
                problems.push(definition.warning(&path, ProblemKind::DuplicateId, found, expected));
            }
        }
    }
}

/// A team runs only the workflows that it lists.
fn team(definition: &Located<LoadedWorkflow>, index: &Index<'_>, problems: &mut Vec<Problem>) {
    for (at, step) in definition.value.spec.steps.iter().enumerate() {
        let (Some(team), Some(workflow)) = (&step.team, &step.workflow) else { continue };
        let Lookup::Found(spec) = lookup(&index.teams, team.as_str()) else { continue };
        if !spec.workflows.is_empty() && !spec.workflows.contains(workflow) {
            let path = [PathSegment::Name("steps"), PathSegment::Item(at), PathSegment::Name("workflow")];
            let found = format!("step `{}`: the team `{team}` does not run `{workflow}`", step.id);
            let known = spec.workflows.iter().map(AsRef::as_ref);
            problems.push(definition.error(&path, ProblemKind::InvalidValue, found, hint(workflow.as_str(), known)));
        }
    }
}
