//! Schemas of usual and of hostile documents.

use super::*;

fn read(root: &Json, reference: &str) -> Json {
    let schema = json!({ "$ref": reference });
    // The reader borrows from the document, so that a test needs the schema in it.
    let mut root = root.clone();
    root["test"] = schema;
    SchemaReader::new(&root).read(&root["test"])
}

#[test]
fn a_schema_has_no_references_and_nothing_that_a_client_does_not_send() {
    let root = json!({ "components": { "schemas": {
        "Order": {
            "type": "object", "required": ["id", "lines", "state"], "x-internal": true, "example": {},
            "properties": {
                "id": { "type": "string", "readOnly": true },
                "lines": { "type": "array", "items": { "$ref": "#/components/schemas/Line" }, "maxItems": 9 },
                "state": { "type": "string", "enum": ["open", "done"], "nullable": true, "description": "x" },
            },
        },
        "Line": { "type": "object", "properties": {
            "count": { "type": "integer", "minimum": 0, "exclusiveMinimum": true, "maximum": 5, "exclusiveMaximum": false },
        } },
    } } });
    let expected = json!({
        "type": "object", "required": ["lines", "state"],
        "properties": {
            "lines": { "type": "array", "maxItems": 9, "items": {
                "type": "object", "properties": { "count": { "type": "integer", "exclusiveMinimum": 0, "maximum": 5 } },
            } },
            "state": { "type": ["string", "null"], "enum": ["open", "done"], "description": "x" },
        },
    });
    assert_eq!(read(&root, "#/components/schemas/Order"), expected);
}

#[test]
fn a_reference_to_itself_is_any_object_and_one_to_elsewhere_is_anything() {
    let root = json!({ "node": { "type": "object", "properties": {
        "next": { "$ref": "#/node" }, "other": { "$ref": "https://example.com/x.json" }, "none": { "$ref": "#/none" },
    } }, "loop": { "$ref": "#/loop" } });
    assert_eq!(
        read(&root, "#/node"),
        json!({ "type": "object", "properties": { "next": { "type": "object" }, "other": {}, "none": {} } })
    );
    assert_eq!(read(&root, "#/loop"), json!({ "type": "object" }));
}

#[test]
fn a_schema_that_doubles_at_each_level_is_cut() {
    let level = |next: String| json!({ "type": "object", "properties": { "a": { "$ref": next.clone() }, "b": { "$ref": next } } });
    let mut root = json!({ "n40": { "type": "string" } });
    for number in 0..40 {
        root[format!("n{number}")] = level(format!("#/n{}", number + 1));
    }
    let text = read(&root, "#/n0").to_string();
    assert!(text.len() < 200_000, "{}", text.len());
}

#[test]
fn texts_and_lists_of_a_schema_are_bounded() {
    let long = "x".repeat(10_000);
    let values: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    let root = json!({ "a": { "type": "string", "description": long, "pattern": long, "enum": values } });
    let schema = read(&root, "#/a");
    assert_eq!(schema["description"].as_str().unwrap().len(), TEXT_BYTES_MAX);
    assert!(schema.get("pattern").is_none() && schema.get("enum").is_none());
    for (odd, expected) in [(json!(true), json!(true)), (json!([1]), json!({})), (json!("x"), json!({}))] {
        assert_eq!(read(&json!({ "a": odd }), "#/a"), expected);
    }
}
