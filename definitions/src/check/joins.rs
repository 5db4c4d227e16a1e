//! Checks of steps behind branches. A step that needs values of two steps which are executed under different
//! conditions is skipped as soon as one of them is, which is rarely what its author means.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_protocol::StepId;

use super::index::{Index, Lookup, lookup};
use crate::definition_set::{DefinitionSet, LoadedWorkflow, Located};
use crate::expr::{Expr, Reference};
use crate::plan::PlanStep;
use crate::problem::{Problem, ProblemKind};
use crate::types::Field;
use crate::workflow::WorkflowSpec;
use crate::yaml::PathSegment;

/// The conditions without which a step is not executed, as they are written.
type Conditions<'a> = BTreeSet<&'a str>;

pub(super) fn check(all: &DefinitionSet, index: &Index<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    all.workflows.iter().for_each(|definition| workflow(definition, index, &mut problems));
    problems
}

fn workflow(definition: &Located<LoadedWorkflow>, index: &Index<'_>, problems: &mut Vec<Problem>) {
    let Some(compiled) = &definition.value.compiled else { return };
    let mut conditions: BTreeMap<&StepId, Conditions<'_>> = BTreeMap::new();
    // The plan has each step after the steps to which it refers.
    for step in &compiled.plan().steps {
        let needed = needed_steps(step, receiver(step, index), &definition.value.spec);
        if let Some((one, other)) = under_different_conditions(&needed, &conditions) {
            let position = definition.value.spec.steps.iter().position(|spec| spec.id == step.id).unwrap_or_default();
            let path = [PathSegment::Name("steps"), PathSegment::Item(position)];
            let found = format!(
                "step `{}` needs values of `{one}` and of `{other}`, which are executed under different conditions",
                step.id
            );
            let expected = "it is skipped unless both are executed; make the inputs optional, or give them defaults";
            problems.push(definition.warning(&path, ProblemKind::SkippedJoin, found, expected));
        }
        let own = step.when.iter().filter(|when| !when.uses_item()).map(|when| when.text());
        let inherited = needed.iter().filter_map(|id| conditions.get(id)).flatten().copied();
        let all: Conditions<'_> = own.chain(inherited).collect();
        conditions.insert(&step.id, all);
    }
}

/// The inputs of the agent or workflow that executes a step; none if it is unknown.
fn receiver<'a>(step: &PlanStep, index: &Index<'a>) -> &'a [Field] {
    if let Some(Lookup::Found(agent)) = step.agent().map(|id| index.agent(id)) {
        return &agent.spec().inputs;
    }
    match step.workflow().map(|id| lookup(&index.workflows, id.as_str())) {
        Some(Lookup::Found(inner)) => &inner.inputs,
        Some(Lookup::Unreadable | Lookup::Missing) | None => &[],
    }
}

/// The steps without which a step is skipped.
fn needed_steps<'p>(step: &'p PlanStep, receiver: &[Field], spec: &WorkflowSpec) -> BTreeSet<&'p StepId> {
    let is_required = |name: &str| {
        let is_inherited = spec.inputs.iter().any(|field| field.name == name);
        let field = receiver.iter().find(|field| field.name == name);
        field.is_some_and(|field| field.required && field.default.is_none()) && !is_inherited
    };
    let inputs = step.inputs.iter().filter(|(name, _)| is_required(name)).map(|(_, expr)| expr);
    let others = step.approval.iter().chain(step.for_each.as_ref().map(|each| &each.items));
    let mut needed: BTreeSet<&StepId> = inputs.chain(others).flat_map(needed_by).collect();
    let all = step.input_steps();
    if all.len() == 1 {
        needed.extend(all);
    }
    needed
}

/// The steps without which an expression is absent.
fn needed_by(expr: &Expr) -> BTreeSet<&StepId> {
    let steps: BTreeSet<&StepId> = expr.references().into_iter().filter_map(Reference::step).collect();
    match expr {
        Expr::Array(_) | Expr::Object(_) if steps.len() > 1 => BTreeSet::new(),
        Expr::Literal(_) | Expr::Reference(_) | Expr::Text(_) | Expr::Array(_) | Expr::Object(_) => steps,
    }
}

/// Two of these steps such that each is executed under a condition that the other does not have.
fn under_different_conditions<'p>(
    steps: &BTreeSet<&'p StepId>,
    conditions: &BTreeMap<&StepId, Conditions<'_>>,
) -> Option<(&'p StepId, &'p StepId)> {
    steps.iter().enumerate().find_map(|(at, one)| {
        let of_one = conditions.get(one)?;
        let differs = |other: &&&StepId| {
            conditions.get(**other).is_some_and(|of_other| !of_one.is_subset(of_other) && !of_other.is_subset(of_one))
        };
        steps.iter().skip(at + 1).find(differs).map(|other| (*one, *other))
    })
}
