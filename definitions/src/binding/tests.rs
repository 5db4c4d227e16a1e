//! The rules of binding, one by one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use greenroom_protocol::{ArtifactRef, ContentHash, ErrorCode, Json, StepId, Values};
use serde_json::json;

use super::{
    Scope, approval_prompt, bind_agent, bind_compensation, bind_workflow, item_outputs, items, render, run_outputs,
    sections, step_outputs,
};
use crate::agent::{Agent, AgentSpec};
use crate::workflow::Workflow;

fn values(json: Json) -> Values {
    json.as_object().unwrap().clone().into_iter().collect()
}

fn agent(inputs: Json, outputs: Json) -> Agent {
    let spec: AgentSpec = serde_json::from_value(json!({
        "agent_id": "x", "name": "X", "category": "c", "description": "d", "version": "1",
        "inputs": inputs, "outputs": outputs, "implementation": { "runtime": "llm" }
    }))
    .unwrap();
    Agent::new(spec).unwrap()
}

fn workflow(steps: Json, more: Json) -> Workflow {
    let mut whole = json!({ "workflow_id": "w", "name": "W", "steps": steps });
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Workflow::new(serde_json::from_value(whole).unwrap()).unwrap()
}

/// Binds a step with these inputs to an agent that takes these fields.
fn bound(step_inputs: Json, fields: Json, inputs: Json, context: Json) -> Result<Json, (ErrorCode, String)> {
    let workflow = workflow(json!([{ "id": "s", "agent": "x", "inputs": step_inputs }]), json!({}));
    let (inputs, context, steps) = (values(inputs), values(context), BTreeMap::new());
    let agent = agent(fields, json!([{ "name": "o", "type": "text" }]));
    bind_agent(&workflow.plan().steps[0], &agent, &Scope::new(&inputs, &context, &steps))
        .map(|bound| Json::Object(bound.into_iter().collect()))
        .map_err(|cause| {
            assert_eq!(cause.details["step"], json!("s"));
            (cause.code, cause.message)
        })
}

#[test]
fn an_input_comes_from_the_step_the_run_the_context_or_its_default_in_this_order() {
    let fields = json!([{ "name": "n", "type": "integer", "default": 1 }]);
    let none = || json!({});
    assert_eq!(bound(none(), fields.clone(), none(), none()), Ok(json!({ "n": 1 })));
    assert_eq!(bound(none(), fields.clone(), none(), json!({ "n": 2 })), Ok(json!({ "n": 2 })));
    assert_eq!(bound(none(), fields.clone(), json!({ "n": 3 }), json!({ "n": 2 })), Ok(json!({ "n": 3 })));
    assert_eq!(bound(json!({ "n": 4 }), fields.clone(), json!({ "n": 3 }), none()), Ok(json!({ "n": 4 })));
    assert_eq!(bound(json!({ "n": "${inputs.x}" }), fields, none(), none()), Ok(json!({ "n": 1 })), "not there");
}

#[test]
fn the_only_required_text_receives_undeclared_inputs() {
    let fields = json!([{ "name": "document", "type": "text", "required": true }, { "name": "n", "type": "integer" }]);
    let inputs_json = json!({ "second_part": { "rows": 3 }, "first": "All is well.", "n": 2 });
    assert_eq!(
        bound(inputs_json, fields.clone(), json!({}), json!({})),
        Ok(json!({ "n": 2, "document": "## First\n\nAll is well.\n\n## Second part\n\n- Rows: 3\n" }))
    );
    // A text that is there is not replaced.
    assert_eq!(
        bound(json!({ "other": 1 }), fields.clone(), json!({ "document": "d" }), json!({})),
        Ok(json!({ "document": "d" }))
    );
    let (code, message) = bound(json!({}), fields, json!({}), json!({})).unwrap_err();
    assert_eq!(code, ErrorCode::MissingInput);
    assert_eq!(message, "step `s`: x: `inputs.document` (text) is missing");
}

