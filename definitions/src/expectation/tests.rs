//! Tests of assertions: what holds, what does not, and the reason.

use greenroom_protocol::{ErrorCode, Json, Values};
use serde_json::json;

use super::failures;
use crate::agent::Expectation;

fn values(value: Json) -> Values {
    value.as_object().unwrap().clone().into_iter().collect()
}

fn outputs() -> Values {
    values(json!({
        "summary": "Revenue was  $4.2 million,\n12% above Q3.",
        "rows": [{ "amount": 5, "currency": "EUR" }, { "amount": 7.5, "currency": "USD" }],
        "empty": [], "count": 3, "nothing": null
    }))
}

fn expectation(value: Json) -> Expectation {
    serde_json::from_value(value).unwrap()
}

/// The reasons of the assertions that do not hold.
fn reasons(expect: Json) -> Vec<String> {
    failures(&expectation(expect), Ok(&outputs())).into_iter().map(|failure| failure.reason).collect()
}

#[test]
fn assertions_that_hold() {
    for holds in [
        json!({ "path": "count", "equals": 3.0 }),
        json!({ "path": "rows[0]", "equals": { "amount": 5.0, "currency": "EUR" } }),
        json!({ "path": "summary", "contains": ["revenue WAS $4.2 million", "12%"], "not_contains": "13%" }),
        json!({ "path": "rows", "contains": ["7.5", "eur"] }),
        json!({ "contains": "q3" }),
        json!({ "path": "rows[*].currency", "one_of": ["EUR", "USD"], "length": 3, "matches": "^[A-Z]+$" }),
        json!({ "path": "rows[*].amount", "minimum": 5, "maximum": 7.5 }),
        json!({ "path": "rows", "length": { "minimum": 2 } }),
        json!({ "path": "empty", "length": 0 }),
        json!({ "path": "nothing", "not_contains": "x" }),
        json!({ "path": "absent.deep", "not_contains": ["x"] }),
    ] {
        assert_eq!(reasons(json!([holds])), [] as [String; 0], "{holds}");
    }
}

#[test]
fn an_assertion_that_does_not_hold_has_a_reason() {
    for (fails, reason) in [
        (json!({ "path": "count", "equals": "3" }), "`count` is 3"),
        (json!({ "path": "count", "one_of": [1, 2] }), "`count` is 3"),
        (json!({ "path": "rows[*].currency", "equals": "EUR" }), "`rows[1].currency` is \"USD\""),
        (
            json!({ "path": "rows[1].currency", "contains": "EUR" }),
            "`rows[1].currency` does not contain \"EUR\": \"USD\"",
        ),
        (json!({ "path": "rows[0].currency", "not_contains": "eu" }), "`rows[0].currency` contains \"eu\": \"EUR\""),
        (json!({ "path": "rows[0].currency", "matches": "^E$" }), "`rows[0].currency` does not match \"^E$\": \"EUR\""),
        (json!({ "path": "rows[*].amount", "maximum": 6 }), "`rows[1].amount` is 7.5"),
        (
            json!({ "path": "summary", "minimum": 6 }),
            "`summary` is no number: \"Revenue was  $4.2 million,\\n12% above Q3.\"",
        ),
        (json!({ "path": "empty", "length": { "minimum": 1 } }), "`empty` has the length 0: []"),
        (json!({ "path": "count", "length": 1 }), "`count` has no length: 3"),
        (json!({ "path": "empty[*]", "contains": "a" }), "`empty` has no items"),
        (json!({ "path": "nothing", "contains": "a", "not_contains": "b" }), "there is no `nothing`"),
        (json!({ "path": "rows[2].amount", "minimum": 1 }), "there is no `rows[2]`"),
        (json!({ "fails": "missing_input" }), "the execution succeeded"),
    ] {
        assert_eq!(reasons(json!([fails])), [reason], "{fails}");
    }
}

#[test]
fn every_failure_names_its_assertion() {
    let found = failures(
        &expectation(json!([{ "path": "count", "equals": 3 }, { "path": "count", "equals": 4 }])),
        Ok(&outputs()),
    );
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].number, found[0].assertion.as_str()), (1, r#"{"path":"count","equals":4}"#));
}

#[test]
fn an_execution_that_fails_holds_only_where_its_code_is_expected() {
    let end = Err(ErrorCode::MissingInput);
    assert!(failures(&expectation(json!([{ "fails": "missing_input" }])), end).is_empty());
    for expect in [json!([{ "fails": "invalid_input" }]), json!([{ "path": "count", "equals": 3 }]), json!([])] {
        let found = failures(&expectation(expect.clone()), end);
        assert_eq!(found[0].reason, "the execution failed with `missing_input`", "{expect}");
    }
}

#[test]
fn the_older_form_compares_whole_outputs() {
    let found = failures(&expectation(json!({ "count": 3, "empty": [1] })), Ok(&outputs()));
    assert_eq!(found.iter().map(|failure| failure.reason.as_str()).collect::<Vec<_>>(), ["`empty` is []"]);
}
