//! Tests of references: their grammar and resolution.

use std::collections::BTreeMap;

use greenroom_protocol::{Json, StepId, Values};
use proptest::prelude::*;
use serde_json::json;

use super::{Expr, ReferenceRoot, Segment};
use crate::scope::Scope;

fn values(json: Json) -> Values {
    json.as_object().unwrap().clone().into_iter().collect()
}

fn evaluate(value: Json) -> Option<Json> {
    let inputs = values(json!({ "file": "a.csv", "n": 3, "quarter": "Q1", "deep": { "list": [{ "x": true }] } }));
    let context = values(json!({ "company": "Acme", "quarter": "Q4" }));
    let steps = BTreeMap::from([(StepId::new("gather").unwrap(), values(json!({ "rows": [1, 2] })))]);
    let item = json!({ "name": "first" });
    let scope = Scope::new(&inputs, &context, &steps).with_item(&item, 7);
    Expr::parse(&value).unwrap().evaluate(&scope)
}

#[test]
fn a_whole_reference_keeps_its_type() {
    assert_eq!(evaluate(json!("${inputs.n}")), Some(json!(3)));
    assert_eq!(evaluate(json!("${ steps.gather.outputs.rows }")), Some(json!([1, 2])));
    assert_eq!(evaluate(json!("${steps.gather.outputs.rows[1]}")), Some(json!(2)));
    assert_eq!(evaluate(json!("${steps.gather.outputs}")), Some(json!({ "rows": [1, 2] })));
    assert_eq!(evaluate(json!("${inputs.deep.list[0].x}")), Some(json!(true)));
    assert_eq!(evaluate(json!("${item.name}")), Some(json!("first")));
    assert_eq!(evaluate(json!("${item}")), Some(json!({ "name": "first" })));
    assert_eq!(evaluate(json!("${index}")), Some(json!(7)));
}

#[test]
fn inside_a_text_a_reference_is_rendered() {
    assert_eq!(evaluate(json!("${inputs.n} of ${context.company}")), Some(json!("3 of Acme")));
    assert_eq!(evaluate(json!("rows: ${steps.gather.outputs.rows}")), Some(json!("rows: [1,2]")));
    assert_eq!(evaluate(json!("[${context.nothing}]")), Some(json!("[]")));
}

#[test]
fn the_context_falls_back_to_the_inputs_and_not_the_other_way() {
    assert_eq!(evaluate(json!("${context.quarter}")), Some(json!("Q4")));
    assert_eq!(evaluate(json!("${context.file}")), Some(json!("a.csv")));
    assert_eq!(evaluate(json!("${inputs.company}")), None);
}

#[test]
fn a_missing_value_is_omitted_from_a_map_and_null_in_a_list() {
    assert_eq!(
        evaluate(json!({ "a": "${inputs.none}", "b": ["${inputs.none}", "${inputs.n}"] })),
        Some(json!({ "b": [null, 3] }))
    );
    assert_eq!(evaluate(json!("${steps.other.outputs.rows}")), None);
    assert_eq!(evaluate(json!("${steps.gather.outputs.rows[9]}")), None);
}

#[test]
fn a_value_of_a_skipped_step_is_absent_and_so_is_a_text_with_it() {
    assert_eq!(evaluate(json!("${steps.skipped.outputs.x}")), None);
    assert_eq!(evaluate(json!("see ${steps.skipped.outputs.x} and ${inputs.n}")), None);
    let both = json!({ "a": "${steps.skipped.outputs.x}", "b": "${steps.gather.outputs.rows[0]}", "c": 1 });
    assert_eq!(evaluate(both), Some(json!({ "b": 1, "c": 1 })));
    assert_eq!(evaluate(json!({ "a": "${steps.skipped.outputs.x}", "c": 1 })), None);
    assert_eq!(evaluate(json!({ "in": { "a": "${steps.skipped.outputs.x}", "c": 1 }, "n": "${inputs.n}" })), None);
    let list = json!(["${steps.skipped.outputs.x}", "${steps.gather.outputs.rows[0]}"]);
    assert_eq!(evaluate(list), Some(json!([null, 1])));
    assert_eq!(evaluate(json!("rows: ${steps.gather.outputs.nothing}")), Some(json!("rows: ")), "it was executed");
}

