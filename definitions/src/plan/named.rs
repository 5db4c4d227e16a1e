//! The values that the parts of a plan name: an effect of a run loads these and no others.

use std::collections::BTreeMap;

use super::{Plan, PlanStep};
use crate::expr::{Expr, Reference};
use crate::named_values::{NamedValues, Names};
use crate::types::Field;

impl NamedValues {
    /// The values that decide whether a step is executed, and for which items: those of its condition, its list and
    /// its approval prompt. Of the steps to which its inputs refer, only their presence matters.
    #[must_use]
    pub fn for_evaluation(step: &PlanStep) -> Self {
        let mut named = Self::default();
        step.when.iter().for_each(|when| when.name_values(&mut named));
        named.add_exprs(step.approval.iter().chain(step.for_each.as_ref().map(|each| &each.items)));
        for other in step.inputs.values().flat_map(Expr::references).filter_map(Reference::step) {
            named.steps.entry(other.clone()).or_default();
        }
        named
    }

    /// The values that the inputs of a call name. A receiver inherits the run's inputs, and values of the context,
    /// that are named like one of its fields (`None` if they are unknown: all of them); an agent receives the whole
    /// context.
    #[must_use]
    pub fn for_call(step: &PlanStep, receiver: Option<&[Field]>) -> Self {
        Self::for_inputs(&step.inputs, receiver)
    }

    /// The values that the inputs of a step's compensation name.
    #[must_use]
    pub fn for_compensation(step: &PlanStep, receiver: &[Field]) -> Self {
        let inputs = step.compensate.as_ref().map(|compensate| &compensate.inputs);
        inputs.map(|inputs| Self::for_inputs(inputs, Some(receiver))).unwrap_or_default()
    }

    fn for_inputs(inputs: &BTreeMap<String, Expr>, receiver: Option<&[Field]>) -> Self {
        let mut named = Self { context: Names::All, ..Self::default() };
        named.add_exprs(inputs.values());
        match receiver {
            Some(fields) => fields.iter().for_each(|field| named.inputs.add(Some(&field.name))),
            None => named.inputs.add(None),
        }
        named
    }

    /// The values that the outputs of a run name.
    #[must_use]
    pub fn for_outputs(plan: &Plan) -> Self {
        let mut named = Self::default();
        named.add_exprs(plan.outputs.values().chain(plan.final_output.as_ref()));
        for step in plan.steps.iter().filter(|_| plan.outputs.is_empty()) {
            step.outputs.iter().for_each(|name| named.add_step(step.id.as_str(), Some(name)));
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::StepId;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::workflow::Workflow;

    fn plan(steps: Json) -> Plan {
        let spec =
            json!({ "workflow_id": "w", "name": "W", "steps": steps, "outputs": { "o": "${steps.each.outputs.x}" } });
        Workflow::new(serde_json::from_value(spec).unwrap()).unwrap().plan().as_ref().clone()
    }

    fn names(names: &Names) -> Vec<&str> {
        match names {
            Names::All => vec!["*"],
            Names::Only(names) => names.iter().map(String::as_str).collect(),
        }
    }

    #[test]
    fn each_effect_names_only_the_values_of_its_own_expressions() {
        let plan = plan(json!([
            { "id": "prep", "agent": "a" },
            { "id": "each", "agent": "a", "when": "context.on && steps.prep.outputs.ready",
              "for_each": { "items": "${steps.prep.outputs.list}" },
              "inputs": { "text": "${item.text}", "rule": "${steps.prep.outputs.rule}", "lang": "${context.lang}" } }
        ]));
        let each = plan.step(&StepId::new("each").unwrap()).unwrap();
        let evaluation = NamedValues::for_evaluation(each);
        assert_eq!(names(&evaluation.inputs), ["on"], "the context falls back to the inputs");
        assert_eq!(names(&evaluation.steps[&StepId::new("prep").unwrap()]), ["list", "ready"]);
        let call = NamedValues::for_call(each, Some(&[]));
        assert_eq!(names(&call.steps[&StepId::new("prep").unwrap()]), ["rule"], "not the list");
        assert_eq!((names(&call.inputs), names(&call.context)), (vec!["lang"], vec!["*"]));
        let outputs = NamedValues::for_outputs(&plan);
        assert_eq!(names(&outputs.steps[&StepId::new("each").unwrap()]), ["x"]);
        assert!(outputs.inputs.is_empty() && outputs.context.is_empty());
    }
}
