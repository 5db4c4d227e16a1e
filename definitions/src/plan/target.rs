//! What a step calls, or waits for. A step has exactly one target.

use std::time::Duration;

use greenroom_protocol::journal::WaitTarget;

use super::problem::PlanPart;
use super::{StepTarget, WAIT_OUTPUT};
use crate::spec::workflow::{StepSpec, WaitForSpec};

/// The target of a step, or the part of the step that is invalid, and why.
pub(super) fn target(step: &StepSpec) -> Result<StepTarget, (PlanPart, String)> {
    if let Some(wait_for) = &step.wait_for {
        return wait(step, wait_for);
    }
    let message = match (&step.agent, &step.workflow, &step.team, &step.approval) {
        (Some(agent), None, None, _) => return Ok(StepTarget::Agent(agent.clone())),
        (None, Some(workflow), None, _) => return Ok(StepTarget::Workflow(workflow.clone())),
        (None, Some(workflow), Some(team), _) => {
            return Ok(StepTarget::Team { team: team.clone(), workflow: workflow.clone() });
        }
        (None, None, None, Some(_)) => return Ok(StepTarget::Approval),
        (None, None, Some(_), _) => "a step with `team` needs the `workflow` that the team runs",
        (None, None, None, None) => "a step needs one of `agent`, `workflow`, `team`, `approval` or `wait_for`",
        (Some(_), _, _, _) => "a step with `agent` has no `workflow` and no `team`",
    };
    Err((PlanPart::Whole, message.to_owned()))
}

/// A step that waits calls nothing, has no items, and has one output.
fn wait(step: &StepSpec, wait_for: &WaitForSpec) -> Result<StepTarget, (PlanPart, String)> {
    let others = [
        ("agent", step.agent.is_some()),
        ("workflow", step.workflow.is_some()),
        ("team", step.team.is_some()),
        ("inputs", !step.inputs.is_empty()),
        ("for_each", step.for_each.is_some()),
        ("timeout", step.timeout.is_some()),
    ];
    if let Some((name, _)) = others.into_iter().find(|(_, is_set)| *is_set) {
        let instead = if name == "timeout" { "; set `wait_for.timeout`" } else { "" };
        return Err((PlanPart::Member(name), format!("a step with `wait_for` has no `{name}`{instead}")));
    }
    if let Some(name) = step.outputs.iter().find(|name| *name != WAIT_OUTPUT) {
        let message = format!("a step with `wait_for` has the output `{WAIT_OUTPUT}`, and no output `{name}`");
        return Err((PlanPart::Member("outputs"), message));
    }
    let target = match (&wait_for.context, &wait_for.event) {
        (Some(key), None) => WaitTarget::Context(key.clone()),
        (None, Some(name)) => WaitTarget::Event(name.clone()),
        (None, None) | (Some(_), Some(_)) => {
            return Err((PlanPart::Member("wait_for"), "`wait_for` needs either `context` or `event`".to_owned()));
        }
    };
    Ok(StepTarget::Wait { target, timeout: wait_for.timeout.map(Duration::from_secs) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn target_of(members: Json) -> Result<StepTarget, String> {
        let mut step = json!({ "id": "wait" });
        step.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        target(&serde_json::from_value(step).unwrap()).map_err(|(_, message)| message)
    }

    #[test]
    fn a_step_waits_for_a_value_or_for_an_event() {
        let context = target_of(json!({ "wait_for": { "context": "facts", "timeout": 60 } })).unwrap();
        let StepTarget::Wait { target: WaitTarget::Context(key), timeout } = context else { panic!("{context:?}") };
        assert_eq!((key.as_str(), timeout), ("facts", Some(Duration::from_secs(60))));
        let event = target_of(json!({ "wait_for": { "event": "paid" }, "outputs": ["value"] })).unwrap();
        assert!(matches!(event, StepTarget::Wait { target: WaitTarget::Event(_), timeout: None }), "{event:?}");
    }

    #[test]
    fn a_step_that_waits_does_nothing_else() {
        let event = json!({ "event": "paid" });
        let refused = [
            (json!({ "wait_for": event, "agent": "x" }), "a step with `wait_for` has no `agent`"),
            (json!({ "wait_for": event, "workflow": "x" }), "a step with `wait_for` has no `workflow`"),
            (json!({ "wait_for": event, "inputs": { "a": 1 } }), "a step with `wait_for` has no `inputs`"),
            (json!({ "wait_for": event, "for_each": { "items": [1] } }), "a step with `wait_for` has no `for_each`"),
            (
                json!({ "wait_for": event, "timeout": 3 }),
                "a step with `wait_for` has no `timeout`; set `wait_for.timeout`",
            ),
            (
                json!({ "wait_for": event, "outputs": ["amount"] }),
                "a step with `wait_for` has the output `value`, and no output `amount`",
            ),
            (json!({ "wait_for": {} }), "`wait_for` needs either `context` or `event`"),
            (
                json!({ "wait_for": { "event": "paid", "context": "facts" } }),
                "`wait_for` needs either `context` or `event`",
            ),
        ];
        for (step, message) in refused {
            assert_eq!(target_of(step), Err(message.to_owned()));
        }
    }
}