#[test]
fn a_dollar_alone_and_an_escaped_one_are_text() {
    assert_eq!(evaluate(json!("costs $5")), Some(json!("costs $5")));
    assert_eq!(evaluate(json!("$${inputs.n}")), Some(json!("${inputs.n}")));
    assert_eq!(evaluate(json!("$${a} ${inputs.n}")), Some(json!("${a} 3")));
    assert_eq!(evaluate(json!(12)), Some(json!(12)));
}

#[test]
fn the_content_of_a_value_is_never_parsed_as_a_reference() {
    let inputs = values(json!({ "evil": "${inputs.secret}", "secret": "s" }));
    let (context, steps) = (Values::new(), BTreeMap::new());
    let scope = Scope::new(&inputs, &context, &steps);
    assert_eq!(Expr::parse(&json!("${inputs.evil}")).unwrap().evaluate(&scope), Some(json!("${inputs.secret}")));
    assert_eq!(Expr::parse(&json!("<${inputs.evil}>")).unwrap().evaluate(&scope), Some(json!("<${inputs.secret}>")));
}

#[test]
fn an_invalid_reference_has_a_message_with_the_expected_form() {
    let invalid = [
        (
            "${input.x}",
            "the reference `${input.x}` begins with `input`, did you mean `inputs`?; it may begin with inputs, context, steps, item, index",
        ),
        ("${steps}", "the reference `${steps}` names no step; write `steps.STEP.outputs.NAME`"),
        ("${steps.a.output.x}", "the reference `${steps.a.output.x}` must continue with `outputs` after `steps.a`"),
        ("${inputs.x", "the reference `${inputs.x` has no closing brace"),
        ("${}", "the reference `${}` is empty"),
        ("${inputs.}", "the reference `${inputs.}` ends with a dot"),
        ("${inputs..x}", "the reference `${inputs..x}` cannot be parsed at `.x`"),
        ("${inputs x}", "the reference `${inputs x}` cannot be parsed at ` x`"),
        ("${inputs[0]}", "the reference `${inputs[0]}` has a number where a name is required"),
        ("${item[x]}", "the reference `${item[x]}` has `x` where a number is required"),
        ("${item[1}", "the reference `${item[1}` has a `[` without a `]`"),
        ("${index.x}", "the reference `${index.x}` accesses a member of a number"),
    ];
    for (text, reason) in invalid {
        assert_eq!(Expr::parse(&json!(text)), Err(reason.to_owned()), "{text}");
    }
}

#[test]
fn a_text_with_references_and_a_value_are_bounded() {
    let long = "x".repeat(16 * 1024) + "${inputs.x}";
    assert!(Expr::parse(&json!(long)).unwrap_err().contains("16384 are allowed"));
    assert!(Expr::parse(&json!("x".repeat(100_000))).is_ok(), "a plain text is no template");
    let nested = (0..20).fold(json!(1), |inner, _| json!([inner]));
    assert!(Expr::parse(&nested).unwrap_err().contains("nested deeper than 16"));
    let path = format!("${{inputs{}}}", ".a".repeat(40));
    assert!(Expr::parse(&json!(path)).unwrap_err().contains("more than 32 parts"));
}

/// References as people write them, and everything else.
fn reference() -> impl Strategy<Value = String> {
    let root = prop_oneof![
        Just("inputs.a"),
        Just("context.b_c"),
        Just("steps.s-1.outputs.d"),
        Just("item"),
        Just("steps.x.outputs")
    ];
    let tail = prop::collection::vec(prop_oneof!["\\.[a-z_][a-z0-9_-]{0,6}", "\\[(0|[1-9][0-9]{0,2})\\]"], 0..4);
    (root, tail).prop_map(|(root, tail)| format!("{root}{}", tail.concat()))
}

proptest! {
    #[test]
    fn a_reference_survives_its_text(text in reference()) {
        if let Ok(Expr::Reference(parsed)) = Expr::parse(&json!(format!("${{{text}}}"))) {
            prop_assert_eq!(parsed.to_string(), text);
            prop_assert!(parsed.path.iter().all(|segment| matches!(segment, Segment::Name(_) | Segment::Index(_))));
            prop_assert!(parsed.root != ReferenceRoot::Index);
        } else {
            // Only a number directly after a root that requires a name is rejected.
            prop_assert!(text.starts_with("steps.x.outputs["), "{text}");
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[${}\\[\\]. a-z0-9\"'\\\\é-]{0,80}") {
        let inputs = Values::new();
        let steps = BTreeMap::new();
        if let Ok(expr) = Expr::parse(&json!(text)) {
            let _ = expr.evaluate(&Scope::new(&inputs, &inputs, &steps));
        }
    }
}
