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
    let level =
        |next: String| json!({ "type": "object", "properties": { "a": { "$ref": next }, "b": { "$ref": next } } });
    let mut root = json!({ "n40": { "type": "string" } });
    for number in 0..40 {
        root[format!("n{number}")] = level(format!("#/n{}", number + 1));
    }
    let text = read(&root, "#/n0").to_string();
    assert!(text.len() < 200_000, "{}", text.len());
}

#[test]
fn references_do_not_multiply_the_texts_and_the_lists_of_a_document() {
    let text = "x".repeat(TEXT_BYTES_MAX);
    let values: Vec<String> = (0..ENUM_VALUES_MAX).map(|at| format!("{at:0>400}")).collect();
    let read_only = json!({ "readOnly": true });
    let many: Map<String, Json> = (0..20_000).map(|at| (format!("p{at}"), read_only.clone())).collect();
    let root = json!({
        "leaf": { "type": "string", "description": text, "enum": values },
        "wide": { "type": "object", "properties": many },
        "node": { "anyOf": vec![json!({ "$ref": "#/leaf" }); 5_000] },
        "root": { "oneOf": vec![json!({ "$ref": "#/node" }); 5_000], "items": { "$ref": "#/wide" } },
    });
    let schema = read(&root, "#/root");
    assert!(schema.to_string().len() < 2 * ALL_TEXT_BYTES_MAX, "{}", schema.to_string().len());
    assert!(schema.get("oneOf").is_none(), "a part of the alternatives is none of them");
}

#[test]
fn what_only_a_model_would_read_is_left_out() {
    let root = json!({ "a": {
        "type": "obey the server", "description": "a\u{e0041}b",
        "properties": { "x\u{200b}": {}, "y": { "enum": ["\u{2066}z"] } },
    } });
    assert_eq!(read(&root, "#/a"), json!({ "description": "ab", "properties": { "y": {} } }));
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
