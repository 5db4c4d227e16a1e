//! Types of inputs and outputs as files write them: the forms that load, and the problems of those that do not.

use greenroom_definitions::Agent;
use greenroom_definitions::types::{FieldType, ValueType};
use serde_json::json;

use crate::folder::{Folder, agent};

/// An agent whose second output has this type, which begins on line 10.
fn with_output(value_type: &str) -> Folder {
    let outputs = format!("  - {{ name: result, type: text }}\n{value_type}\n");
    Folder::new().with("agents/x.yaml", agent("x").replace("  - { name: result, type: text }\n", &outputs))
}

fn problems(value_type: &str) -> Vec<String> {
    with_output(value_type).problems()
}

/// The type of the second output.
fn loaded(value_type: &str) -> ValueType {
    let folder = with_output(value_type);
    assert_eq!(folder.problems(), Vec::<String>::new(), "{value_type}");
    let catalogue = folder.load().catalogue.unwrap();
    let agent: &Agent = catalogue.agents().find(|agent| agent.id().as_str() == "x").unwrap();
    agent.output("rows").unwrap().value_type.clone()
}

#[test]
fn the_short_and_the_full_form_of_a_type_are_equal() {
    let short = loaded("  - { name: rows, type: array, items: text }");
    assert_eq!(short, loaded("  - { name: rows, type: array, items: { type: text } }"));
    assert_eq!(short.items.unwrap().kind, FieldType::Text);
    let properties = "type: object, properties: { amount: number, date: { type: string, required: false } }";
    let map = loaded(&format!("  - {{ name: rows, type: array, items: {{ {properties} }} }}"));
    for same in [
        "type: object, properties: [{ name: amount, type: number }, { name: date, type: string, required: false }]",
        "type: object, required: [amount], properties: { amount: { type: number }, date: string }",
    ] {
        assert_eq!(map, loaded(&format!("  - {{ name: rows, type: array, items: {{ {same} }} }}")), "{same}");
    }
    let row = map.items.unwrap();
    assert!(row.properties["amount"].required && !row.properties["date"].required);
}

#[test]
fn properties_are_required_as_their_field_is_by_default() {
    let object = "type: object, properties: { id: text } }\n";
    let text = agent("x")
        .replace("  - { name: topic, type: text, required: true }\n", &format!("  - {{ name: order, {object}"))
        .replace("  - { name: result, type: text }\n", &format!("  - {{ name: result, {object}"));
    let catalogue = Folder::new().with("agents/x.yaml", text).load().catalogue.unwrap();
    let agent = catalogue.agents().next().unwrap();
    let values = |name: &str| [(name.to_owned(), json!({}))].into_iter().collect();
    assert!(agent.validate_inputs(values("order")).is_ok());
    let cause = agent.validate_outputs(&Default::default(), values("result")).unwrap_err();
    assert_eq!(cause.details["problems"], json!(["`outputs.result.id` (text) is missing"]));
}

#[test]
fn every_part_of_a_tree_is_checked_where_it_is() {
    for (value_type, expected) in [
        (
            "  - name: rows\n    type: array\n    items:\n      type: object\n      properties:\n        code: { type: string, pattern: \"^[A-Z\" }",
            "agents/x.yaml:15:40: error[expression]: the pattern is invalid at its character 2: unclosed character class",
        ),
        (
            "  - { name: rows, type: array, items: { type: object, properties: { day: { type: string, format: dat } } } }",
            "agents/x.yaml:10:98: error[invalid_value]: `dat` is not known, did you mean `date`?; expected one of date, \
             date-time, duration, email, uri, iso-4217, iso-3166",
        ),
        (
            "  - { name: rows, type: array, items: { type: object, properties: { day: { type: number, format: date } } } }",
            "agents/x.yaml:10:98: error[invalid_value]: `format` does not apply to a number; remove it, or change the type",
        ),
        (
            "  - { name: rows, type: string, enum: [2024] }",
            "agents/x.yaml:10:40: error[wrong_type]: `enum[0]` must be a string, not 2024; put it in quotes",
        ),
        (
            "  - { name: rows, type: integer, enum: [1, 2.0] }",
            "agents/x.yaml:10:44: error[wrong_type]: no value equals `2.0`; write `2`",
        ),
        (
            "  - { name: rows, type: text, properties: { a: text } }",
            "agents/x.yaml:10:43: error[invalid_value]: `properties` does not apply to a text; remove it, or change the type",
        ),
        (
            "  - { name: rows, type: object, properties: {} }",
            "agents/x.yaml:10:45: error[invalid_value]: there are no properties; leave it out for an object with any properties",
        ),
        (
            "  - { name: rows, type: object, required: [amuont], properties: { amount: number } }",
            "agents/x.yaml:10:44: error[unknown_reference]: there is no property `amuont`, did you mean `amount`?",
        ),
        (
            "  - { name: rows, type: array, items: { type: text, required: true } }",
            "agents/x.yaml:10:63: error[invalid_value]: an item is not required itself; set `min_items` of the array, or list \
             the required properties",
        ),
        (
            "  - { name: rows, type: array, items: { type: text, tipe: 1 } }",
            "agents/x.yaml:10:53: error[unknown_field]: `tipe` is not a field of a type; did you mean `type`?",
        ),
        (
            "  - { name: rows, type: text, unit: EUR }",
            "agents/x.yaml:10:37: error[invalid_value]: `unit` does not apply to a text; remove it, or change the type",
        ),
    ] {
        assert_eq!(problems(value_type), [expected], "{value_type}");
    }
}

