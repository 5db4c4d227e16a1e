//! Tests of conditions: their variables and results.

use std::collections::BTreeMap;

use greenroom_protocol::{ErrorCode, Json, StepId, Values};
use proptest::prelude::*;
use serde_json::json;

use super::Condition;
use crate::scope::Scope;

fn values(json: Json) -> Values {
    json.as_object().unwrap().clone().into_iter().collect()
}

fn holds(text: &str) -> Result<bool, String> {
    let inputs =
        values(json!({ "n": 3, "big": 18446744073709551615_u64, "f": 2.5, "name": "Ana", "tags": ["a", "b"] }));
    let context = values(json!({ "region": "North" }));
    let steps = BTreeMap::from([(StepId::new("score").unwrap(), values(json!({ "score": 80, "kind": "hot" })))]);
    let item = json!({ "open": true });
    let scope = Scope::new(&inputs, &context, &steps).with_item(&item, 2);
    Condition::compile(text)?.evaluate(&scope).map_err(|cause| {
        assert_eq!(cause.code, ErrorCode::ExpressionFailed);
        cause.message
    })
}

#[test]
fn a_condition_sees_inputs_context_steps_and_item() {
    for text in [
        "inputs.n == 3",
        "inputs.n > 2 && inputs.f < 3.0",
        "inputs.name == 'Ana' && inputs.name.startsWith('A')",
        "context.region in ['North', 'South']",
        "context.name == 'Ana'",
        "steps.score.outputs.score >= 75",
        "steps.score.outputs.kind == \"hot\" ? true : false",
        "item.open && index == 2",
        "inputs.tags.exists(t, t == 'b')",
        "inputs.tags.filter(t, t == 'b').size() == 1",
        "size(inputs.tags) == 2",
        "!has(inputs.nothing)",
        "'n' in inputs",
        "inputs.name.matches('^A.a$')",
        "inputs.big > 1u",
        "has(steps.score.outputs.kind) && !has(steps.score.outputs.nothing)",
        "'kind' in steps.score.outputs",
    ] {
        assert_eq!(holds(text), Ok(true), "{text}");
    }
    assert_eq!(holds("inputs.n > 5"), Ok(false));
}

#[test]
fn a_missing_or_mistyped_value_fails_with_the_condition_in_the_message() {
    assert_eq!(
        holds("inputs.nothing > 1").unwrap_err(),
        "the condition `inputs.nothing > 1` failed: No such key: nothing"
    );
    assert_eq!(holds("inputs.n").unwrap_err(), "the condition `inputs.n` must evaluate to true or false");
    assert!(holds("inputs.name > 1").unwrap_err().contains("no matching overload"));
    assert!(holds("9223372036854775807 + 1 > 0").unwrap_err().contains("Overflow"));
    assert!(holds("1 / 0 == 1").unwrap_err().contains("Division by zero"));
    assert!(holds("1 % 0 == 1").unwrap_err().contains("by zero"));
    assert!(holds("[1][5] == 1").unwrap_err().contains("failed"));
    assert!(holds("launch(1)").unwrap_err().contains("Undeclared reference"));
}

#[test]
fn an_unknown_variable_is_reported_at_compile_time() {
    assert_eq!(
        holds("input.n == 3").unwrap_err(),
        "the condition references `input`, did you mean `inputs`?; it may reference inputs, context, steps, item, index"
    );
    assert_eq!(holds("steps == 3").unwrap_err(), "the condition must name an output, as in `steps.STEP.outputs.NAME`");
    assert!(holds("inputs.n ==").unwrap_err().starts_with("the condition cannot be parsed at column "));
}

#[test]
fn the_referenced_steps_and_inputs_are_listed() {
    let condition =
        Condition::compile("steps.a.outputs.x > inputs.limit && steps.b.outputs.list.all(y, y > 0)").unwrap();
    assert_eq!(condition.steps().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(condition.outputs().collect::<Vec<_>>(), [("a", "x"), ("b", "list")]);
    assert_eq!(condition.inputs().collect::<Vec<_>>(), ["limit"]);
    assert!(!condition.uses_item());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_a_condition_panic(
        words in prop::collection::vec(
            prop_oneof![
                Just("inputs.n"), Just("steps.score.outputs.score"), Just("'a'"), Just("3"), Just("2.5"), Just("("), Just(")"),
                Just("["), Just("]"), Just("&&"), Just("||"), Just("!"), Just("-"), Just("+"), Just("*"), Just("/"), Just("%"),
                Just("=="), Just("<"), Just("in"), Just("?"), Just(":"), Just(","), Just(".all(x, "), Just("x"), Just("true"),
                Just("{"), Just("}"), Just("null"), Just("9223372036854775807"), Just("\""), Just("size("), Just(".matches("),
            ],
            0..24,
        )
    ) {
        let _ = holds(&words.join(" "));
    }

    #[test]
    fn no_bytes_make_a_condition_panic(text in "\\PC{0,60}") {
        let _ = holds(&text);
    }
}
