//! The documents of a response → deltas. A chunk of a stream and the one document of a server that cannot stream are
//! read alike: the first has `delta` where the second has `message`.

use std::collections::VecDeque;

use greenroom_actors::model::{Delta, ModelError, StopReason};
use greenroom_protocol::Json;

use super::events::{Document, malformed};
use super::surrogates::Joiner;
use super::tool_calls::ToolCalls;
use crate::models::http::error::{self, is_blank};
use crate::models::http::stop_reason;
use crate::models::http::usage::{self, UsageRecord};

/// Begins the message about a response without an event.
pub(super) const NO_EVENT: &str = "the server sent no event of an answer";

/// The members of a delta that have reasoning.
const REASONING: [&str; 3] = ["reasoning_content", "reasoning", "reasoning_details"];

/// The members of a document with the words of a report that is no answer.
const REPORTS: [&str; 3] = ["message", "msg", "detail"];

/// The content of the chunks so far.
#[derive(Debug, Default)]
pub(super) struct ChunkReader {
    text: Joiner,
    tool_calls: ToolCalls,
    /// The call of a server that sends `function_call`. One that sends both members means one call.
    function_call: ToolCalls,
    usage: UsageRecord,
    stop: Option<StopReason>,
    /// The index of the choice that is read.
    choice: Option<u64>,
    /// The member of the choice with the text, and that with the calls. What `delta` had is in `message` once more.
    text_from: Option<Member>,
    calls_from: Option<Member>,
    has_refusal: bool,
    progress: Progress,
}

/// What has arrived so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// No document.
    #[default]
    Nothing,
    /// Documents that are no part of an answer.
    Other,
    /// One that is the whole response.
    OtherResponse,
    /// A part of an answer.
    Part,
    /// A document with the whole answer.
    Whole,
}

/// The member of a choice with its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Delta,
    Message,
}

impl Member {
    const fn name(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Message => "message",
        }
    }
}

impl ChunkReader {
    /// True if a document of an answer has arrived.
    pub(super) fn has_part(&self) -> bool {
        self.progress >= Progress::Part
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
        match &document.json {
            Json::Array(documents) => documents.iter().try_for_each(|json| self.read_object(json, document, deltas)),
            json => self.read_object(json, document, deltas),
        }
    }

    fn read_object(
        &mut self,
        json: &Json,
        document: &Document,
        deltas: &mut VecDeque<Delta>,
    ) -> Result<(), ModelError> {
        if let Some(reported) = reported_error(json) {
            return Err(error::from_event(reported));
        }
        for path in ["/usage", "/x_groq/usage", "/choices/0/usage"] {
            if let Some(counts) = json.pointer(path).and_then(usage::chat_completions) {
                self.usage.record(counts);
                self.advance(Progress::Part);
            }
        }
        let choices = match json.get("choices") {
            Some(Json::Array(choices)) => choices,
            // After the stop reason, nothing but the count is of interest.
            None | Some(Json::Null) if is_report(json) && !self.has_stopped() => {
                return Err(error::from_other_document(json));
            }
            None | Some(Json::Null) => {
                self.advance(if document.is_body { Progress::OtherResponse } else { Progress::Other });
                return Ok(());
            }
            Some(_) => return Err(wrong_type("choices")),
        };
        self.advance(Progress::Part);
        let Some(choice) = self.choose(choices) else { return Ok(()) };
        // OpenRouter reports the failure of a provider in the choice that it ends.
        if choice.get("error").is_some_and(|error| !is_blank(error)) {
            return Err(error::from_event(choice));
        }
        for member in [Member::Delta, Member::Message] {
            match choice.get(member.name()) {
                Some(content @ Json::Object(_)) => self.read_content(content, member, document.has_markers, deltas)?,
                None | Some(Json::Null) => {}
                Some(_) => return Err(wrong_type(member.name())),
            }
        }
        let is_completion = document.is_body || json.get("object").is_some_and(|object| object == "chat.completion");
        if is_completion && choice.get(Member::Message.name()).is_some_and(Json::is_object) {
            self.advance(Progress::Whole);
        }
        match choice.get("finish_reason") {
            None | Some(Json::Null) => {}
            Some(Json::String(reason)) if reason.is_empty() => {}
            Some(Json::String(reason)) => self.stop = Some(stop_reason::parse(reason)),
            Some(_) => return Err(wrong_type("finish_reason")),
        }
        Ok(())
    }

