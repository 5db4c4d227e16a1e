//! What a step is inputs, and what it gives back: pure functions over a run's values.
//!
//! The rules, in order: an input is what the step says; else the run's input of that name; else the
//! context's; else its default. If the agent's only required text is still missing, it receives the
//! step's undeclared inputs, rendered as Markdown sections. Any other gap is an error.

use std::collections::BTreeMap;

use greenroom_protocol::{Cause, ErrorCode, Json, Values};
use serde_json::json;

use crate::agent::Agent;
use crate::expr::Expr;
use crate::plan::{Plan, PlanStep};
use crate::scope::Scope;
use crate::types::Field;

mod markdown;

pub use markdown::{render, sections};

/// The inputs of a step that an agent does, checked and complete.
///
/// # Errors
/// `missing_input` or `invalid_input`; the step is named in the message and in `details.step`.
pub fn bind_agent(step: &PlanStep, agent: &Agent, scope: &Scope<'_>) -> Result<Values, Cause> {
    let inputs = step_inputs(&step.inputs, scope);
    bind(step, agent.id().as_str(), &agent.spec().inputs, inputs, scope)
}

/// The inputs of the agent that undoes a step.
///
/// # Errors
/// As [`bind_agent`].
pub fn bind_compensation(step: &PlanStep, agent: &Agent, scope: &Scope<'_>) -> Result<Values, Cause> {
    let expressions = step.compensate.as_ref().map(|compensation| &compensation.inputs);
    let inputs = expressions.map(|expressions| step_inputs(expressions, scope)).unwrap_or_default();
    bind(step, agent.id().as_str(), &agent.spec().inputs, inputs, scope)
}

/// The inputs of a step that another workflow does, alone or as a team's. A workflow that declares no
/// inputs is inputs everything, since its own steps may take it.
///
/// # Errors
/// As [`bind_agent`].
pub fn bind_workflow(step: &PlanStep, plan: &Plan, scope: &Scope<'_>) -> Result<Values, Cause> {
    let inputs = step_inputs(&step.inputs, scope);
    if plan.inputs.is_empty() {
        return Ok(inputs);
    }
    bind(step, plan.workflow.as_str(), &plan.inputs, inputs, scope)
}

/// What the step itself says, without what is not there.
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
    mut inputs: Values,
    scope: &Scope<'_>,
) -> Result<Values, Cause> {
    let mut bound = Values::new();
    for field in fields {
        let value = inputs.remove(&field.name).or_else(|| inherited_input(&field.name, scope));
        if let Some(value) = value.or_else(|| field.default.clone()) {
            bound.insert(field.name.clone(), value);
        }
    }
    let mut gaps = fields.iter().filter(|field| field.required && !bound.contains_key(&field.name));
    if let (Some(gap), None) = (gaps.next(), gaps.next()) {
        let only_text = fields.iter().filter(|field| field.required && field.field_type.is_text()).count() == 1;
        if gap.field_type.is_text() && only_text && !inputs.is_empty() {
            bound.insert(gap.name.clone(), Json::String(sections(&inputs)));
        }
    }
    // What is neither declared nor taken by a text is left behind: the check of the files says so.
    crate::types::validate_inputs(receiver, fields, bound).map_err(|cause| with_step(step, cause))
}

/// What a step does not say is taken from the run's inputs, then from the context.
fn inherited_input(name: &str, scope: &Scope<'_>) -> Option<Json> {
    scope.inputs.get(name).or_else(|| scope.context.get(name)).filter(|value| !value.is_null()).cloned()
}

fn with_step(step: &PlanStep, cause: Cause) -> Cause {
    let problems = cause.details.get("problems").cloned().unwrap_or_default();
    Cause::new(cause.code, format!("step `{}`: {}", step.id, cause.message))
        .with_details(json!({ "step": step.id, "problems": problems }))
}

/// What the run keeps of a step: everything that was inputs back, and, where the step names one
/// output that is not among it, the first output of the agent under that name.
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

/// What the run keeps of a `for_each` step: each output as a list in the order of the items, null
/// for an item that failed.
#[must_use]
pub fn item_outputs(items: &[Option<Values>]) -> Values {
    let names: std::collections::BTreeSet<&String> = items.iter().flatten().flat_map(BTreeMap::keys).collect();
    let list = |name: &String| -> Json {
        items
            .iter()
            .map(|item| item.as_ref().and_then(|values| values.get(name)).cloned().unwrap_or_default())
            .collect()
    };
    names.into_iter().map(|name| (name.clone(), list(name))).collect()
}

/// The items of a `for_each` step; `None` if the step has none.
///
/// # Errors
/// `invalid_input`, if what it names is not a list, or has too many items.
pub fn items(step: &PlanStep, scope: &Scope<'_>) -> Result<Option<Vec<Json>>, Cause> {
    let Some(for_each) = &step.for_each else { return Ok(None) };
    let invalid = |message: String| {
        Cause::new(ErrorCode::InvalidInput, format!("step `{}`: `for_each` {message}", step.id))
            .with_details(json!({ "step": step.id }))
    };
    match for_each.items.evaluate(scope) {
        Some(Json::Array(items)) if items.len() > greenroom_protocol::limits::RUN_STEPS_MAX => {
            let max = greenroom_protocol::limits::RUN_STEPS_MAX;
            Err(invalid(format!("has {} items, {max} are allowed", items.len())))
        }
        Some(Json::Array(items)) => Ok(Some(items)),
        Some(Json::Null) | None => Err(invalid("names a list that is not there".into())),
        Some(Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_)) => {
            Err(invalid("must name a list".into()))
        }
    }
}

/// What a finished run gives back. With `outputs`, what they name; without, every named output of
/// every step. `final_output` is added where the workflow has one. What is not there, because a step
/// was skipped, is left out.
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

/// What a person is asked before a step begins.
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