#[test]
fn any_other_gap_is_an_error() {
    let two =
        json!([{ "name": "a", "type": "text", "required": true }, { "name": "b", "type": "text", "required": true }]);
    assert_eq!(
        bound(json!({ "other": "x" }), two.clone(), json!({}), json!({})).unwrap_err().0,
        ErrorCode::MissingInput
    );
    assert_eq!(
        bound(json!({ "a": "x", "other": "y" }), two, json!({}), json!({})).unwrap_err().0,
        ErrorCode::MissingInput
    );
    let number = json!([{ "name": "a", "type": "integer", "required": true }]);
    assert_eq!(
        bound(json!({ "other": 1 }), number.clone(), json!({}), json!({})).unwrap_err().0,
        ErrorCode::MissingInput
    );
    let (code, message) = bound(json!({ "a": "x" }), number, json!({}), json!({})).unwrap_err();
    assert_eq!(
        (code, message.as_str()),
        (ErrorCode::InvalidInput, "step `s`: x: `inputs.a` must be an integer, not \"x\"")
    );
}

#[test]
fn a_missing_input_names_the_reference_that_has_no_value() {
    let fields = json!([{ "name": "n", "type": "integer", "required": true }]);
    let inputs = json!({ "items": [], "two": [{ "n": null }, 7], "record": { "n": [] }, "text": "t", "item": null });
    for (reference, reason) in [
        ("inputs.items[0].name", "`inputs.items` is an empty list"),
        ("inputs.two[2]", "`inputs.two` has 2 items, counted from 0"),
        ("inputs.two[1].n", "`inputs.two[1]` is a number"),
        ("inputs.two[0].n", "`inputs.two[0].n` is null"),
        ("inputs.two[0].n.x", "`inputs.two[0].n` is null"),
        ("inputs.two.n", "`inputs.two` is a list"),
        ("inputs.record.x", "`inputs.record` has no `x`"),
        ("inputs.record[0]", "`inputs.record` is an object"),
        ("inputs.record.n[0]", "`inputs.record.n` is an empty list"),
        ("inputs.text[0]", "`inputs.text` is a text"),
        ("inputs.item", "`inputs.item` is null"),
        ("inputs.none[0]", "`inputs` has no `none`"),
        ("context.none", "`context` has no `none`"),
    ] {
        let step_inputs = json!({ "n": format!("${{{reference}}}") });
        let (code, message) = bound(step_inputs, fields.clone(), inputs.clone(), json!({})).unwrap_err();
        assert_eq!(code, ErrorCode::MissingInput);
        let expected =
            format!("step `s`: x: `inputs.n` (integer) is missing: `${{{reference}}}` has no value, because {reason}");
        assert_eq!(message, expected);
    }
    let (_, message) = bound(json!({ "n": null }), fields, inputs, json!({})).unwrap_err();
    assert_eq!(message, "step `s`: x: `inputs.n` (integer) is missing");
    let defaulted = json!([{ "name": "n", "type": "integer", "required": true, "default": 1 }]);
    assert_eq!(bound(json!({ "n": "${inputs.x[0]}" }), defaulted, json!({}), json!({})), Ok(json!({ "n": 1 })));
}

#[test]
fn a_missing_input_names_the_step_and_the_list_to_which_it_refers() {
    let inputs = json!({ "n": "${steps.a.outputs.items[0].name}", "m": { "x": "${steps.b.outputs.o}" } });
    let steps = json!([
        { "id": "a", "agent": "x" }, { "id": "b", "agent": "x" }, { "id": "s", "agent": "x", "inputs": inputs }
    ]);
    let workflow = workflow(steps, json!({}));
    let fields =
        json!([{ "name": "n", "type": "text", "required": true }, { "name": "m", "type": "object", "required": true }]);
    let agent = agent(fields, json!([{ "name": "o", "type": "text" }]));
    let (none, steps) = (Values::new(), BTreeMap::from([(StepId::new("a").unwrap(), values(json!({ "items": [] })))]));
    let step = workflow.plan().steps.iter().find(|step| step.id.as_str() == "s").unwrap();
    let cause = bind_agent(step, &agent, &Scope::new(&none, &none, &steps)).unwrap_err();
    let problems = json!([
        "`inputs.n` (text) is missing: `${steps.a.outputs.items[0].name}` has no value, because `steps.a.outputs.items` is an empty list",
        "`inputs.m` (object) is missing: `${steps.b.outputs.o}` has no value, because step `b` has no outputs",
    ]);
    assert_eq!(cause.details["problems"], problems);
}

