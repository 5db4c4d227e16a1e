//! Values against fields.

use greenroom_protocol::{ArtifactRef, ContentHash, ErrorCode, Json, Values};
use proptest::prelude::*;
use serde_json::json;

use super::{
    Field, FieldType, Format, Pattern, Property, Undeclared, ValueType, object_schema, outline, parse_cli_value,
    validate_inputs, validate_outputs,
};

/// A type with these constraints.
fn typed(kind: FieldType, constrain: impl FnOnce(&mut ValueType)) -> ValueType {
    let mut value_type = ValueType::new(kind);
    constrain(&mut value_type);
    value_type
}

/// Validates a value as the input `x`, and describes each mismatch.
fn accept(value_type: &ValueType, value: Json) -> Result<Json, Vec<String>> {
    value_type.accept(value, Undeclared::Reject).map_err(|mismatches| mismatches.describe("x"))
}

/// The single mismatch of a value, without its subject.
fn mismatch(value_type: &ValueType, value: Json) -> String {
    let mismatches = value_type.accept(value, Undeclared::Reject).unwrap_err();
    assert_eq!(mismatches.reported().len(), 1, "{mismatches:?}");
    mismatches.reported()[0].message.clone()
}

fn property(required: bool, value_type: ValueType) -> Property {
    Property { required, value_type }
}

/// A list of rows with an amount, and an optional date.
fn rows() -> ValueType {
    let amount = typed(FieldType::Number, |amount| {
        amount.unit = Some("EUR".into());
        amount.minimum = Some(0.0);
    });
    let date = typed(FieldType::String, |date| date.format = Some(Format::Date));
    let row = typed(FieldType::Object, |row| {
        row.properties.insert("amount".into(), property(true, amount));
        row.properties.insert("date".into(), property(false, date));
    });
    typed(FieldType::Array, |rows| {
        rows.items = Some(Box::new(row));
        rows.min_items = Some(1);
    })
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
        let fits = |value: &Json| accept(&ValueType::new(kind), value.clone()).is_ok();
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
    let integer = ValueType::new(FieldType::Integer);
    assert_eq!(accept(&integer, json!(5.0)), Ok(json!(5)));
    assert_eq!(mismatch(&integer, json!(5.5)), "must be an integer, not 5.5");
    assert_eq!(mismatch(&integer, json!(1e300)), "must be an integer, not 1e+300");
}

#[test]
fn an_artifact_may_replace_a_whole_value_that_can_be_large_and_any_file() {
    for kind in [FieldType::Text, FieldType::String, FieldType::Array, FieldType::Object, FieldType::File] {
        assert!(accept(&ValueType::new(kind), artifact(10)).is_ok(), "{kind}");
    }
    for kind in [FieldType::Integer, FieldType::Number, FieldType::Boolean] {
        assert!(accept(&ValueType::new(kind), artifact(10)).is_err(), "{kind}");
    }
    let bounded = typed(FieldType::File, |file| file.max_bytes = Some(100));
    assert_eq!(mismatch(&bounded, artifact(101)), "may have at most 100 bytes, it has 101");
    assert!(accept(&bounded, artifact(100)).is_ok());

    let files = typed(FieldType::Array, |files| files.items = Some(Box::new(bounded)));
    assert!(accept(&files, json!([artifact(1), "a.csv"])).is_ok());
    assert_eq!(
        accept(&files, json!([artifact(101)])),
        Err(vec!["`x[0]` may have at most 100 bytes, it has 101".into()])
    );
    let texts = typed(FieldType::Array, |texts| texts.items = Some(Box::new(ValueType::new(FieldType::Text))));
    assert_eq!(accept(&texts, json!([artifact(1)])), Err(vec!["`x[0]` must be a text, not an object".into()]));
}

#[test]
fn constraints_are_enforced_at_their_limits() {
    let number = typed(FieldType::Integer, |number| (number.minimum, number.maximum) = (Some(1.0), Some(3.0)));
    assert_eq!(mismatch(&number, json!(0)), "must be at least 1, not 0");
    assert_eq!(mismatch(&number, json!(4)), "must be at most 3, not 4");
    assert!(accept(&number, json!(1)).is_ok() && accept(&number, json!(3)).is_ok());

    let text = typed(FieldType::Text, |text| (text.min_length, text.max_length) = (Some(2), Some(3)));
    assert_eq!(mismatch(&text, json!("ä")), "must have at least 2 characters, it has 1");
    assert!(accept(&text, json!("äöü")).is_ok(), "characters, not bytes");
    assert_eq!(mismatch(&text, json!("abcd")), "may have at most 3 characters, it has 4");

    let list = typed(FieldType::Array, |list| {
        (list.min_items, list.max_items) = (Some(1), Some(2));
        list.items = Some(Box::new(ValueType::new(FieldType::Integer)));
    });
    assert_eq!(mismatch(&list, json!([])), "must have at least 1 items, it has 0");
    assert_eq!(mismatch(&list, json!([1, 2, 3])), "may have at most 2 items, it has 3");
    assert_eq!(accept(&list, json!([1, "b"])), Err(vec!["`x[1]` must be an integer, not \"b\"".into()]));
    assert_eq!(accept(&list, json!([1, 2.0])), Ok(json!([1, 2])));

    let one_of = typed(FieldType::String, |text| text.one_of = vec![json!("a"), json!("b")]);
    assert_eq!(mismatch(&one_of, json!("c")), "must be one of \"a\", \"b\", not \"c\"");

    let code = typed(FieldType::String, |code| code.pattern = Some(Pattern::new("^[A-Z]{2}[0-9]+$").unwrap()));
    assert!(accept(&code, json!("AB1")).is_ok());
    assert_eq!(mismatch(&code, json!("ab1")), "must match the pattern `^[A-Z]{2}[0-9]+$`, not \"ab1\"");
    let date = typed(FieldType::String, |date| date.format = Some(Format::Date));
    assert_eq!(mismatch(&date, json!("31.12.2024")), "must be a date such as 2024-12-31, not \"31.12.2024\"");
}

