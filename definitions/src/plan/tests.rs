//! Tests of plans: order, implied dependencies and the problems of workflows.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_protocol::ContentHash;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{Plan, StepTarget, order};
use crate::workflow::{OnError, WorkflowSpec};

fn spec(steps: Json) -> WorkflowSpec {
    serde_json::from_value(json!({ "workflow_id": "w", "name": "W", "steps": steps })).unwrap()
}

fn plan(steps: Json) -> Plan {
    let spec = spec(steps);
    Plan::compile(&spec, ContentHash::from_content(b"w")).unwrap()
}

fn problems(steps: Json) -> Vec<String> {
    let found = Plan::compile(&spec(steps), ContentHash::from_content(b"w")).unwrap_err();
    found.iter().map(|fault| format!("{}: {fault}", fault.kind)).collect()
}

#[test]
fn steps_are_ordered_after_their_declared_and_implied_dependencies() {
    let plan = plan(json!([
        { "id": "last", "agent": "a", "depends_on": ["middle"] },
        { "id": "middle", "agent": "a", "inputs": { "x": ["${steps.first.outputs.y}"] } },
        { "id": "other", "agent": "a", "when": "steps.first.outputs.y == 1" },
        { "id": "each", "agent": "a", "for_each": { "items": "${steps.other.outputs.list}" } },
        { "id": "asks", "approval": { "prompt": "Send ${steps.each.outputs.text}?" } },
        { "id": "first", "agent": "b" }
    ]));
    let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["first", "middle", "other", "last", "each", "asks"]);
    let depends = |id: &str| -> Vec<&str> {
        let step = plan.steps.iter().find(|step| step.id.as_str() == id).unwrap();
        step.depends_on.iter().map(AsRef::as_ref).collect()
    };
    assert_eq!(depends("first"), Vec::<&str>::new());
    assert_eq!(depends("middle"), ["first"]);
    assert_eq!(depends("other"), ["first"]);
    assert_eq!(depends("each"), ["other"]);
    assert_eq!(depends("asks"), ["each"]);
    assert_eq!(depends("last"), ["middle"]);
    assert_eq!(plan.agents().len(), 2);
}

#[test]
fn a_step_has_exactly_one_executor() {
    let plan = plan(json!([
        { "id": "a", "agent": "x", "compensate": { "agent": "undo", "inputs": { "id": "${steps.a.outputs.id}" } } },
        { "id": "b", "workflow": "inner" },
        { "id": "c", "team": "t", "workflow": "inner" },
        { "id": "d", "approval": { "prompt": "Go on?" } },
        { "id": "e", "agent": "x", "approval": { "prompt": "Go on?" }, "timeout": 5,
          "for_each": { "items": [1, 2], "on_error": "continue" }, "retry": { "max_attempts": 3 } }
    ]));
    let targets: Vec<String> = plan.steps.iter().map(|step| format!("{:?}", step.target)).collect();
    assert!(targets[0].starts_with("Agent"), "{targets:?}");
    assert!(targets[1].starts_with("Workflow") && targets[2].starts_with("Team"), "{targets:?}");
    assert_eq!(plan.steps[3].target, StepTarget::Approval);
    let each = plan.steps[4].for_each.as_ref().unwrap();
    assert_eq!((each.max_concurrency, each.on_error), (4, OnError::Continue));
    assert_eq!(plan.steps[4].timeout.map(|timeout| timeout.as_secs()), Some(5));
    let agents: Vec<&str> = plan.agents().into_iter().map(AsRef::as_ref).collect();
    assert_eq!(agents, ["undo", "x"]);
    assert_eq!(plan.workflows().len(), 1);
    assert!(plan.steps[0].depends_on.is_empty(), "undoing a step is no dependency on itself");
}

#[test]
fn a_circle_is_named_step_by_step() {
    assert_eq!(
        problems(json!([
            { "id": "free", "agent": "x" },
            { "id": "a", "agent": "x", "depends_on": ["b"] },
            { "id": "b", "agent": "x", "inputs": { "i": "${steps.c.outputs.o}" } },
            { "id": "c", "agent": "x", "when": "steps.a.outputs.o == 1" }
        ])),
        ["cycle: step `a`: the steps depend on themselves: a → b → c → a"]
    );
    assert_eq!(
        problems(json!([{ "id": "a", "agent": "x", "inputs": { "i": "${steps.a.outputs.o}" } }])),
        ["cycle: step `a`: the steps depend on themselves: a → a"]
    );
}

