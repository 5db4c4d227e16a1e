//! What a step needs of skipped steps.

use std::collections::BTreeMap;

use greenroom_protocol::journal::SkipReason;
use greenroom_protocol::{Json, StepId, Values};
use serde_json::json;

use super::absent_need;
use crate::scope::Scope;
use crate::types::Field;
use crate::workflow::Workflow;

fn id(text: &str) -> StepId {
    StepId::new(text).unwrap()
}

/// What the step `join` lacks if `left` was executed and `right` was skipped.
fn need(join: Json, fields: Json, inputs: Json) -> Option<SkipReason> {
    let mut step = json!({ "id": "join" });
    step.as_object_mut().unwrap().extend(join.as_object().unwrap().clone());
    let steps = json!([{ "id": "left", "agent": "a" }, { "id": "right", "agent": "a" }, step]);
    let spec = json!({ "workflow_id": "w", "name": "W", "steps": steps });
    let workflow = Workflow::new(serde_json::from_value(spec).unwrap()).unwrap();
    let inputs: Values = serde_json::from_value(inputs).unwrap();
    let (context, steps) = (Values::new(), BTreeMap::from([(id("left"), Values::new())]));
    let receiver: Vec<Field> = serde_json::from_value(fields).unwrap();
    absent_need(workflow.plan().step(&id("join")).unwrap(), &receiver, &Scope::new(&inputs, &context, &steps))
}

fn lacks(value: &str) -> Option<SkipReason> {
    Some(SkipReason::ValueAbsent { value: value.to_owned(), steps: vec![id("right")] })
}

#[test]
fn an_absent_input_is_needed_if_it_is_required_and_nothing_else_provides_it() {
    let both = json!({ "agent": "b", "inputs": { "l": "${steps.left.outputs.x}", "r": "${steps.right.outputs.x}" } });
    let fields = |right: Json| json!([{ "name": "l", "type": "text", "required": true }, right]);
    assert_eq!(need(both.clone(), fields(json!({ "name": "r", "type": "text" })), json!({})), None);
    let required = json!({ "name": "r", "type": "text", "required": true });
    assert_eq!(need(both.clone(), fields(required.clone()), json!({})), lacks("inputs.r"));
    assert_eq!(need(both.clone(), fields(required), json!({ "r": "of the run" })), None);
    let default = json!({ "name": "r", "type": "text", "required": true, "default": "d" });
    assert_eq!(need(both, fields(default), json!({})), None);
}

#[test]
fn a_text_with_an_absent_value_is_absent_and_a_list_or_object_only_as_a_whole() {
    let fields = json!([{ "name": "x", "type": "text", "required": true }]);
    let with = |value: Json| need(json!({ "agent": "b", "inputs": { "x": value } }), fields.clone(), json!({}));
    assert_eq!(with(json!("see ${steps.right.outputs.x}")), lacks("inputs.x"));
    assert_eq!(with(json!({ "l": "${steps.left.outputs.x}", "r": "${steps.right.outputs.x}" })), None);
    assert_eq!(with(json!({ "r": "${steps.right.outputs.x}", "kind": "a" })), lacks("inputs.x"));
    assert_eq!(with(json!(["${steps.right.outputs.x}"])), lacks("inputs.x"));
    assert_eq!(with(json!("a plain text")), None);
}

#[test]
fn a_list_and_an_approval_are_needed() {
    let each = json!({ "agent": "b", "for_each": { "items": "${steps.right.outputs.x}" } });
    assert_eq!(need(each, json!([]), json!({})), lacks("for_each"));
    let approval = json!({ "approval": { "prompt": "Send ${steps.left.outputs.x} and ${steps.right.outputs.x}?" } });
    assert_eq!(need(approval, json!([]), json!({})), lacks("approval"));
}

#[test]
fn undeclared_inputs_fill_the_only_text_unless_all_of_them_are_absent() {
    let fields = json!([{ "name": "document", "type": "text", "required": true }]);
    let right = json!({ "agent": "b", "inputs": { "r": "${steps.right.outputs.x}" } });
    assert_eq!(need(right, fields.clone(), json!({})), lacks("inputs.document"));
    let both = json!({ "agent": "b", "inputs": { "r": "${steps.right.outputs.x}", "l": "${steps.left.outputs.x}" } });
    assert_eq!(need(both, fields.clone(), json!({})), None);
    assert_eq!(need(json!({ "agent": "b" }), fields, json!({})), None, "a missing input is an error of its own");
}