#[test]
fn the_depth_and_the_size_of_a_type_are_bounded() {
    let nested = |levels: usize| {
        format!(
            "  - {{ name: rows, type: array, items: {}text{} }}",
            "{ type: array, items: ".repeat(levels - 2),
            " }".repeat(levels - 2)
        )
    };
    assert_eq!(problems(&nested(8)), Vec::<String>::new());
    assert_eq!(
        problems(&nested(9)),
        ["agents/x.yaml:10:5: error[too_deep]: the type is nested 9 levels deep; at most 8"]
    );
    let wide = |count: usize| {
        let properties: Vec<String> = (0..count).map(|number| format!("p{number}: text")).collect();
        format!("  - {{ name: rows, type: object, properties: {{ {} }} }}", properties.join(", "))
    };
    assert_eq!(problems(&wide(199)), Vec::<String>::new());
    assert_eq!(
        problems(&wide(200)),
        ["agents/x.yaml:10:5: error[too_large]: the type consists of 201 types; at most 200"]
    );
}

#[test]
fn a_default_and_an_example_are_validated_to_their_innermost_value() {
    let inputs = "  - { name: topic, type: text, required: true }\n  - { name: rows, type: array, items: { type: object, \
                  properties: { n: integer } }, default: [{ n: 1 }, { n: one }] }\n";
    let text = agent("x").replace("  - { name: topic, type: text, required: true }\n", inputs);
    assert_eq!(
        Folder::new().with("agents/x.yaml", text).problems(),
        ["agents/x.yaml:8:94: error[invalid_value]: the default of `rows[1].n` must be an integer, not \"one\""]
    );
    let text = with_output("  - { name: rows, type: array, items: { type: object, properties: { n: integer } } }");
    let example = "examples:\n  - inputs: { topic: t }\n    expect: { rows: [{ n: 1 }, { n: 2.5 }] }\n";
    let path = text.path().join("agents/x.yaml");
    let with_example = std::fs::read_to_string(&path).unwrap() + example;
    assert_eq!(
        text.with("agents/x.yaml", with_example).problems(),
        ["agents/x.yaml:14:21: error[invalid_value]: the expected `rows[1].n` must be an integer, not 2.5"]
    );
}

#[test]
fn a_model_produces_no_file() {
    let native = "  - { name: rows, type: array, items: file }";
    assert_eq!(problems(native), Vec::<String>::new());
    let text = agent("x")
        .replace("{ runtime: native, handler: native.echo }", "{ runtime: llm }")
        .replace("  - { name: result, type: text }\n", &format!("{native}\n"));
    assert_eq!(
        Folder::new().with("agents/x.yaml", text).problems(),
        [
            "agents/x.yaml:9:25: error[invalid_value]: a model produces no file, so `rows` cannot be or contain one; copy an \
          input with `from`, or use another type"
        ]
    );
}

#[test]
fn a_stored_body_of_an_earlier_release_still_loads() {
    let body = json!({
        "agent_id": "x", "name": "X", "category": "business_ops", "description": "d", "version": "1",
        "inputs": [{ "name": "tags", "type": "array", "required": false, "items": "text" }],
        "outputs": [{ "name": "result", "type": "integer", "required": true, "minimum": 1.0 }],
        "implementation": { "runtime": "native", "handler": "native.echo", "timeout": 60 },
    });
    let agent = Agent::from_body(&body.to_string()).unwrap();
    assert_eq!(agent.input("tags").unwrap().value_type.items.as_ref().unwrap().kind, FieldType::Text);
    assert_eq!(agent.output("result").unwrap().value_type.minimum, Some(1.0));
}