#[test]
fn parallel_is_a_claim_that_is_checked() {
    assert_eq!(
        problems(json!([
            { "id": "a", "agent": "x", "parallel_with": ["a", "c", "d"] },
            { "id": "b", "agent": "x", "depends_on": ["a"] },
            { "id": "c", "agent": "x", "depends_on": ["b"], "parallel_with": ["a"] }
        ])),
        [
            "not_parallel: step `a`: a step cannot run at the same time as itself",
            "not_parallel: step `a`: it cannot run at the same time as `c`, which depends on it",
            "unknown_reference: step `a`: there is no step `d`",
            "not_parallel: step `c`: it cannot run at the same time as `a`, on which it depends",
        ]
    );
}

#[test]
fn all_problems_of_a_workflow_are_reported_together() {
    assert_eq!(
        problems(json!([
            { "id": "gather", "agent": "x" },
            { "id": "gather", "agent": "x" },
            { "id": "nobody" },
            { "id": "both", "agent": "x", "workflow": "w" },
            { "id": "team", "team": "t" },
            { "id": "typo", "agent": "x", "depends_on": ["gahter"], "when": "inputs.n ==" },
            { "id": "item", "agent": "x", "inputs": { "i": "${item.x}" }, "when": "index > 1" },
            { "id": "each", "agent": "x", "for_each": { "items": "a, b", "max_concurrency": 0 } }
        ]))
        .iter()
        .map(|fault| fault.split(" at column").next().unwrap())
        .collect::<Vec<_>>(),
        [
            "duplicate_id: step `gather`: the id `gather` is duplicated",
            "invalid_value: step `nobody`: a step needs one of `agent`, `workflow`, `team`, `approval` or `wait_for`",
            "invalid_value: step `both`: a step with `agent` has no `workflow` and no `team`",
            "invalid_value: step `team`: a step with `team` needs the `workflow` that the team runs",
            "unknown_reference: step `typo`: there is no step `gahter`, did you mean `gather`?",
            "expression: step `typo`: the condition cannot be parsed",
            "expression: step `item`: `${item.x}` is outside of a `for_each`",
            "expression: step `item`: the condition references an item outside of a `for_each`",
            "invalid_value: step `each`: `max_concurrency` must be at least 1",
            "wrong_type: step `each`: `for_each` must be a list or one reference to a list",
        ]
    );
    assert_eq!(problems(json!([])), ["invalid_value: the workflow has no steps"]);
    let many: Vec<Json> = (0..201).map(|number| json!({ "id": format!("s{number}"), "agent": "x" })).collect();
    assert_eq!(problems(json!(many)), ["invalid_value: the workflow has 201 steps, 200 are allowed"]);
}

#[test]
fn an_undeclared_input_has_a_suggestion() {
    let spec: WorkflowSpec = serde_json::from_value(json!({
        "workflow_id": "w", "name": "W",
        "inputs": [{ "name": "data_source", "type": "file", "required": true }],
        "steps": [{ "id": "a", "agent": "x", "inputs": { "f": "${inputs.data_sorce}" }, "when": "inputs.data_source != ''" }],
        "outputs": { "o": "${steps.b.outputs.x}" }
    }))
    .unwrap();
    let found: Vec<String> =
        Plan::compile(&spec, ContentHash::from_content(b"w")).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["step `a`: the workflow has no input `data_sorce`, did you mean `data_source`?", "there is no step `b`"]
    );
}

proptest! {
    #[test]
    fn every_graph_without_a_circle_is_put_in_order(edges in prop::collection::vec((0_usize..30, 0_usize..30), 0..120)) {
        let names: Vec<String> = (0..30).map(|number| format!("s{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // An edge from a larger to a smaller number can close no cycle.
        let mut depends: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (one, other) in edges.iter().filter(|(one, other)| one != other) {
            depends.entry(names[*one.max(other)]).or_default().insert(names[*one.min(other)]);
        }
        let ordered = order(&names, &depends).unwrap();
        prop_assert_eq!(ordered.len(), names.len());
        let position: BTreeMap<&str, usize> = ordered.iter().enumerate().map(|(at, name)| (*name, at)).collect();
        for (name, wanted) in &depends {
            prop_assert!(wanted.iter().all(|one| position[one] < position[name]));
        }
    }

    #[test]
    fn a_circle_that_is_named_is_one(edges in prop::collection::vec((0_usize..12, 0_usize..12), 0..40)) {
        let names: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut depends: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (one, other) in &edges {
            depends.entry(names[*one]).or_default().insert(names[*other]);
        }
        if let Err(cycle) = order(&names, &depends) {
            prop_assert!(!cycle.is_empty());
            for (at, name) in cycle.iter().enumerate() {
                let next = cycle[(at + 1) % cycle.len()];
                prop_assert!(depends[name].contains(next), "{cycle:?}");
            }
        }
    }
}
