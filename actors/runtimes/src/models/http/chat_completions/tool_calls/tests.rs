//! Calls that are assembled from the pieces of each kind of server.

use serde_json::json;

use super::*;

/// The ids, names and arguments of the calls that these entries make.
fn assembled(entries: &[Json]) -> Vec<(String, String, Json)> {
    let mut calls = ToolCalls::default();
    for entry in entries {
        calls.add(entry, false).unwrap();
    }
    calls.finish().into_iter().map(|call| (call.id, call.name, call.arguments)).collect()
}

fn call(id: &str, name: &str, arguments: Json) -> (String, String, Json) {
    (id.to_owned(), name.to_owned(), arguments)
}

#[test]
fn pieces_are_matched_by_id_else_by_index_else_by_order() {
    let piece = |text: &str| json!({ "arguments": text });
    let named = |text: &str| json!({ "name": "f", "arguments": text });
    let two = [call("a", "f", json!({ "x": 1 })), call("b", "f", json!({ "y": 2 }))];
    for entries in [
        // OpenAI: the id and the name once, then the index.
        vec![
            json!({ "index": 0, "id": "a", "function": named("{\"x\"") }),
            json!({ "index": 1, "id": "b", "function": named("") }),
            json!({ "index": 0, "function": piece(": 1}") }),
            json!({ "index": 1, "id": null, "function": piece("{\"y\": 2}") }),
        ],
        // Whole calls that all have index 0.
        vec![
            json!({ "index": 0, "id": "a", "function": named("{\"x\": 1}") }),
            json!({ "index": 0, "id": "b", "function": named("{\"y\": 2}") }),
        ],
        // No index; the id in every piece.
        vec![
            json!({ "id": "a", "function": named("{\"x\"") }),
            json!({ "id": "b", "function": named("{\"y\": ") }),
            json!({ "id": "a", "function": piece(": 1}") }),
            json!({ "id": "b", "function": piece("2}") }),
        ],
        // No index; the id once.
        vec![
            json!({ "id": "a", "function": named("{\"x\"") }),
            json!({ "function": piece(": 1}") }),
            json!({ "id": "b", "function": named("{\"y\": 2}") }),
        ],
        // The name repeated in every piece.
        vec![
            json!({ "index": 0, "id": "a", "function": named("{\"x\"") }),
            json!({ "index": 0, "id": "a", "function": named(": 1}") }),
            json!({ "index": 1, "id": "b", "function": named("{\"y\": 2}") }),
        ],
        // An id of its own for every piece.
        vec![
            json!({ "index": 0, "id": "a", "function": named("{\"x\"") }),
            json!({ "index": 0, "id": "a2", "function": piece(": 1}") }),
            json!({ "index": 1, "id": "b", "function": named("{\"y\": 2}") }),
        ],
    ] {
        assert_eq!(assembled(&entries), two, "{entries:?}");
    }
}

#[test]
fn calls_without_an_id_get_one_of_their_own() {
    let whole = |text: &str| json!({ "function": { "name": "f", "arguments": text } });
    let two = [call("call_0", "f", json!({ "x": 1 })), call("call_1", "f", json!({ "y": 2 }))];
    assert_eq!(assembled(&[whole("{\"x\": 1}"), whole("{\"y\": 2}")]), two);
    let same = |index: u32, text: &str| json!({ "index": index, "id": "call_1", "function": { "name": "f", "arguments": text } });
    let ids: Vec<String> =
        assembled(&[same(0, "{\"x\": 1}"), same(1, "{\"y\": 2}")]).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids, ["call_1", "call_2"], "an id that is used twice");
    let different = [whole("{}"), json!({ "function": { "name": "g" } }), json!({ "name": "h", "arguments": "" })];
    let names: Vec<String> = assembled(&different).into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(names, ["f", "g", "h"]);
}

#[test]
fn arguments_are_what_the_model_gave() {
    for (sent, expected) in [
        (json!({ "x": 1 }), json!({ "x": 1 })),
        (json!("{\"x\": 1}"), json!({ "x": 1 })),
        (json!("\"{\\\"x\\\": 1}\""), json!({ "x": 1 })),
        (json!(""), Json::Null),
        (json!("null"), Json::Null),
        (Json::Null, Json::Null),
        (json!("[]"), json!([])),
        (json!([1]), json!([1])),
    ] {
        let entry = json!({ "id": "a", "function": { "name": "f", "arguments": sent } });
        assert_eq!(assembled(std::slice::from_ref(&entry)), [call("a", "f", expected)], "{entry}");
    }
    assert!(ToolCalls::default().add(&json!(7), false).is_err());
}