#[test]
fn a_single_named_output_that_the_agent_lacks_is_its_first_output() {
    let agent = agent(json!([]), json!([{ "name": "summary", "type": "text" }, { "name": "points", "type": "array" }]));
    let outputs = values(json!({ "summary": "s", "points": [] }));
    let named = |names: Json| {
        let workflow = workflow(json!([{ "id": "s", "agent": "x", "outputs": names }]), json!({}));
        step_outputs(&workflow.plan().steps[0], &agent, outputs.clone())
    };
    assert_eq!(named(json!(["final_report"])), values(json!({ "summary": "s", "points": [], "final_report": "s" })));
    assert_eq!(named(json!(["points"])), outputs);
    assert_eq!(named(json!(["one", "two"])), outputs);
    assert_eq!(named(json!([])), outputs);
}

#[test]
fn a_run_returns_its_declared_outputs_or_every_named_output() {
    let steps = json!([
        { "id": "a", "agent": "x", "outputs": ["one"] },
        { "id": "b", "agent": "x", "outputs": ["two"], "when": "false" }
    ]);
    let done = BTreeMap::from([(StepId::new("a").unwrap(), values(json!({ "one": 1, "hidden": 2 })))]);
    let none = Values::new();
    let outputs = |more: Json| {
        let workflow = workflow(steps.clone(), more);
        Json::Object(run_outputs(workflow.plan(), &Scope::new(&none, &none, &done)).into_iter().collect())
    };
    assert_eq!(outputs(json!({})), json!({ "one": 1 }));
    assert_eq!(outputs(json!({ "final_output": "${steps.a.outputs.hidden}" })), json!({ "one": 1, "final_output": 2 }));
    let named = json!({ "outputs": { "x": "${steps.a.outputs.one}", "y": "${steps.b.outputs.two}", "z": ["${steps.a.outputs}"] } });
    assert_eq!(outputs(named), json!({ "x": 1, "z": [{ "one": 1, "hidden": 2 }] }), "a skipped step gives nothing");
}

#[test]
fn a_for_each_has_items_and_collects_their_outputs_in_order() {
    let workflow = workflow(
        json!([{ "id": "s", "agent": "x", "inputs": { "n": "${item.n}", "at": "${index}" },
                 "for_each": { "items": "${inputs.list}" } }]),
        json!({}),
    );
    let step = &workflow.plan().steps[0];
    let none = Values::new();
    let steps = BTreeMap::new();
    let of = |list: Json| {
        let inputs = values(json!({ "list": list }));
        let items = items(step, &Scope::new(&inputs, &none, &steps));
        items.map(|items| items.map(Cow::into_owned)).map_err(|cause| (cause.code, cause.message))
    };
    assert_eq!(of(json!([{ "n": 1 }, { "n": 2 }])), Ok(Some(vec![json!({ "n": 1 }), json!({ "n": 2 })])));
    assert_eq!(of(json!(3)), Err((ErrorCode::InvalidInput, "step `s`: `for_each` must refer to a list".into())));
    assert_eq!(
        of(Json::Null).unwrap_err().1,
        "step `s`: `for_each` refers to a list that does not exist: `${inputs.list}` has no value, because `inputs.list` \
         is null"
    );
    assert!(of(json!(vec![1; 10_001])).unwrap_err().1.contains("has 10001 items, 10000 are allowed"));

    let agent = agent(
        json!([{ "name": "n", "type": "integer", "required": true }, { "name": "at", "type": "integer" }]),
        json!([{ "name": "o", "type": "text" }]),
    );
    let item = json!({ "n": 2 });
    let bound = bind_agent(step, &agent, &Scope::new(&none, &none, &steps).with_item(&item, 1)).unwrap();
    assert_eq!(bound, values(json!({ "n": 2, "at": 1 })));

    let results = [Some(values(json!({ "o": "a" }))), None, Some(values(json!({ "o": "c", "p": 1 })))];
    let collected = item_outputs(results.to_vec(), ["o", "other"]);
    assert_eq!(collected, values(json!({ "o": ["a", null, "c"], "p": [null, null, 1] })));
}

