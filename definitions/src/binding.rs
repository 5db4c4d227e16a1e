//! Bindings of the inputs and outputs of steps and runs: pure functions over a run's values.
//!
//! The sources of an input, in order: the step, the run's input of that name, the context's value of
//! that name, the default. If the agent's only required text is still missing, it receives the step's
//! undeclared inputs, rendered as Markdown sections. Any other missing input is an error.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use greenroom_protocol::limits::RUN_STEPS_MAX;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};
use serde_json::json;

use crate::agent::Agent;
use crate::expr::Expr;
use crate::plan::{Plan, PlanStep};
use crate::scope::Scope;
use crate::types::Field;

mod markdown;

pub use markdown::{render, sections};

/// Binds and validates the inputs of a step that an agent executes.
///
/// # Errors
/// `missing_input` or `invalid_input`; the message and `details.step` name the step.
pub fn bind_agent(step: &PlanStep, agent: &Agent, scope: &Scope<'_>) -> Result<Values, Cause> {
    bind(step, agent.id().as_str(), &agent.spec().inputs, &step.inputs, scope)
}

/// Binds and validates the inputs of the agent that compensates a step.
///
/// # Errors
/// As [`bind_agent`].
pub fn bind_compensation(step: &PlanStep, agent: &Agent, scope: &Scope<'_>) -> Result<Values, Cause> {
    let none = BTreeMap::new();
    let expressions = step.compensate.as_ref().map_or(&none, |compensation| &compensation.inputs);
    bind(step, agent.id().as_str(), &agent.spec().inputs, expressions, scope)
}

/// Binds the inputs of a step that another workflow executes, alone or in a team. A workflow without
/// declared inputs receives all of them, since its own steps may reference any.
///
/// # Errors
/// As [`bind_agent`].
pub fn bind_workflow(step: &PlanStep, plan: &Plan, scope: &Scope<'_>) -> Result<Values, Cause> {
    if plan.inputs.is_empty() {
        return Ok(step_inputs(&step.inputs, scope));
    }
    bind(step, plan.workflow.as_str(), &plan.inputs, &step.inputs, scope)
}

/// Evaluates the inputs of the step itself, without missing and null values.
fn step_inputs(inputs: &BTreeMap<String, Expr>, scope: &Scope<'_>) -> Values {
    inputs
        .iter()
        .filter_map(|(name, expr)| Some((name.clone(), expr.evaluate(scope)?)))
        .filter(|(_, value)| !value.is_null())
        .collect()
}

fn bind(
    step: &PlanStep,
    receiver: &str,
    fields: &[Field],
    expressions: &BTreeMap<String, Expr>,
    scope: &Scope<'_>,
) -> Result<Values, Cause> {
    let mut inputs = step_inputs(expressions, scope);
    let mut bound = Values::new();
    for field in fields {
        let value = inputs.remove(&field.name).or_else(|| inherited_input(&field.name, scope));
        if let Some(value) = value.or_else(|| field.default.clone()) {
            bound.insert(field.name.clone(), value);
        }
    }
    let mut gaps = fields.iter().filter(|field| field.required && !bound.contains_key(&field.name));
    if let (Some(gap), None) = (gaps.next(), gaps.next()) {
        let only_text = fields.iter().filter(|field| field.required && field.kind().is_text()).count() == 1;
        if gap.kind().is_text() && only_text && !inputs.is_empty() {
            bound.insert(gap.name.clone(), Json::String(sections(&inputs)));
        }
    }
    // Undeclared inputs that do not fill a text are dropped; the check of the files reports them.
    let describe_gap = |name: &str| expressions.get(name)?.describe_gap(scope);
    crate::types::validate_bound_inputs(receiver, fields, bound, describe_gap).map_err(|cause| with_step(step, cause))
}

/// Looks up an input that the step lacks in the run's inputs, then in the context.
pub(crate) fn inherited_input(name: &str, scope: &Scope<'_>) -> Option<Json> {
    scope.inputs.get(name).or_else(|| scope.context.get(name)).filter(|value| !value.is_null()).cloned()
}

fn with_step(step: &PlanStep, cause: Cause) -> Cause {
    let problems = cause.details.get("problems").cloned().unwrap_or_default();
    Cause::new(cause.code, format!("step `{}`: {}", step.id, cause.message))
        .with_details(json!({ "step": step.id, "problems": problems }))
}

