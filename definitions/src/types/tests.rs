//! Values against fields.

use greenroom_protocol::{ArtifactRef, ContentHash, ErrorCode, Json, Values};
use proptest::prelude::*;
use serde_json::json;

use super::{Field, FieldType, object_schema, parse_cli_value, validate_inputs, validate_outputs};

fn field(kind: FieldType) -> Field {
    Field::new("x", kind, true)
}

fn values(json: Json) -> Values {
    json.as_object().unwrap().clone().into_iter().collect()
}

fn artifact(bytes: u64) -> Json {
    ArtifactRef {
        hash: ContentHash::from_content(b"x"),
        bytes,
        media_type: "text/csv".into(),
        name: "sales.csv".into(),
    }
    .to_json()
}

#[test]
fn each_type_accepts_its_own_values_and_no_others() {
    let samples = [json!("text"), json!(3), json!(2.5), json!(true), json!([1]), json!({"a": 1}), json!(null)];
    let taken = |kind: FieldType| -> Vec<usize> {
        let fits = |value: &Json| field(kind).accept(value.clone()).is_ok();
        samples.iter().enumerate().filter(|(_, value)| fits(value)).map(|(at, _)| at).collect()
    };
    assert_eq!(taken(FieldType::Text), [0]);
    assert_eq!(taken(FieldType::String), [0]);
    assert_eq!(taken(FieldType::Integer), [1]);
    assert_eq!(taken(FieldType::Number), [1, 2]);
    assert_eq!(taken(FieldType::Boolean), [3]);
    assert_eq!(taken(FieldType::Array), [4]);
    assert_eq!(taken(FieldType::Object), [5]);
    assert_eq!(taken(FieldType::File), [0]);
}

#[test]
fn a_whole_number_has_one_canonical_form() {
    assert_eq!(field(FieldType::Integer).accept(json!(5.0)), Ok(json!(5)));
    assert_eq!(field(FieldType::Integer).accept(json!(5.5)), Err("must be an integer, not 5.5".into()));
    assert_eq!(field(FieldType::Integer).accept(json!(1e300)), Err("must be an integer, not 1e+300".into()));
}

#[test]
fn an_artifact_may_replace_a_value_that_can_be_large() {
    for kind in [FieldType::Text, FieldType::String, FieldType::Array, FieldType::Object, FieldType::File] {
        assert!(field(kind).accept(artifact(10)).is_ok(), "{kind}");
    }
    for kind in [FieldType::Integer, FieldType::Number, FieldType::Boolean] {
        assert!(field(kind).accept(artifact(10)).is_err(), "{kind}");
    }
    let bounded = Field { max_bytes: Some(100), ..field(FieldType::File) };
    assert_eq!(bounded.accept(artifact(101)), Err("may have at most 100 bytes, it has 101".into()));
    assert!(bounded.accept(artifact(100)).is_ok());
}

#[test]
fn constraints_are_enforced_at_their_limits() {
    let number = Field { minimum: Some(1.0), maximum: Some(3.0), ..field(FieldType::Integer) };
    assert_eq!(number.accept(json!(0)), Err("must be at least 1, not 0".into()));
    assert_eq!(number.accept(json!(4)), Err("must be at most 3, not 4".into()));
    assert!(number.accept(json!(1)).is_ok() && number.accept(json!(3)).is_ok());

    let text = Field { min_length: Some(2), max_length: Some(3), ..field(FieldType::Text) };
    assert_eq!(text.accept(json!("ä")), Err("must have at least 2 characters, it has 1".into()));
    assert!(text.accept(json!("äöü")).is_ok(), "characters, not bytes");
    assert_eq!(text.accept(json!("abcd")), Err("may have at most 3 characters, it has 4".into()));

    let list =
        Field { min_items: Some(1), max_items: Some(2), items: Some(FieldType::Integer), ..field(FieldType::Array) };
    assert_eq!(list.accept(json!([])), Err("must have at least 1 items, it has 0".into()));
    assert_eq!(list.accept(json!([1, 2, 3])), Err("may have at most 2 items, it has 3".into()));
    assert_eq!(list.accept(json!([1, "b"])), Err("item 1 must be an integer, not \"b\"".into()));
    assert_eq!(list.accept(json!([1, 2.0])), Ok(json!([1, 2])));

    let one_of = Field { one_of: vec![json!("a"), json!("b")], ..field(FieldType::String) };
    assert_eq!(one_of.accept(json!("c")), Err("must be one of \"a\", \"b\", not \"c\"".into()));
}

