//! Assembles tool calls from their pieces. A piece belongs to the call with its id; without an id, to the last call with
//! its index; without either, to the last call, unless it begins another one with a name of its own.

use greenroom_actors::model::{ModelError, ToolCall};
use greenroom_protocol::Json;
use serde::de::IgnoredAny;

use super::events::malformed;
use super::surrogates::Joiner;
use crate::models::http::tool_arguments;

/// Maximum tool calls of one answer that are assembled.
const CALLS_MAX: usize = 256;

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct ToolCalls(Vec<PartialCall>);

/// A call so far.
#[derive(Debug, Default)]
struct PartialCall {
    id: String,
    index: Option<u64>,
    name: String,
    /// The pieces of the arguments.
    text: String,
    joiner: Joiner,
    /// Arguments that are no text.
    value: Option<Json>,
}

/// One entry of a chunk.
struct Entry<'e> {
    id: Option<&'e str>,
    index: Option<u64>,
    name: Option<&'e str>,
    arguments: &'e Json,
}

impl Entry<'_> {
    /// True if nothing of a call is in it.
    fn is_blank(&self) -> bool {
        let has_arguments = !self.arguments.is_null() && self.arguments.as_str() != Some("");
        self.id.is_none() && self.name.is_none() && !has_arguments
    }
}

impl ToolCalls {
    /// True if no call has begun.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an entry of `tool_calls`, or the only call of a server that sends `function_call`.
    ///
    /// # Errors
    /// [`ModelError::MalformedResponse`] if it is no object, or if there are too many calls.
    pub(super) fn add(&mut self, entry: &Json, has_markers: bool) -> Result<(), ModelError> {
        // Gateways put empty calls into every chunk.
        if entry.is_null() {
            return Ok(());
        }
        let function = entry.get("function").filter(|function| function.is_object()).unwrap_or(entry);
        if !function.is_object() {
            return Err(malformed("a tool call has a wrong type"));
        }
        let entry = Entry {
            id: entry.get("id").and_then(Json::as_str).filter(|id| !id.is_empty()),
            index: entry.get("index").and_then(Json::as_u64),
            name: function.get("name").and_then(Json::as_str).filter(|name| !name.is_empty()),
            arguments: function.get("arguments").unwrap_or(&Json::Null),
        };
        let at = match self.find(&entry) {
            Some(at) => at,
            None if entry.is_blank() => return Ok(()),
            None if self.0.len() >= CALLS_MAX => {
                return Err(malformed(format!("the answer has more than {CALLS_MAX} tool calls")));
            }
            None => {
                self.0.push(PartialCall { index: entry.index, ..PartialCall::default() });
                self.0.len() - 1
            }
        };
        if let Some(call) = self.0.get_mut(at) {
            call.add(&entry, has_markers);
        }
        Ok(())
    }

    /// The call that an entry continues.
    fn find(&self, entry: &Entry<'_>) -> Option<usize> {
        if let Some(at) = entry.id.and_then(|id| self.0.iter().rposition(|call| call.id == id)) {
            let has_another_index = |call: &PartialCall| {
                entry.name.is_some() && call.index.zip(entry.index).is_some_and(|(one, other)| one != other)
            };
            return Some(at).filter(|at| !self.0.get(*at).is_some_and(has_another_index));
        }
        let at = match entry.index {
            Some(index) => self.0.iter().rposition(|call| call.index == Some(index))?,
            None => self.0.len().checked_sub(1)?,
        };
        let call = self.0.get(at)?;
        let continues = match (entry.id, entry.name) {
            // Some servers make up an id for each piece.
            (_, None) => true,
            (Some(_), Some(_)) if !call.id.is_empty() => false,
            // Some servers repeat the name in each piece.
            (Some(_) | None, Some(name)) => call.name.is_empty() || call.name == name && !call.is_complete(),
        };
        continues.then_some(at)
    }

    /// Finishes the calls. Each has an id that no other has: the results refer to it.
    pub(super) fn finish(&mut self) -> Vec<ToolCall> {
        let mut finished: Vec<ToolCall> = Vec::new();
        for (number, call) in std::mem::take(&mut self.0).into_iter().enumerate() {
            let PartialCall { id, name, mut text, mut joiner, value, .. } = call;
            text.push_str(&joiner.finish().unwrap_or_default());
            let is_used = |id: &str| finished.iter().any(|other| other.id == id);
            let id = match id {
                id if !id.is_empty() && !is_used(&id) => id,
                _ => (number..).map(|number| format!("call_{number}")).find(|id| !is_used(id)).unwrap_or_default(),
            };
            let arguments = tool_arguments::decode(value.unwrap_or(Json::String(text)));
            finished.push(ToolCall { id, name, arguments });
        }
        finished
    }
}

impl PartialCall {
    fn add(&mut self, entry: &Entry<'_>, has_markers: bool) {
        if self.id.is_empty() {
            entry.id.unwrap_or_default().clone_into(&mut self.id);
        }
        if self.name.is_empty() {
            entry.name.unwrap_or_default().clone_into(&mut self.name);
        }
        self.index = self.index.or(entry.index);
        match entry.arguments {
            Json::Null => {}
            Json::String(piece) => self.text.push_str(&self.joiner.join(piece.clone(), has_markers)),
            Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                self.value = Some(entry.arguments.clone());
            }
        }
    }

    /// True if the arguments are a whole document, so that a further piece cannot belong to them.
    fn is_complete(&self) -> bool {
        self.value.is_some() || serde_json::from_str::<IgnoredAny>(&self.text).is_ok()
    }
}

#[cfg(test)]
mod tests {
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
}
