//! Finds the JSON objects of an answer as models write it: alone, in a fence with words around it, after a block of
//! thoughts, or as a JSON text that contains JSON.

mod relaxed_json;

use std::borrow::Cow;

use greenroom_protocol::Json;
use serde_json::Map;

use crate::json_text::replace_lone_surrogates;

/// Braces that may begin no object before the search ends, since each costs a scan of the rest of the answer.
const FALSE_STARTS_MAX: u32 = 32;
/// Objects of one answer that are considered.
const OBJECTS_MAX: usize = 16;
/// The tags around the thoughts of a model. The first one may be missing: some prompts end with it.
const THOUGHT_TAGS: [(&str, &str); 6] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("<analysis>", "</analysis>"),
    ("[THINK]", "[/THINK]"),
];
/// What begins the content of each channel of an answer in OpenAI's format `harmony`, if a server does not split it: the
/// thoughts are in the first channels, and the answer is in the last.
const CHANNEL_CONTENT: &str = "<|message|>";

/// An object of an answer.
pub(super) type JsonObject = Map<String, Json>;

/// What an answer has.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FoundObjects {
    /// The distinct objects, in their order.
    pub(super) objects: Vec<JsonObject>,
    /// Why the text of an object is none, in the words of the parser, if every object is within it or there is none.
    pub(super) problem: Option<String>,
}

/// The objects of an answer. An answer that is one object as a whole has just that one, and objects within thoughts
/// count only if there is no other.
pub(super) fn find_objects(text: &str) -> FoundObjects {
    let text = readable(text.trim());
    match serde_json::from_str::<Json>(&text) {
        Ok(Json::Object(object)) => return FoundObjects { objects: vec![object], problem: None },
        Ok(Json::String(inner)) => return outer_objects(&readable(&inner)),
        Ok(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_)) | Err(_) => {}
    }
    let after_thoughts = outer_objects(skip_thoughts(&text));
    if !after_thoughts.objects.is_empty() {
        return after_thoughts;
    }
    let everywhere = outer_objects(&text);
    FoundObjects { problem: after_thoughts.problem.or(everywhere.problem), objects: everywhere.objects }
}

/// A model may cut a text between the halves of a surrogate pair; no parser accepts the half.
fn readable(text: &str) -> Cow<'_, str> {
    replace_lone_surrogates(text, |_| char::REPLACEMENT_CHARACTER.to_string())
}

/// The text after the thoughts at its beginning.
fn skip_thoughts(text: &str) -> &str {
    let mut rest = match text.starts_with("<|").then(|| text.rsplit_once(CHANNEL_CONTENT)).flatten() {
        Some((_, content)) => content,
        None => text,
    };
    for (open, close) in THOUGHT_TAGS {
        let Some((thoughts, answer)) = split_once_ignore_case(rest, close) else { continue };
        // Without the first tag, everything before the last one is a thought, unless it is an answer already.
        if starts_with_ignore_case(thoughts.trim_start(), open) || !thoughts.trim_start().starts_with(['{', '`']) {
            rest = answer;
        }
    }
    rest
}

fn starts_with_ignore_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn split_once_ignore_case<'t>(text: &'t str, tag: &str) -> Option<(&'t str, &'t str)> {
    let at = text
        .match_indices(['<', '['])
        .map(|(at, _)| at)
        .find(|at| text.get(*at..).is_some_and(|rest| starts_with_ignore_case(rest, tag)))?;
    Some((text.get(..at)?, text.get(at + tag.len()..)?))
}

/// The distinct objects of a text that are in no other object.
fn outer_objects(text: &str) -> FoundObjects {
    let (mut objects, mut rest, mut false_starts) = (Vec::new(), text, 0);
    let mut broken: Option<BrokenObject> = None;
    while let Some(start) = rest.find('{').filter(|_| false_starts < FALSE_STARTS_MAX && objects.len() < OBJECTS_MAX) {
        let candidate = rest.get(start..).unwrap_or_default();
        let length = match object_at_start(candidate) {
            Ok((object, length)) => {
                broken = broken.filter(|broken| candidate.len() > broken.bytes_after);
                if !objects.contains(&object) {
                    objects.push(object);
                }
                length
            }
            Err(problem) => {
                false_starts += 1;
                if objects.is_empty() && broken.is_none() && begins_as_object(candidate) {
                    let bytes_after =
                        candidate.len() - relaxed_json::object_length(candidate).unwrap_or(candidate.len());
                    broken = Some(BrokenObject { problem, bytes_after });
                }
                1
            }
        };
        rest = candidate.get(length..).unwrap_or_default();
    }
    FoundObjects { objects, problem: broken.map(|broken| broken.problem) }
}

/// A text that begins as an object and is none.
struct BrokenObject {
    problem: String,
    /// The bytes of the answer after it.
    bytes_after: usize,
}

/// True if a text begins as an object does, and not as words in braces do.
fn begins_as_object(text: &str) -> bool {
    let inner = text.get(1..).unwrap_or_default().trim_start();
    inner.is_empty() || inner.starts_with(['"', '/', '\''])
}

/// The object at the beginning of a text, and its length. Only if it is no JSON, three habits of models that leave
/// no doubt are read too: a raw line feed within a string, a comma after the last member, and a comment.
///
/// # Errors
/// The words of the parser, or the number that JSON does not have if nothing else is wrong.
fn object_at_start(text: &str) -> Result<(JsonObject, usize), String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<JsonObject>();
    let error = match values.next() {
        Some(Ok(object)) => return Ok((object, values.byte_offset())),
        Some(Err(error)) => error.to_string(),
        None => String::new(),
    };
    let Some(corrected) = relaxed_json::object(text) else { return Err(error) };
    match (serde_json::from_str(&corrected.json), corrected.not_in_json) {
        (Ok(object), None) => Ok((object, corrected.length)),
        (Ok(_), Some(number)) => Err(number.describe(text)),
        (Err(_), _) => Err(error),
    }
}

#[cfg(test)]
mod tests;
