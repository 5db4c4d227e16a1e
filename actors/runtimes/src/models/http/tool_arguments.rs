//! The arguments of a tool call as models give them, and as a provider takes them back.
//!
//! The arguments are a JSON object, as a text or as an object. Anything else reaches the validation of the tool as it
//! is, so that the model learns what is wrong; it never becomes an empty object.

use greenroom_actors::json_text::replace_lone_surrogates;
use greenroom_protocol::Json;
use serde_json::{Map, json};

/// Values of one text of arguments that are considered.
const VALUES_MAX: usize = 8;

/// Decodes arguments: an object is an object, in whatever it is wrapped; no arguments at all are null.
pub(super) fn decode(raw: Json) -> Json {
    match raw {
        Json::String(text) => decode_text(&text),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => raw,
    }
}

/// Decodes arguments of which a part is a value and a part is a text: some servers begin or end the pieces of the text
/// with an empty object or list, which is no argument.
pub(super) fn decode_parts(value: Option<Json>, text: String) -> Json {
    let text = decode(Json::String(text));
    match value {
        None => text,
        Some(Json::Object(object)) if !object.is_empty() => Json::Object(object),
        Some(value) if is_empty(&text) && (!is_empty(&value) || text.is_null()) => value,
        Some(_) => text,
    }
}

/// True if a value of arguments has none.
pub(super) fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Bool(_) | Json::Number(_) => false,
        Json::String(text) => text.trim().is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
    }
}

fn decode_text(text: &str) -> Json {
    if text.trim().is_empty() {
        return Json::Null;
    }
    let readable = replace_lone_surrogates(text, |_| char::REPLACEMENT_CHARACTER.to_string());
    match serde_json::from_str::<Json>(&readable) {
        // Some models encode the object twice.
        Ok(Json::String(inner)) => match serde_json::from_str::<Json>(&inner) {
            Ok(Json::Object(object)) => Json::Object(object),
            Ok(_) | Err(_) => Json::String(inner),
        },
        Ok(value) => value,
        Err(_) => only_object(&readable).map_or_else(|| Json::String(text.to_owned()), Json::Object),
    }
}

/// The one object with members among several values: some servers begin the text with an empty object, a list or null.
fn only_object(text: &str) -> Option<Map<String, Json>> {
    let mut found: Option<Map<String, Json>> = None;
    for value in serde_json::Deserializer::from_str(text).into_iter::<Json>().take(VALUES_MAX) {
        match (value.ok()?, &found) {
            (value, _) if is_empty(&value) => {}
            (Json::Object(object), None) => found = Some(object),
            (Json::Object(object), Some(other)) if object == *other => {}
            _ => return None,
        }
    }
    found
}

/// The arguments in the history of a conversation, where every API takes an object only.
pub(super) fn as_object(arguments: &Json) -> Json {
    match arguments {
        Json::Object(_) => arguments.clone(),
        Json::Null => json!({}),
        Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => json!({ "arguments": arguments }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_used_in_whatever_it_is_wrapped() {
        let object = json!({ "expression": "2 + 3" });
        let text = object.to_string();
        for raw in [
            object.clone(),
            json!(text),
            json!(format!(" {text}\n")),
            json!(json!(text).to_string()),
            json!(format!("{{}}{text}")),
            json!(format!("null{text}")),
            json!(format!("[]{text}")),
            json!(format!("{text}{text}")),
        ] {
            assert_eq!(decode(raw.clone()), object, "{raw}");
        }
        assert_eq!(decode(json!(r#"{"a": "\ud83d"}"#)), json!({ "a": "\u{fffd}" }));
    }

    #[test]
    fn anything_else_remains_what_it_is() {
        for raw in [json!(""), json!(" "), json!("null"), Json::Null] {
            assert_eq!(decode(raw.clone()), Json::Null, "{raw}");
        }
        assert_eq!(decode(json!("[]")), json!([]));
        assert_eq!(decode(json!([1])), json!([1]));
        assert_eq!(decode(json!("7")), json!(7));
        assert_eq!(decode(json!("{}")), json!({}));
        for text in ["2 + 3", "{\"expression\": ", "{\"a\":1}{\"a\":2}", "{\"a\":1} and more"] {
            assert_eq!(decode(json!(text)), json!(text));
        }
        assert_eq!(decode(json!("\"2 + 3\"")), json!("2 + 3"));
    }

    #[test]
    fn the_history_has_objects_only() {
        assert_eq!(as_object(&json!({ "a": 1 })), json!({ "a": 1 }));
        assert_eq!(as_object(&Json::Null), json!({}));
        assert_eq!(as_object(&json!([1])), json!({ "arguments": [1] }));
    }
}