#[test]
fn a_value_inside_another_is_named_by_its_path() {
    assert_eq!(
        accept(&rows(), json!([{ "amount": 1, "date": "2024-12-31" }, { "amount": 2.5, "date": null }])),
        Ok(json!([
            { "amount": 1, "date": "2024-12-31" }, { "amount": 2.5 }
        ]))
    );
    let invalid =
        json!([{ "amount": 1 }, { "amuont": 3 }, { "amount": "many", "date": "today" }, { "amount": -1 }, 7, null]);
    assert_eq!(
        accept(&rows(), invalid).unwrap_err(),
        [
            "`x[1].amount` (number) is missing",
            "`x[1]` has no property `amuont`, did you mean `amount`?",
            "`x[2].amount` must be a number, not \"many\"",
            "`x[2].date` must be a date such as 2024-12-31, not \"today\"",
            "`x[3].amount` must be at least 0, not -1",
            "`x[4]` must be an object, not 7",
            "`x[5]` must be an object, not null",
        ]
    );
    let spaced = typed(FieldType::Object, |object| {
        object.properties.insert("unit price".into(), property(true, ValueType::new(FieldType::Number)));
    });
    assert_eq!(accept(&spaced, json!({})), Err(vec!["`x[\"unit price\"]` (number) is missing".into()]));
}

#[test]
fn an_undeclared_property_is_rejected_from_a_caller_and_dropped_from_a_model() {
    let fields = [Field { value_type: rows(), ..Field::new("rows", FieldType::Array, true) }];
    let rows = || values(json!({ "rows": [{ "amount": 1, "note": "n" }] }));
    let cause = validate_inputs("a", &fields, rows()).unwrap_err();
    assert_eq!(cause.details["problems"], json!(["`inputs.rows[0]` has no property `note`"]));
    let outputs = validate_outputs("a", &fields, &Values::new(), rows()).unwrap();
    assert_eq!(outputs, values(json!({ "rows": [{ "amount": 1 }] })));
    let invalid = values(json!({ "rows": [{ "amount": 1 }, {}, { "amount": "2" }] }));
    let cause = validate_outputs("a", &fields, &Values::new(), invalid).unwrap_err();
    assert_eq!(
        cause.details["problems"],
        json!(["`outputs.rows[1].amount` (number) is missing", "`outputs.rows[2].amount` must be a number, not \"2\""])
    );
}

#[test]
fn only_the_first_mismatches_are_reported() {
    let list = typed(FieldType::Array, |list| list.items = Some(Box::new(ValueType::new(FieldType::Integer))));
    let found = accept(&list, json!(vec!["x"; 1_000])).unwrap_err();
    assert_eq!(found.len(), 21);
    assert_eq!(found[20], "`x` has 980 more values that do not fit");
}

#[test]
fn one_tree_becomes_the_schema_the_outline_and_the_stored_form() {
    let field = Field { value_type: rows(), ..Field::new("rows", FieldType::Array, true) };
    let free = Field::new("facts", FieldType::Object, false);
    let tags = Field::new("tags", FieldType::Array, false);
    assert_eq!(
        object_schema(&[field.clone(), free.clone(), tags]),
        json!({
            "type": "object",
            "properties": {
                "rows": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {
                            "amount": { "type": "number", "description": "Unit: EUR", "minimum": 0.0 },
                            "date": { "type": "string", "format": "date" },
                        },
                        "required": ["amount"],
                        "additionalProperties": false,
                    },
                },
                "facts": { "type": "object", "additionalProperties": true },
                "tags": { "type": "array", "items": {} },
            },
            "required": ["rows"],
            "additionalProperties": false,
        })
    );
    assert_eq!(
        outline(&[field.clone(), free]),
        "rows: array of object, at least 1 items\n  amount: number, in EUR, at least 0\n  \
         date: string, a date such as 2024-12-31, optional\nfacts: object with any properties, optional\n"
    );
    let stored = serde_json::to_string(&field).unwrap();
    assert_eq!(serde_json::from_str::<Field>(&stored).unwrap(), field);
}