    /// The choice that is read: that with the lowest index. Once something was read, it remains the same.
    fn choose<'j>(&mut self, choices: &'j [Json]) -> Option<&'j Json> {
        let current = self.choice;
        let index = |choice: &Json| choice.get("index").and_then(usage::whole_number).or(current).unwrap_or_default();
        let lowest = choices.iter().filter(|choice| choice.is_object()).map(index).min()?;
        let has_content = self.text_from.is_some() || self.calls_from.is_some();
        let chosen = current.filter(|current| has_content || *current <= lowest).unwrap_or(lowest);
        self.choice = Some(chosen);
        choices.iter().find(|choice| choice.is_object() && index(choice) == chosen)
    }

    fn read_content(
        &mut self,
        content: &Json,
        member: Member,
        has_markers: bool,
        deltas: &mut VecDeque<Delta>,
    ) -> Result<(), ModelError> {
        if REASONING.iter().any(|name| content.get(*name).is_some_and(|value| !is_blank(value))) {
            deltas.push_back(Delta::Reasoning);
        }
        if content.get("refusal").and_then(Json::as_str).is_some_and(|text| !text.is_empty()) {
            self.has_refusal = true;
        }
        if member == Member::Delta || self.text_from != Some(Member::Delta) {
            let before = deltas.len();
            self.read_text(content, has_markers, deltas)?;
            if deltas.iter().skip(before).any(|delta| matches!(delta, Delta::Text(_))) {
                self.text_from = Some(member);
            }
        }
        if member == Member::Delta || self.calls_from != Some(Member::Delta) {
            self.read_calls(content, member, has_markers)?;
        }
        Ok(())
    }

    fn read_text(&mut self, delta: &Json, has_markers: bool, deltas: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        match delta.get("content") {
            None | Some(Json::Null) => {}
            Some(Json::String(text)) => self.push_text(text, has_markers, deltas),
            Some(Json::Array(parts)) => {
                parts.iter().for_each(|part| self.read_part(part, has_markers, deltas));
            }
            Some(Json::Bool(_) | Json::Number(_) | Json::Object(_)) => return Err(wrong_type("content")),
        }
        Ok(())
    }

    fn read_calls(&mut self, delta: &Json, member: Member, has_markers: bool) -> Result<(), ModelError> {
        match delta.get("tool_calls") {
            None | Some(Json::Null) => {}
            Some(Json::Array(entries)) => {
                entries.iter().try_for_each(|entry| self.tool_calls.add(entry, has_markers))?;
            }
            Some(entry) => self.tool_calls.add(entry, has_markers)?,
        }
        match delta.get("function_call") {
            Some(call @ Json::Object(_)) if !is_blank(call) => self.function_call.add(call, has_markers)?,
            Some(_) | None => {}
        }
        if !self.tool_calls.is_empty() || !self.function_call.is_empty() {
            self.calls_from = self.calls_from.or(Some(member));
        }
        Ok(())
    }

    fn advance(&mut self, progress: Progress) {
        self.progress = self.progress.max(progress);
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
            None => match self.progress {
                Progress::Whole => StopReason::Complete,
                Progress::Part if is_marked => StopReason::Complete,
                Progress::Part => return Err(malformed("the answer broke off")),
                Progress::OtherResponse => return Err(not_an_answer()),
                Progress::Other if is_marked => return Err(not_an_answer()),
                Progress::Other | Progress::Nothing => return Err(malformed(NO_EVENT)),
            },
        };
        deltas.extend(self.text.finish().map(Delta::Text));
        // A tool call that was truncated at the token limit has incomplete arguments.
        if stop != StopReason::Length {
            let calls = if self.tool_calls.is_empty() { &mut self.function_call } else { &mut self.tool_calls };
            deltas.extend(calls.finish().into_iter().map(Delta::Tool));
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

/// True if a document without choices has words of a report. Some servers have no member of an error.
fn is_report(json: &Json) -> bool {
    let is_words = |name: &str| match json.get(name) {
        Some(Json::String(text)) => !text.trim().is_empty(),
        Some(Json::Array(_) | Json::Object(_)) => name == "detail",
        Some(Json::Null | Json::Bool(_) | Json::Number(_)) | None => false,
    };
    json.get("usage").is_none_or(is_blank) && REPORTS.into_iter().any(is_words)
}

/// The failure of a response with documents that are no part of an answer.
fn not_an_answer() -> ModelError {
    let message = "the response has no `choices`, so it is no answer of chat completions; check the address of the \
                   provider";
    ModelError::Rejected { status: 200, message: message.to_owned() }
}

fn wrong_type(member: &str) -> ModelError {
    malformed(format!("{member} has a wrong type"))
}

#[cfg(test)]
mod tests;
