//! Tests of conditions: their variables and results.

use std::collections::BTreeMap;

use greenroom_protocol::{ErrorCode, Json, StepId, Values};
use proptest::prelude::*;
use serde_json::json;

use super::{Condition, Verdict};
use crate::scope::Scope;

fn values(json: Json) -> Values {
    json.as_object().unwrap().clone().into_iter().collect()
}

fn holds(text: &str) -> Result<bool, String> {
    let inputs =
        values(json!({ "n": 3, "big": 18446744073709551615_u64, "f": 2.5, "name": "Ana", "tags": ["a", "b"] }));
    let context = values(json!({ "region": "North" }));
    let steps = BTreeMap::from([
        (StepId::new("score").unwrap(), values(json!({ "score": 80, "kind": "hot" }))),
        (StepId::new("a-b").unwrap(), values(json!({ "x": 1 }))),
    ]);
    let item = json!({ "open": true });
    let scope = Scope::new(&inputs, &context, &steps).with_item(&item, 2);
    let verdict = Condition::compile(text)?.evaluate(&scope).map_err(|cause| {
        assert_eq!(cause.code, ErrorCode::ExpressionFailed);
        cause.message
    })?;
    match verdict {
        Verdict::True => Ok(true),
        Verdict::False => Ok(false),
        Verdict::Absent(steps) => {
            Err(format!("absent: {}", steps.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")))
        }
    }
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
    assert_eq!(
        holds("inputs.name * 2 > 1").unwrap_err(),
        "the condition `inputs.name * 2 > 1` failed: found no matching overload for '_*_' applied to '(string, int)'",
        "the types are named, and never the values"
    );
    assert!(holds("-inputs.name == 1").unwrap_err().contains("'-_' applied to '(string)'"));
    assert!(holds("inputs.name + 1 == 'x'").unwrap_err().contains("'_+_' applied to '(string, int)'"));
    assert!(holds("1 / 0 == 1").unwrap_err().contains("Division by zero"));
    assert!(holds("1 % 0 == 1").unwrap_err().contains("by zero"));
    assert!(holds("[1][5] == 1").unwrap_err().contains("failed"));
    assert!(holds("1.5 / 0.0 == 1").unwrap_err().contains("Division by zero"));
}

#[test]
fn a_number_means_the_same_however_it_is_written() {
    let with = |n: Json, text: &str| {
        let (inputs, none, steps) = (values(json!({ "n": n, "whole": 4 })), Values::new(), BTreeMap::new());
        Condition::compile(text).unwrap().evaluate(&Scope::new(&inputs, &none, &steps)).unwrap()
    };
    for n in [json!(90), json!(90.0), json!(90.5), json!(9.0e1)] {
        for text in [
            "inputs.n * 1.2 > 100.0",
            "inputs.n * 1.2 > 100",
            "1.2 * inputs.n > 100",
            "inputs.n / 2 >= 45",
            "inputs.n - 0.5 >= 89.5",
            "0.5 + inputs.n > 90",
            "-inputs.n < 0",
            "inputs.n % 100 >= 90",
            "inputs.n / inputs.whole > 22.4",
            "double(inputs.n) > 89.9",
            "int(inputs.n) == 90",
        ] {
            assert_eq!(with(n.clone(), text), Verdict::True, "{n}: {text}");
        }
    }
    for n in [json!(3), json!(3.0)] {
        for text in
            ["inputs.n / inputs.whole > 0.5", "inputs.n / 4 == 0.75", "inputs.n == 3.0", "string(inputs.n) == '3'"]
        {
            assert_eq!(with(n.clone(), text), Verdict::True, "{n}: {text}");
        }
    }
}

#[test]
fn whole_numbers_are_exact_and_a_whole_result_is_whole() {
    for text in [
        "3 / 4 > 0.5",
        "3 / 4 == 0.75",
        "8 / 4 == 2 && [1, 2, 3][8 / 4] == 3",
        "[1, 2, 3][2.0] == 3",
        "7 % 4 == 3 && 7.5 % 4 == 3.5 && -7 % 4 == -3",
        "9007199254740993 + 0 == 9007199254740993",
        "9007199254740993 - 9007199254740992 == 1",
        "9223372036854775807 + 1 > 9223372036854775807",
        "18446744073709551615u + 1 > 0",
        "9223372036854775807 * 9223372036854775807 > 0",
        "inputs.big - 1 < inputs.big",
        "0.1 + 0.2 < 0.31",
        "'a' + 'b' == 'ab' && [1] + [2] == [1, 2]",
        "size(inputs.tags) / 4 == 0.5",
        "inputs.tags.exists_one(t, t == 'b') && inputs.tags.filter(t, t != 'b').size() * 1.5 == 1.5",
        "string(4.0) == '4' && string(100.0 / 8) == '12.5'",
        "index / 4 == 0.5",
    ] {
        assert_eq!(holds(text), Ok(true), "{text}");
    }
}

#[test]
fn a_step_with_a_hyphen_is_named_by_an_index() {
    assert_eq!(holds("steps[\"a-b\"].outputs.x == 1 && has(steps['a-b'].outputs.x)"), Ok(true));
    assert_eq!(holds("has(steps['a-b'].outputs.nothing)"), Ok(false));
    let condition = Condition::compile("steps['a-b'].outputs.x == 1").unwrap();
    assert_eq!(condition.outputs().collect::<Vec<_>>(), [("a-b", "x")]);
    assert_eq!(
        holds("steps.a-b.outputs.x == 1").unwrap_err(),
        "the condition must name an output, as in `steps.STEP.outputs.NAME`; a step with a `-` in its id is \
         `steps[\"STEP-ID\"]`"
    );
}

#[test]
fn what_a_condition_reads_of_a_skipped_step_is_absent_and_has_is_false() {
    for text in [
        "!has(steps.skipped.outputs.x)",
        "!has(steps.skipped.outputs) && has(steps.score.outputs)",
        "has(steps.score.outputs.score) || steps.skipped.outputs.x == 1",
        "has(steps.skipped.outputs.x) ? false : true",
        "!('x' in steps.skipped.outputs)",
    ] {
        assert_eq!(holds(text), Ok(true), "{text}");
    }
    for text in ["steps.skipped.outputs.x == 1", "size(steps.skipped.outputs['x']) > 0"] {
        assert_eq!(holds(text).unwrap_err(), "absent: skipped", "{text}");
    }
    assert!(holds("steps.score.outputs.nothing == 1").unwrap_err().contains("No such key"), "that step was executed");
    assert!(holds("inputs.nothing == 1 || steps.skipped.outputs.x == 1").is_err());
    let condition = Condition::compile("has(steps.a.outputs) && steps.b.outputs.x == 1").unwrap();
    assert_eq!(condition.steps().collect::<Vec<_>>(), ["b", "a"]);
}

#[test]
fn only_the_listed_functions_may_be_called_in_any_spelling() {
    let refused = [
        ("launch(1)", "uses `launch`"),
        ("inputs.tags.existsOne(t, t == 'a')", "uses `existsOne`, did you mean `exists_one`?"),
        ("inputs.tags.map(t, t) == []", "uses `map`"),
        ("inputs.tags.map // x\n (t, t) == []", "uses `map`"),
        ("dyn(1) == 1", "uses `dyn`"),
        ("type(1) == int", "uses `type`"),
        ("bytes('a') == b'a'", "uses `bytes`"),
        ("optional.of(1).hasValue()", "uses `"),
        ("[1].exists(x, [x].exists(y, y == 1))", "has a comprehension inside another one"),
        ("[1].exists(x, [x] . all // y\n (y, y == 1))", "has a comprehension inside another one"),
        ("inputs.tags.exists(t, t.matches('a'))", "uses `matches` for each item of a list"),
        ("Message{a: 1} == 1", "constructs a structure"),
        ("[1].exists(inputs, inputs == 1)", "names an item `inputs`"),
    ];
    for (text, reason) in refused {
        let found = holds(text).unwrap_err();
        assert!(found.contains(reason), "{text}: {found}");
    }
    assert!(holds("launch(1)").unwrap_err().ends_with(
        "; a condition may call all, contains, double, endsWith, exists, exists_one, filter, has, int, matches, size, \
         startsWith, string, uint"
    ));
    // Fifteen levels of a macro that the parser knows fit into 349 bytes.
    let nested = (0..15).fold("true".to_owned(), |inner, _| format!("[1].existsOne(x,{inner})"));
    assert!(nested.len() < 400 && holds(&nested).unwrap_err().contains("uses `existsOne`"));
    let nested = (0..15).fold("true".to_owned(), |inner, _| format!("[1].exists_one(x,{inner})"));
    assert!(holds(&nested).unwrap_err().contains("has a comprehension inside another one"));
}

#[test]
fn the_cost_of_a_condition_is_bounded() {
    assert!(Condition::compile("inputs.a.exists(x, x.kind == 'a' && x.id in inputs.b)").is_ok());
    let searches = ["x in inputs.b"; 5].join(" || ");
    let found = Condition::compile(&format!("inputs.a.exists(x, {searches})")).unwrap_err();
    assert!(found.contains("operations, 4000000 are allowed"), "{found}");
    let listed = ["x in ['a', 'b']"; 20].join(" || ");
    assert!(Condition::compile(&format!("inputs.a.exists(x, {listed})")).is_ok(), "short lists are cheap");
    let loops = Condition::compile("inputs.a.exists(x, x == item)").unwrap();
    assert_eq!(loops.check_items(10).map_err(|cause| cause.code), Ok(()));
    assert_eq!(loops.check_items(10_000).map_err(|cause| cause.code), Err(ErrorCode::ExpressionFailed));
    assert!(Condition::compile("item.open && item.n * 2 > inputs.n").unwrap().check_items(10_000).is_ok());
}

#[test]
fn an_unknown_variable_is_reported_at_compile_time() {
    assert_eq!(
        holds("input.n == 3").unwrap_err(),
        "the condition references `input`, did you mean `inputs`?; it may reference inputs, context, steps, item, index"
    );
    assert!(holds("steps == 3").unwrap_err().starts_with("the condition must name an output, as in `steps.STEP."));
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
