//! The documents of a response → deltas. A chunk of a stream and the one document of a server that cannot stream are
//! read alike: the first has `delta` where the second has `message`.

use std::collections::VecDeque;

use greenroom_actors::model::{Delta, ModelError, StopReason};
use greenroom_protocol::Json;

use super::events::{Document, malformed};
use super::surrogates::Joiner;
use super::tool_calls::ToolCalls;
use crate::models::http::endpoint::Redactor;
use crate::models::http::error::{self, is_blank};
use crate::models::http::stop_reason;
use crate::models::http::usage::{self, UsageRecord};

/// The members of a delta that have reasoning.
const REASONING: [&str; 3] = ["reasoning_content", "reasoning", "reasoning_details"];

/// The content of the chunks so far.
#[derive(Debug)]
pub(super) struct ChunkReader {
    redactor: Redactor,
    text: Joiner,
    tool_calls: ToolCalls,
    usage: UsageRecord,
    stop: Option<StopReason>,
    has_refusal: bool,
    /// True if a document has arrived.
    has_begun: bool,
}

impl ChunkReader {
    pub(super) fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            text: Joiner::default(),
            tool_calls: ToolCalls::default(),
            usage: UsageRecord::default(),
            stop: None,
            has_refusal: false,
            has_begun: false,
        }
    }

    /// True if the server has reported why the model stopped: nothing but a count follows.
    pub(super) const fn has_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Adds the deltas of a document.
    ///
    /// # Errors
    /// The failure that the document reports, or [`ModelError::MalformedResponse`].
    pub(super) fn read(&mut self, document: &Document, deltas: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        self.has_begun = true;
        match &document.json {
            Json::Array(documents) => {
                documents.iter().try_for_each(|json| self.read_object(json, document.has_markers, deltas))
            }
            json => self.read_object(json, document.has_markers, deltas),
        }
    }

    fn read_object(&mut self, json: &Json, has_markers: bool, deltas: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        if let Some(reported) = reported_error(json) {
            return Err(error::from_event(reported, &self.redactor));
        }
        for path in ["/usage", "/x_groq/usage", "/choices/0/usage"] {
            if let Some(counts) = json.pointer(path).and_then(usage::chat_completions) {
                self.usage.record(counts);
            }
        }
        let choices = match json.get("choices") {
            Some(Json::Array(choices)) => choices,
            None | Some(Json::Null) => return Ok(()),
            Some(_) => return Err(wrong_type("choices")),
        };
        let is_first = |choice: &&Json| choice.get("index").and_then(Json::as_u64).unwrap_or_default() == 0;
        let Some(choice) = choices.iter().find(is_first) else { return Ok(()) };
        // OpenRouter reports the failure of a provider in the choice that it ends.
        if choice.get("error").is_some_and(|error| !is_blank(error)) {
            return Err(error::from_event(choice, &self.redactor));
        }
        for name in ["delta", "message"] {
            match choice.get(name) {
                Some(delta @ Json::Object(_)) => self.read_delta(delta, has_markers, deltas)?,
                None | Some(Json::Null) => {}
                Some(_) => return Err(wrong_type(name)),
            }
        }
        match choice.get("finish_reason") {
            None | Some(Json::Null) => {}
            Some(Json::String(reason)) if reason.is_empty() => {}
            Some(Json::String(reason)) => self.stop = Some(stop_reason::parse(reason)),
            Some(_) => return Err(wrong_type("finish_reason")),
        }
        Ok(())
    }

    fn read_delta(&mut self, delta: &Json, has_markers: bool, deltas: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        if REASONING.iter().any(|name| delta.get(*name).is_some_and(|value| !is_blank(value))) {
            deltas.push_back(Delta::Reasoning);
        }
        match delta.get("content") {
            None | Some(Json::Null) => {}
            Some(Json::String(text)) => self.push_text(text, has_markers, deltas),
            Some(Json::Array(parts)) => {
                parts.iter().for_each(|part| self.read_part(part, has_markers, deltas));
            }
            Some(Json::Bool(_) | Json::Number(_) | Json::Object(_)) => return Err(wrong_type("content")),
        }
        if delta.get("refusal").and_then(Json::as_str).is_some_and(|text| !text.is_empty()) {
            self.has_refusal = true;
        }
        match delta.get("tool_calls") {
            None | Some(Json::Null) => {}
            Some(Json::Array(entries)) => {
                entries.iter().try_for_each(|entry| self.tool_calls.add(entry, has_markers))?;
            }
            Some(entry) => self.tool_calls.add(entry, has_markers)?,
        }
        match delta.get("function_call") {
            Some(call @ Json::Object(_)) if !is_blank(call) => self.tool_calls.add(call, has_markers),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads a part of a content that is a list: text, or the thoughts of a model.
    fn read_part(&mut self, part: &Json, has_markers: bool, deltas: &mut VecDeque<Delta>) {
        let text = part.as_str().or_else(|| part.get("text").and_then(Json::as_str));
        match (part.get("type").and_then(Json::as_str), text) {
            (None | Some("text" | "output_text"), Some(text)) => self.push_text(text, has_markers, deltas),
            (Some(_), _) => deltas.push_back(Delta::Reasoning),
            (None, None) => {}
        }
    }

    fn push_text(&mut self, text: &str, has_markers: bool, deltas: &mut VecDeque<Delta>) {
        let text = self.text.join(text.to_owned(), has_markers);
        if !text.is_empty() {
            deltas.push_back(Delta::Text(text));
        }
    }

    /// Adds the deltas of the end. `is_marked` is true if the server has marked it.
    ///
    /// # Errors
    /// [`ModelError::MalformedResponse`] if the answer is not complete.
    pub(super) fn finish(&mut self, is_marked: bool, deltas: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        let stop = match self.stop.take() {
            _ if self.has_refusal => StopReason::Refusal,
            Some(stop) => stop,
            None if is_marked => StopReason::Complete,
            None if self.has_begun => return Err(malformed("the answer broke off")),
            None => return Err(malformed("the server sent no event of an answer")),
        };
        deltas.extend(self.text.finish().map(Delta::Text));
        // A tool call that was truncated at the token limit has incomplete arguments.
        if stop != StopReason::Length && !self.tool_calls.is_empty() {
            deltas.extend(self.tool_calls.finish().into_iter().map(Delta::Tool));
        }
        deltas.extend(self.usage.take().map(Delta::Usage));
        deltas.push_back(Delta::End(stop));
        Ok(())
    }

    /// The count of an answer that failed. Before the stop reason a count is not complete.
    pub(super) const fn take_usage_after_failure(&mut self) -> Option<Delta> {
        if !self.has_stopped() {
            return None;
        }
        match self.usage.take() {
            Some(counts) => Some(Delta::Usage(counts)),
            None => None,
        }
    }
}

/// The failure that a document reports, if it reports one.
fn reported_error(json: &Json) -> Option<&Json> {
    let is_error = |name: &str| json.get(name).is_some_and(|value| value == "error");
    match json.get("error") {
        Some(error) if !is_blank(error) => Some(json),
        _ if is_error("object") || is_error("type") => Some(json),
        Some(_) | None => None,
    }
}

fn wrong_type(member: &str) -> ModelError {
    malformed(format!("{member} has a wrong type"))
}

#[cfg(test)]
mod tests {
    use greenroom_definitions::models::TokenCounts;
    use serde_json::json;

    use super::*;

    fn reader() -> ChunkReader {
        ChunkReader::new(Redactor::for_key("sk-1"))
    }

    fn read(documents: &[Json]) -> Result<Vec<Delta>, ModelError> {
        let mut reader = reader();
        let mut deltas = VecDeque::new();
        for json in documents {
            reader.read(&Document { json: json.clone(), has_markers: false }, &mut deltas)?;
        }
        reader.finish(false, &mut deltas)?;
        Ok(deltas.into())
    }

    fn text(text: &str) -> Delta {
        Delta::Text(text.to_owned())
    }

    #[test]
    fn empty_members_have_no_meaning() {
        let chunk = |delta: Json| json!({ "error": null, "usage": null, "choices": [{ "index": 0, "finish_reason": "", "delta": delta }] });
        let calls = json!([null, {}, { "index": 0, "id": "", "type": "function", "function": { "name": "", "arguments": "" } }]);
        let blank = json!({ "content": null, "tool_calls": calls, "refusal": "", "reasoning_content": "", "function_call": null });
        let last = json!({ "choices": [{ "delta": null, "finish_reason": "stop" }], "error": {} });
        let documents = [chunk(blank), chunk(json!({ "content": "a" })), json!({ "choices": [] }), json!({}), last];
        assert_eq!(read(&documents).unwrap(), [text("a"), Delta::End(StopReason::Complete)]);
    }

    #[test]
    fn one_document_is_an_answer() {
        let message = json!({ "role": "assistant", "content": "a", "reasoning_content": "hm",
            "tool_calls": [{ "id": "x", "function": { "name": "f", "arguments": { "a": 1 } } }] });
        let document = json!({ "object": "chat.completion", "usage": { "prompt_tokens": 5, "completion_tokens": 2 },
            "choices": [{ "index": 0, "message": message, "finish_reason": "tool_calls" }] });
        let deltas = read(&[document]).unwrap();
        assert_eq!(deltas[..2], [Delta::Reasoning, text("a")]);
        assert!(matches!(&deltas[2], Delta::Tool(call) if call.arguments == json!({ "a": 1 })));
        let counts = TokenCounts { input: 5, output: 2, ..TokenCounts::default() };
        assert_eq!(deltas[3..], [Delta::Usage(counts), Delta::End(StopReason::Tools)]);
    }

    #[test]
    fn parts_of_a_content_are_text_or_thoughts() {
        let parts = json!([{ "type": "thinking", "thinking": [{ "type": "text", "text": "hm" }] }, { "type": "text", "text": "a" }, "b"]);
        let chunk = json!({ "choices": [{ "delta": { "content": parts }, "finish_reason": "stop" }] });
        assert_eq!(read(&[chunk]).unwrap(), [Delta::Reasoning, text("a"), text("b"), Delta::End(StopReason::Complete)]);
    }

    #[test]
    fn a_failure_is_found_in_every_position() {
        for document in [
            json!({ "error": { "message": "boom sk-1" } }),
            json!({ "object": "error", "message": "boom sk-1" }),
            json!([{ "error": { "message": "boom sk-1" } }]),
            json!({ "choices": [{ "delta": {} }], "error": "boom sk-1" }),
            json!({ "choices": [{ "delta": {}, "finish_reason": "error", "error": { "message": "boom sk-1" } }] }),
        ] {
            let expected = ModelError::Failed { status: None, message: "boom ***".into() };
            assert_eq!(read(std::slice::from_ref(&document)), Err(expected), "{document}");
        }
    }

    #[test]
    fn an_answer_without_a_reason_or_a_mark_is_not_complete() {
        let chunk = json!({ "choices": [{ "delta": { "content": "a" } }], "usage": { "prompt_tokens": 5, "completion_tokens": 1 } });
        assert_eq!(read(std::slice::from_ref(&chunk)), Err(malformed("the answer broke off")));
        assert_eq!(read(&[]), Err(malformed("the server sent no event of an answer")));
        let mut reader = reader();
        let mut deltas = VecDeque::new();
        reader.read(&Document { json: chunk, has_markers: false }, &mut deltas).unwrap();
        assert_eq!(reader.take_usage_after_failure(), None, "the count of half an answer");
        reader.finish(true, &mut deltas).unwrap();
        assert_eq!(deltas.back(), Some(&Delta::End(StopReason::Complete)));
    }

    #[test]
    fn a_wrong_type_is_malformed() {
        for choice in [
            json!({ "delta": { "content": 5 } }),
            json!({ "delta": "x" }),
            json!({ "delta": {}, "finish_reason": 7 }),
            json!({ "delta": { "tool_calls": "x" } }),
        ] {
            let result = read(&[json!({ "choices": [choice] })]);
            assert!(matches!(result, Err(ModelError::MalformedResponse { .. })), "{result:?}");
        }
        assert!(read(&[json!({ "choices": "x" })]).is_err());
    }
}