#[test]
fn an_empty_value_replaces_no_arguments() {
    let piece = |arguments: Json| json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": arguments } });
    let expected = [call("a", "f", json!({ "x": 1 }))];
    for pieces in [
        vec![json!({}), json!("{\"x\": 1}")],
        vec![json!("{\"x\""), json!(": 1}"), json!({})],
        vec![json!([]), json!("{\"x\": 1}")],
        vec![json!("null"), json!("{\"x\": 1}")],
        vec![json!("[]"), json!("{\"x\": 1}")],
        vec![json!({}), json!({ "x": 1 })],
        vec![json!({ "x": 1 }), json!({})],
        vec![json!({ "x": 1 }), json!("{}")],
        vec![json!(false), json!("{\"x\": 1}")],
    ] {
        let entries: Vec<Json> = pieces.iter().cloned().map(piece).collect();
        assert_eq!(assembled(&entries), expected, "{pieces:?}");
    }
    let unnamed = json!({ "index": 0, "function": { "arguments": "{\"x\": 1}" } });
    assert_eq!(assembled(&[piece(json!({})), unnamed]), expected);
    let repeated = |arguments: Json| json!({ "index": 0, "function": { "name": "f", "arguments": arguments } });
    let entries = [repeated(json!({})), repeated(json!("{\"x\"")), repeated(json!(": 1}"))];
    assert_eq!(assembled(&entries), [call("call_0", "f", json!({ "x": 1 }))], "the name in every piece");
    assert_eq!(assembled(&[piece(json!({}))]), [call("a", "f", json!({}))], "empty arguments alone are what they are");
}

#[test]
fn arguments_are_found_in_each_servers_member() {
    let expected = [call("a", "f", json!({ "x": 1 }))];
    let (text, object) = ("{\"x\": 1}", json!({ "x": 1 }));
    for entry in [
        json!({ "id": "a", "function": { "name": "f" }, "arguments": text }),
        json!({ "id": "a", "function": { "name": "f", "arguments": "" }, "arguments": object }),
        json!({ "id": "a", "function": { "name": "f", "arguments": {} }, "input": object }),
        json!({ "id": "a", "function": { "name": "f", "parameters": object } }),
        json!({ "id": "a", "function": { "name": "f", "input": text } }),
        json!({ "id": "a", "function": { "name": "f" }, "input": object }),
        json!({ "id": "a", "name": "f", "input": object }),
        json!({ "id": "a", "function": "f", "arguments": text }),
        json!({ "id": "a", "function": { "name": "f", "arguments": text, "parameters": { "type": "object" } } }),
    ] {
        assert_eq!(assembled(std::slice::from_ref(&entry)), expected, "{entry}");
    }
    let absent = json!({ "id": "a", "function": { "name": "f" } });
    assert_eq!(assembled(&[absent]), [call("a", "f", Json::Null)]);
}

#[test]
fn an_index_is_a_number_in_whatever_form() {
    for (zero, one) in [(json!("0"), json!("1")), (json!(0.0), json!(1.0)), (json!(0), json!("1"))] {
        let named =
            |index: &Json, id: &str| json!({ "index": index, "id": id, "function": { "name": "f", "arguments": "" } });
        let piece = |index: &Json, text: &str| json!({ "index": index, "function": { "arguments": text } });
        let entries = [
            named(&zero, "a"),
            named(&one, "b"),
            piece(&zero, "{\"x\""),
            piece(&one, "{\"y\": 2}"),
            piece(&zero, ": 1}"),
        ];
        assert_eq!(assembled(&entries), [call("a", "f", json!({ "x": 1 })), call("b", "f", json!({ "y": 2 }))]);
    }
    let numbered = |id: u32, text: &str| json!({ "id": id, "function": { "name": "f", "arguments": text } });
    let entries = [numbered(17, "{\"x\""), numbered(18, "{\"y\": 2}"), numbered(17, ": 1}")];
    let expected = [call("17", "f", json!({ "x": 1 })), call("18", "f", json!({ "y": 2 }))];
    assert_eq!(assembled(&entries), expected, "ids that are numbers");
}

#[test]
fn a_name_in_pieces_is_joined() {
    let piece = |name: &str, text: &str| json!({ "index": 0, "function": { "name": name, "arguments": text } });
    let first = |name: &str| json!({ "index": 0, "id": "a", "function": { "name": name, "arguments": "" } });
    let expected = [call("a", "calculator", json!({ "x": 1 }))];
    for entries in [
        [first("calcu"), piece("lator", ""), piece("", "{\"x\": 1}")],
        [first("calcu"), first("lator"), piece("", "{\"x\": 1}")],
        [first("calcu"), first("calculator"), piece("", "{\"x\": 1}")],
        [first("calculator"), piece("calculator", "{\"x\""), piece("calculator", ": 1}")],
    ] {
        assert_eq!(assembled(&entries), expected, "{entries:?}");
    }
}
