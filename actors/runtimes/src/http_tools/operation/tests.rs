//! Operations of usual and of hostile documents.

use super::*;

fn document(paths: Json) -> Json {
    json!({ "openapi": "3.1.0", "paths": paths, "components": {
        "parameters": { "Limit": { "name": "limit", "in": "query", "schema": { "type": "integer" }, "description": "how many" } },
        "schemas": { "Pet": { "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } } },
        "requestBodies": { "Pet": { "required": true, "content": {
            "text/plain": {}, "application/vnd.pet+json": { "schema": { "$ref": "#/components/schemas/Pet" } },
        } } },
        "pathItems": { "Shared": { "get": { "operationId": "shared" } } },
    } })
}

#[test]
fn an_operation_has_one_schema_of_all_its_arguments() {
    let root = document(json!({
        "/pets/{id}": {
            "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
            "put": {
                "operationId": "replace_pet", "summary": "Replaces a pet", "description": "All of it.",
                "parameters": [
                    { "$ref": "#/components/parameters/Limit" },
                    { "name": "id", "in": "query", "schema": { "type": "boolean" } },
                ],
                "requestBody": { "$ref": "#/components/requestBodies/Pet" },
            },
        },
        "/shared": { "$ref": "#/components/pathItems/Shared" },
    }));
    let found = find(&root, None).unwrap();
    assert!(found.skipped.is_empty(), "{:?}", found.skipped);
    assert_eq!(found.operations.keys().collect::<Vec<_>>(), ["replace_pet", "shared"]);
    let operation = &found.operations["replace_pet"];
    assert_eq!((operation.description.as_str(), &operation.method), ("Replaces a pet\n\nAll of it.", &Method::PUT));
    let expected = json!({
        "type": "object", "additionalProperties": false, "required": ["path_id", "body"],
        "properties": {
            "path_id": { "type": "string" }, "query_id": { "type": "boolean" },
            "limit": { "type": "integer", "description": "how many" },
            "body": { "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } },
        },
    });
    assert_eq!(operation.schema, expected);
    assert_eq!(operation.body.as_ref().unwrap().media_type, "application/vnd.pet+json");
    assert_eq!(found.operations["shared"].description, "GET /shared");
}

#[test]
fn a_parameter_with_the_name_of_the_body_does_not_hide_it() {
    let root = document(json!({ "/x": { "post": {
        "operationId": "x", "parameters": [{ "name": "body", "in": "query" }],
        "requestBody": { "content": { "application/json": {} } },
    } } }));
    let operation = find(&root, None).unwrap().operations.remove("x").unwrap();
    assert_eq!(operation.body.unwrap().argument, "request_body");
    assert_eq!(operation.schema["required"], json!([]));
}

#[test]
fn only_the_wanted_operations_are_tools_and_each_of_them_must_be_one() {
    let root = document(json!({
        "/a": { "get": { "operationId": "a" }, "post": { "operationId": "b" } },
        "/c/{id}": { "get": { "operationId": "c" } },
    }));
    let wanted = |ids: &[&str]| {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        find(&root, Some(&ids)).map(|found| found.operations.into_keys().collect::<Vec<_>>())
    };
    assert_eq!(wanted(&["b"]), Ok(vec!["b".to_owned()]));
    assert_eq!(wanted(&[]), Ok(Vec::new()));
    assert_eq!(wanted(&["a", "d"]), Err("the document has no operation with the id `d`".to_owned()));
    assert!(wanted(&["c"]).unwrap_err().contains("the parameter `id` of its path is not declared"));
    let all = find(&root, None).unwrap();
    assert_eq!(all.operations.len(), 2);
    assert!(all.skipped[0].starts_with("GET /c/{id}: the parameter"), "{:?}", all.skipped);
}

#[test]
fn operations_that_refer_to_one_large_schema_are_bounded_together() {
    let properties: Map<String, Json> =
        (0..120).map(|number| (format!("p{number}"), json!({ "description": "x".repeat(500) }))).collect();
    let mut paths = Map::new();
    for number in 0..500 {
        let operation = json!({ "operationId": format!("o{number}"), "parameters": [{ "$ref": "#/large" }] });
        paths.insert(format!("/{number}"), json!({ "get": operation }));
    }
    let mut root = document(Json::Object(paths));
    root["large"] = json!({ "name": "q", "in": "query", "schema": { "type": "object", "properties": properties } });
    let found = find(&root, None).unwrap();
    assert!((200..300).contains(&found.operations.len()), "{}", found.operations.len());
    assert!(found.skipped[0].contains("bytes of schemas"), "{:?}", found.skipped[0]);
}

#[test]
fn ids_that_are_missing_or_unusable_are_no_tools_and_one_that_is_there_twice_is_a_problem() {
    let root = document(json!({
        "/a": { "get": {}, "put": { "operationId": 7 }, "post": { "operationId": "a b" }, "delete": { "operationId": "x".repeat(500) } },
    }));
    let found = find(&root, None).unwrap();
    assert_eq!((found.operations.len(), found.skipped.len()), (0, 4), "{:?}", found.skipped);
    let root = document(json!({ "/a": { "get": { "operationId": "a" } }, "/b": { "get": { "operationId": "a" } } }));
    assert_eq!(find(&root, None).err().unwrap(), "the document has the operation id `a` twice");
}

#[test]
fn a_document_with_too_much_is_refused_or_cut() {
    let many: Map<String, Json> = (0..3_000)
        .map(|number| (format!("/{number}"), json!({ "get": { "operationId": format!("o{number}") } })))
        .collect();
    assert!(find(&document(Json::Object(many)), None).err().unwrap().contains("more than 2000 operations"));
    let parameters: Vec<Json> = (0..100).map(|number| json!({ "name": format!("p{number}"), "in": "query" })).collect();
    let root = document(json!({ "/a": { "get": { "operationId": "a", "parameters": parameters } } }));
    assert!(find(&root, None).unwrap().skipped[0].contains("more than 64 parameters"));
    let many: Vec<Json> = (0..100_000).map(|number| json!({ "name": format!("p{number}"), "in": "query" })).collect();
    let root = document(json!({ "/a": { "parameters": many, "get": { "operationId": "a" } } }));
    assert!(find(&root, None).unwrap().skipped[0].contains("more than 64 parameters"));
    for paths in [json!(null), json!([]), json!({ "/a": 1 }), json!({ "/a": { "$ref": "#/paths/~1a" } })] {
        assert!(find(&document(paths), None).unwrap().operations.is_empty());
    }
    let elsewhere = json!({ "/a": { "get": { "operationId": "a", "parameters": [{ "$ref": "other.yaml" }] } } });
    assert!(find(&document(elsewhere), None).unwrap().skipped[0].contains("elsewhere"));
}