#[test]
fn a_type_that_is_only_a_kind_is_stored_as_its_name() {
    let texts = typed(FieldType::Array, |texts| texts.items = Some(Box::new(ValueType::new(FieldType::Text))));
    let stored = serde_json::to_value(&texts).unwrap();
    assert_eq!(stored, json!({ "type": "array", "items": "text" }));
    assert_eq!(serde_json::from_value::<ValueType>(stored).unwrap(), texts);
}

#[test]
fn a_type_counts_its_levels_and_types() {
    assert_eq!((rows().depth(), rows().nodes()), (3, 4));
    assert!(rows().contains_kind(FieldType::Number) && !rows().contains_kind(FieldType::File));
}

#[test]
fn an_invalid_value_is_shown_shortened() {
    let found = mismatch(&ValueType::new(FieldType::Integer), json!("é".repeat(100)));
    assert_eq!(found, format!("must be an integer, not \"{}…\"", "é".repeat(40)));
    let found = mismatch(&ValueType::new(FieldType::Text), json!({"secret": 1}));
    assert_eq!(found, "must be a text, not an object");
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
            "`inputs.document` (text) is missing",
            "`inputs.note` must be a text, not 4",
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
        json!(["`outputs.summary` (text) is missing", "`outputs.figures` (object) is missing"])
    );
    assert_eq!(object_schema(&fields)["required"], json!(["summary"]), "a model is not asked for an input");
    assert_eq!(object_schema(&fields)["properties"].as_object().unwrap().len(), 1);
}

#[test]
fn a_typed_text_becomes_a_value_of_its_kind() {
    assert_eq!(parse_cli_value(FieldType::Text, " 5 "), Ok(json!(" 5 ")));
    assert_eq!(parse_cli_value(FieldType::Integer, " 5 "), Ok(json!(5)));
    assert_eq!(parse_cli_value(FieldType::Integer, "5.5"), Err("must be an integer, not \"5.5\"".into()));
    assert_eq!(parse_cli_value(FieldType::Integer, "18446744073709551615"), Ok(json!(u64::MAX)));
    let too_large = "must be an integer of at most 64 bits, not 18446744073709551616".to_owned();
    assert_eq!(parse_cli_value(FieldType::Integer, "18446744073709551616"), Err(too_large));
    assert_eq!(parse_cli_value(FieldType::Number, "5.5"), Ok(json!(5.5)));
    assert_eq!(parse_cli_value(FieldType::Array, "\u{feff}[\"a\"]"), Ok(json!(["a"])), "a byte order mark");
    assert_eq!(parse_cli_value(FieldType::Array, "\u{feff}a"), Ok(json!(["a"])));
    assert_eq!(parse_cli_value(FieldType::Object, "\u{feff}{}"), Ok(json!({})));
    assert_eq!(parse_cli_value(FieldType::Text, "\u{feff}a"), Ok(json!("\u{feff}a")), "a text is used unchanged");
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
    for (kind, text, member) in [
        (FieldType::Object, "{\"a\": 1, \"a\": 2}", "`a` occurs twice"),
        (FieldType::Array, "[{\"a\": 18446744073709551616}]", "`[0].a` is 18446744073709551616"),
        (FieldType::Number, "-9223372036854775809", "the document is -9223372036854775809"),
    ] {
        let problem = parse_cli_value(kind, text).unwrap_err();
        assert!(problem.contains(member), "{problem}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_of_values_panic(text in "\\PC{0,60}", at in 0..FieldType::ALL.len()) {
        if let Ok(value) = parse_cli_value(FieldType::ALL[at], &text) {
            prop_assert!(accept(&ValueType::new(FieldType::ALL[at]), value).is_ok());
        }
    }
}

#[test]
fn a_number_is_the_same_however_it_is_written() {
    let options = typed(FieldType::Number, |number| number.one_of = vec![json!(1), json!(2.5), json!(3.0)]);
    for value in [json!(1), json!(1.0), json!(2.5), json!(3), json!(3.0)] {
        assert_eq!(accept(&options, value.clone()), Ok(value));
    }
    assert!(accept(&options, json!(2)).is_err());
    let bounded = typed(FieldType::Integer, |number| {
        number.minimum = Some(-9_007_199_254_740_992.0);
        number.maximum = Some(9_007_199_254_740_992.0);
    });
    for (value, fits) in [
        (9_007_199_254_740_992_i64, true),
        (9_007_199_254_740_993, false),
        (-9_007_199_254_740_992, true),
        (-9_007_199_254_740_993, false),
    ] {
        assert_eq!(accept(&bounded, json!(value)).is_ok(), fits, "{value}");
    }
    assert!(mismatch(&bounded, json!(9_007_199_254_740_993_i64)).ends_with("not 9007199254740993"));
}