#[test]
fn a_workflow_accepts_its_declared_inputs_or_without_a_declaration_any() {
    let outer = workflow(json!([{ "id": "s", "workflow": "inner", "inputs": { "a": 1, "b": 2 } }]), json!({}));
    let (none, steps) = (Values::new(), BTreeMap::new());
    let bound = |inputs: Json| {
        let inner = workflow(json!([{ "id": "t", "agent": "x" }]), json!({ "inputs": inputs }));
        bind_workflow(&outer.plan().steps[0], inner.plan(), &Scope::new(&none, &none, &steps))
    };
    let declared = json!([
        { "name": "a", "type": "integer", "required": true }, { "name": "c", "type": "integer", "default": 3 }
    ]);
    assert_eq!(bound(declared), Ok(values(json!({ "a": 1, "c": 3 }))));
    assert_eq!(bound(json!([])), Ok(values(json!({ "a": 1, "b": 2 }))));
    let missing = bound(json!([{ "name": "z", "type": "integer", "required": true }])).unwrap_err();
    assert_eq!(missing.message, "step `s`: w: `inputs.z` (integer) is missing");
}

#[test]
fn a_compensation_can_reference_the_outputs_of_its_step() {
    let workflow = workflow(
        json!([{ "id": "s", "agent": "x", "compensate": { "agent": "x", "inputs": { "n": "${steps.s.outputs.n}" } } }]),
        json!({}),
    );
    let agent =
        agent(json!([{ "name": "n", "type": "integer", "required": true }]), json!([{ "name": "o", "type": "text" }]));
    let none = Values::new();
    let done = BTreeMap::from([(StepId::new("s").unwrap(), values(json!({ "n": 7 })))]);
    let bound = bind_compensation(&workflow.plan().steps[0], &agent, &Scope::new(&none, &none, &done)).unwrap();
    assert_eq!(bound, values(json!({ "n": 7 })));
}

#[test]
fn an_approval_prompt_contains_values_of_the_run() {
    let workflow = workflow(json!([{ "id": "s", "approval": { "prompt": "Send to ${inputs.name}?" } }]), json!({}));
    let (inputs, context, steps) = (values(json!({ "name": "Ana" })), Values::new(), BTreeMap::new());
    let scope = Scope::new(&inputs, &context, &steps);
    assert_eq!(approval_prompt(&workflow.plan().steps[0], &scope).as_deref(), Some("Send to Ana?"));
}

#[test]
fn values_become_markdown_that_a_person_would_write() {
    let artifact = ArtifactRef {
        hash: ContentHash::from_content(b"x"),
        bytes: 12,
        media_type: "text/csv".into(),
        name: "sales.csv".into(),
    };
    let text = sections(&values(json!({
        "file": artifact.to_json(),
        "kpis": [{ "name": "revenue", "value": 3 }, { "name": "cost", "value": null }],
        "nested": { "a": { "b": { "c": [1] } }, "d": [1, 2] },
        "short": ["a", "b"],
        "sections": ["One paragraph.", ["x", "y"]],
        "svg": "<svg><path/></svg>",
        "nothing": null,
    })));
    let expected = "## File\n\nsales.csv (text/csv, 12 bytes)\n\n## Kpis\n\n- Name: revenue; Value: 3\n- Name: cost\n\n\
        ## Nested\n\n- A:\n  - B:\n    - C: [1]\n- D:\n  - 1\n  - 2\n\n## Nothing\n\n\n## Sections\n\nOne paragraph.\n\n- x\n- y\n\n\
        ## Short\n\n- a\n- b\n\n## Svg\n\n(drawing, 18 bytes)\n";
    assert_eq!(text, expected);
    assert_eq!(render(&json!("plain")), "plain");
    assert_eq!(render(&json!(3)), "3");
}