/// Returns the outputs of a step that the run stores: all outputs of the agent, and, if the step names
/// one output that the agent lacks, the agent's first output under that name.
#[must_use]
pub fn step_outputs(step: &PlanStep, agent: &Agent, outputs: Values) -> Values {
    let first = agent.spec().outputs.first().map(|field| field.name.as_str());
    rename_single_output(&step.outputs, first, outputs)
}

fn rename_single_output(names: &[String], first: Option<&str>, mut outputs: Values) -> Values {
    if let ([name], Some(first)) = (names, first)
        && !outputs.contains_key(name)
        && let Some(value) = outputs.get(first).cloned()
    {
        outputs.insert(name.clone(), value);
    }
    outputs
}

/// Returns the outputs of a `for_each` step: for each output a list in the order of the items, with
/// null for a failed or skipped item. If no item has outputs, each of these names has an empty list.
#[must_use]
pub fn item_outputs<'n>(mut items: Vec<Option<Values>>, names: impl IntoIterator<Item = &'n str>) -> Values {
    let found: BTreeSet<String> = items.iter().flatten().flat_map(BTreeMap::keys).cloned().collect();
    if found.is_empty() {
        return names.into_iter().map(|name| (name.to_owned(), Json::Array(Vec::new()))).collect();
    }
    let mut list = |name: String| {
        let values = items.iter_mut().map(|item| item.as_mut().and_then(|values| values.remove(&name)));
        let list = values.map(Option::unwrap_or_default).collect();
        (name, list)
    };
    found.into_iter().map(&mut list).collect()
}

/// Evaluates the items of a `for_each` step; `None` if the step has no `for_each`.
///
/// # Errors
/// `invalid_input` if the value is not a list or has too many items.
pub fn items<'s>(step: &PlanStep, scope: &Scope<'s>) -> Result<Option<Cow<'s, [Json]>>, Cause> {
    let Some(for_each) = &step.for_each else { return Ok(None) };
    let invalid = |message: String| {
        Cause::new(ErrorCode::InvalidInput, format!("step `{}`: `for_each` {message}", step.id))
            .with_details(json!({ "step": step.id }))
    };
    // A list of a run may be large, so it is not copied.
    let value = match &for_each.items {
        Expr::Reference(reference) => reference.resolve(scope),
        other => other.evaluate(scope).map(Cow::Owned),
    };
    let items: Cow<'s, [Json]> = match value {
        Some(Cow::Borrowed(Json::Array(items))) => Cow::Borrowed(items),
        Some(Cow::Owned(Json::Array(items))) => Cow::Owned(items),
        Some(value) if !value.is_null() => return Err(invalid("must refer to a list".into())),
        Some(_) | None => {
            let gap = for_each.items.describe_gap(scope).map(|gap| format!(": {gap}")).unwrap_or_default();
            return Err(invalid(format!("refers to a list that does not exist{gap}")));
        }
    };
    if items.len() > RUN_STEPS_MAX {
        return Err(invalid(format!("has {} items, {RUN_STEPS_MAX} are allowed", items.len())));
    }
    Ok(Some(items))
}

/// Evaluates the outputs of a finished run: the declared `outputs`, or without a declaration every
/// named output of every step, and `final_output` if the workflow has one. Outputs of skipped steps
/// are omitted.
#[must_use]
pub fn run_outputs(plan: &Plan, scope: &Scope<'_>) -> Values {
    let mut outputs: Values = if plan.outputs.is_empty() {
        let step_values = |step: &PlanStep| {
            let values = scope.steps.get(&step.id)?;
            let named = |name: &String| Some((name.clone(), values.get(name)?.clone()));
            Some(step.outputs.iter().filter_map(named).collect::<Vec<_>>())
        };
        plan.steps.iter().filter_map(step_values).flatten().collect()
    } else {
        plan.outputs.iter().filter_map(|(name, expr)| Some((name.clone(), expr.evaluate(scope)?))).collect()
    };
    if let Some(value) = plan.final_output.as_ref().and_then(|expr| expr.evaluate(scope)) {
        outputs.insert("final_output".into(), value);
    }
    outputs
}

/// Evaluates the approval prompt of a step; `None` if the step requires no approval.
#[must_use]
pub fn approval_prompt(step: &PlanStep, scope: &Scope<'_>) -> Option<String> {
    match step.approval.as_ref()?.evaluate(scope) {
        Some(Json::String(text)) => Some(text),
        Some(other) => Some(other.to_string()),
        None => Some(String::new()),
    }
}

#[cfg(test)]
mod tests;