#[test]
fn an_invalid_value_is_shown_shortened() {
    let found = field(FieldType::Integer).accept(json!("é".repeat(100))).unwrap_err();
    assert_eq!(found, format!("must be an integer, not \"{}…\"", "é".repeat(40)));
    assert_eq!(field(FieldType::Text).accept(json!({"secret": 1})), Err("must be a text, not an object".into()));
}

#[test]
fn inputs_are_completed_and_every_problem_is_named() {
    let fields = [
        Field::new("document", FieldType::Text, true),
        Field { default: Some(json!(500)), ..Field::new("max_length", FieldType::Integer, false) },
        Field::new("note", FieldType::Text, false),
    ];
    let complete = validate_inputs("x", &fields, values(json!({ "document": "d", "note": null }))).unwrap();
    assert_eq!(complete, values(json!({ "document": "d", "max_length": 500 })));

    let cause = validate_inputs("x", &fields, values(json!({ "max_lenght": 3, "note": 4 }))).unwrap_err();
    assert_eq!(cause.code, ErrorCode::MissingInput);
    assert_eq!(
        cause.details["problems"],
        json!([
            "input `document` (text) is missing",
            "input `note` must be a text, not 4",
            "there is no input `max_lenght`, did you mean `max_length`?"
        ])
    );
    let cause = validate_inputs("x", &fields, values(json!({ "document": 1 }))).unwrap_err();
    assert_eq!((cause.code, cause.code.exit_code()), (ErrorCode::InvalidInput, 2));
}

#[test]
fn outputs_are_checked_and_some_are_inputs() {
    let fields = [
        Field::new("summary", FieldType::Text, true),
        Field { from: Some("data".into()), ..Field::new("figures", FieldType::Object, true) },
    ];
    let inputs = values(json!({ "data": { "total": 3 } }));
    let outputs = values(json!({ "summary": "s", "figures": { "total": 4 }, "other": 1 }));
    let checked = validate_outputs("x", &fields, &inputs, outputs).unwrap();
    assert_eq!(checked, values(json!({ "summary": "s", "figures": { "total": 3 } })), "the model's own is not taken");

    let cause = validate_outputs("x", &fields, &Values::new(), values(json!({ "summary": null }))).unwrap_err();
    assert_eq!(cause.code, ErrorCode::InvalidOutput);
    assert_eq!(
        cause.details["problems"],
        json!(["output `summary` (text) is missing", "output `figures` (object) is missing"])
    );
    assert_eq!(object_schema(&fields)["required"], json!(["summary"]), "a model is not asked for an input");
    assert_eq!(object_schema(&fields)["properties"].as_object().unwrap().len(), 1);
}

#[test]
fn a_typed_text_becomes_a_value_of_its_kind() {
    assert_eq!(parse_cli_value(FieldType::Text, " 5 "), Ok(json!(" 5 ")));
    assert_eq!(parse_cli_value(FieldType::Integer, " 5 "), Ok(json!(5)));
    assert_eq!(parse_cli_value(FieldType::Integer, "5.5"), Err("must be an integer, not \"5.5\"".into()));
    assert_eq!(parse_cli_value(FieldType::Number, "5.5"), Ok(json!(5.5)));
    assert_eq!(parse_cli_value(FieldType::Number, "inf"), Err("must be a number, not \"inf\"".into()));
    assert_eq!(parse_cli_value(FieldType::Boolean, "Yes"), Ok(json!(true)));
    assert_eq!(parse_cli_value(FieldType::Boolean, "maybe"), Err("must be true or false, not \"maybe\"".into()));
    assert_eq!(
        parse_cli_value(FieldType::Array, "Revenue rose, costs fell."),
        Ok(json!(["Revenue rose, costs fell."]))
    );
    assert_eq!(parse_cli_value(FieldType::Array, "[1, 2]"), Ok(json!([1, 2])));
    assert_eq!(parse_cli_value(FieldType::Array, ""), Ok(json!([])));
    assert_eq!(parse_cli_value(FieldType::Array, "[1"), Err("must be an array, not \"[1\"".into()));
    assert_eq!(parse_cli_value(FieldType::Object, "{\"a\": 1}"), Ok(json!({"a": 1})));
    assert_eq!(parse_cli_value(FieldType::Object, "a"), Err("must be an object, not \"a\"".into()));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_of_values_panic(text in "\\PC{0,60}", at in 0..FieldType::ALL.len()) {
        if let Ok(value) = parse_cli_value(FieldType::ALL[at], &text) {
            prop_assert!(field(FieldType::ALL[at]).accept(value).is_ok());
        }
    }
}
