//! Reads the provider's own frames beside genai, for what genai does not pass on: exact usage, a
//! refusal, an end, values of a wrong type, and how many bytes there are.

use std::sync::{Arc, Mutex, PoisonError};

use genai::adapter::AdapterKind;
use genai::chat::{ChatFrameSink, FrameCtx, RawFrameRef};
use greenroom_actors::model::{ModelError, StopReason};
use greenroom_protocol::{Json, Tokens};
use tokio::sync::Notify;

/// Bytes of an answer that has no tokens at all, and bytes that one token may take on the wire.
const ANSWER_BYTES_BASE: u64 = 1024 * 1024;
const TOKEN_BYTES_MAX: u64 = 1024;
/// Reads of the socket that one frame may take. genai keeps what it has read of a frame and shows it to
/// nobody before the frame is whole, so reads are all that can be counted. A frame of 700 KiB comes in
/// so many packets of a network; one read takes 408 KiB at the most over HTTP/1.1, 64 KiB over HTTP/2.
const READS_MAX: u32 = 512;

/// What the frames said so far.
#[derive(Debug, Default)]
struct FrameTotals {
    bytes: u64,
    /// Reads since the last frame.
    reads: u32,
    input: Option<u64>,
    usage: Option<Tokens>,
    refused: bool,
    finish: Option<String>,
    /// The wire's own mark of an end has come.
    marked: bool,
    fault: Option<ModelError>,
}

/// The meter of one answer.
#[derive(Debug)]
pub(super) struct FrameMeter {
    wire: AdapterKind,
    bytes_max: u64,
    seen: Mutex<FrameTotals>,
    alarm: Notify,
}

impl FrameMeter {
    pub(super) fn new(wire: AdapterKind, tokens_max: u32) -> Arc<Self> {
        let bytes_max = ANSWER_BYTES_BASE + u64::from(tokens_max) * TOKEN_BYTES_MAX;
        Arc::new(Self { wire, bytes_max, seen: Mutex::default(), alarm: Notify::new() })
    }

    fn seen<T>(&self, look: impl FnOnce(&mut FrameTotals) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes something down, and raises the alarm where it makes the rest of the answer worthless.
    fn note(&self, take_down: impl FnOnce(&mut FrameTotals)) {
        let is_alarming = self.seen(|seen| {
            take_down(seen);
            seen.fault.is_some()
        });
        if is_alarming {
            self.alarm.notify_one();
        }
    }

    /// The provider's own count, once; only a final one, since half a count is none.
    pub(super) fn reported_usage(&self) -> Option<Tokens> {
        self.seen(|seen| seen.usage.take())
    }

    /// True if the model declined.
    pub(super) fn refused(&self) -> bool {
        self.seen(|seen| seen.refused)
    }

    /// Why the model stopped, if it said so.
    pub(super) fn finish(&self) -> Option<StopReason> {
        self.seen(|seen| seen.finish.as_deref().map(reason))
    }

    /// True if an end without a reason can be believed. On these wires genai makes an end of its own
    /// when the connection closes, so there the provider must have said something.
    pub(super) fn accepts_end(&self) -> bool {
        match self.wire {
            AdapterKind::BedrockApi
            | AdapterKind::Gemini
            | AdapterKind::GeminiIx
            | AdapterKind::Ollama
            | AdapterKind::OllamaCloud
            | AdapterKind::OpenAIResp
            | AdapterKind::Vertex => self.seen(|seen| seen.marked),
            _ => true,
        }
    }

    /// Counts a read that brought no whole frame, or nothing at all.
    pub(super) fn record_read(&self) {
        self.note(|seen| {
            seen.reads = seen.reads.saturating_add(1);
            if seen.reads > READS_MAX {
                let message = format!("one event of the answer took more than {READS_MAX} reads");
                seen.fault.get_or_insert(ModelError::MalformedResponse { message });
            }
        });
    }

    /// Waits for a frame that makes the rest of the answer worthless.
    pub(super) async fn wait_fault(&self) -> ModelError {
        loop {
            self.alarm.notified().await;
            if let Some(fault) = self.fault() {
                return fault;
            }
        }
    }

    /// What made the rest of the answer worthless.
    pub(super) fn fault(&self) -> Option<ModelError> {
        self.seen(|seen| seen.fault.clone())
    }
}

impl ChatFrameSink for FrameMeter {
    fn on_frame(&self, _: &FrameCtx, frame: RawFrameRef<'_>) {
        self.note(|seen| {
            seen.bytes = seen.bytes.saturating_add(frame.data.len() as u64);
            seen.reads = 0;
            if seen.bytes > self.bytes_max && seen.fault.is_none() {
                let message = format!("the answer has more than {} bytes", self.bytes_max);
                seen.fault = Some(ModelError::MalformedResponse { message });
            }
            // What is no JSON is genai's to refuse, except the mark of an end.
            if let Some(document) = frame.json() {
                read(seen, &document);
            }
        });
    }
}

fn read(seen: &mut FrameTotals, document: &Json) {
    match document.get("type").and_then(Json::as_str) {
        Some("message_start") => {
            seen.input = document.pointer("/message/usage").and_then(anthropic_input);
        }
        Some("message_delta") => {
            let usage = document.get("usage").unwrap_or(&Json::Null);
            let input = anthropic_input(usage).or(seen.input);
            if let (Some(input), Some(output)) = (input, usage.get("output_tokens").and_then(Json::as_u64)) {
                seen.usage = Some(Tokens { input, output });
            }
            note_finish(seen, document.pointer("/delta/stop_reason"));
        }
        Some(_) => {}
        None if document.get("candidates").is_some() => read_candidates(seen, document),
        None if document.get("done").is_some() => read_line(seen, document),
        None => read_choices(seen, document),
    }
}

/// What the prompt took, with what was read from and written to the cache.
fn anthropic_input(usage: &Json) -> Option<u64> {
    let input = usage.get("input_tokens")?.as_u64()?;
    let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"];
    Some(cached.iter().filter_map(|name| usage.get(*name)?.as_u64()).fold(input, u64::saturating_add))
}

/// A chunk of Gemini. Each one counts; the count of the last one, which says why it ends, is whole.
fn read_candidates(seen: &mut FrameTotals, document: &Json) {
    let Some(candidates) = document.get("candidates").and_then(Json::as_array) else {
        return wrong_type(seen, "candidates");
    };
    let reason = candidates.first().and_then(|candidate| candidate.get("finishReason"));
    note_finish(seen, reason);
    if reason.is_none() {
        return;
    }
    seen.marked = true;
    let count = |name: &str| document.pointer(&format!("/usageMetadata/{name}")).and_then(Json::as_u64);
    if let (Some(prompt), Some(written)) = (count("promptTokenCount"), count("candidatesTokenCount")) {
        let input = prompt.saturating_add(count("toolUsePromptTokenCount").unwrap_or_default());
        let output = written.saturating_add(count("thoughtsTokenCount").unwrap_or_default());
        seen.usage = Some(Tokens { input, output });
    }
}

/// A line of Ollama; the last one counts.
fn read_line(seen: &mut FrameTotals, document: &Json) {
    match document.pointer("/message/content") {
        None | Some(Json::Null | Json::String(_)) => {}
        Some(Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => wrong_type(seen, "content"),
    }
    if document.get("done").and_then(Json::as_bool) != Some(true) {
        return;
    }
    seen.marked = true;
    note_finish(seen, document.get("done_reason"));
    let count = |name: &str| document.get(name).and_then(Json::as_u64);
    if let (Some(input), Some(output)) = (count("prompt_eval_count"), count("eval_count")) {
        seen.usage = Some(Tokens { input, output });
    }
}

fn read_choices(seen: &mut FrameTotals, document: &Json) {
    for path in ["/usage", "/x_groq/usage"] {
        let Some(usage) = document.pointer(path) else { continue };
        let count = |name: &str| usage.get(name).and_then(Json::as_u64);
        if let (Some(input), Some(output)) = (count("prompt_tokens"), count("completion_tokens")) {
            seen.usage = Some(Tokens { input, output });
        }
    }
    let choices = match document.get("choices") {
        Some(Json::Array(choices)) => choices,
        None | Some(Json::Null) => return,
        Some(_) => return wrong_type(seen, "choices"),
    };
    let Some(choice) = choices.first() else { return };
    match choice.pointer("/delta/content") {
        None | Some(Json::Null | Json::String(_) | Json::Array(_)) => {}
        Some(Json::Bool(_) | Json::Number(_) | Json::Object(_)) => wrong_type(seen, "content"),
    }
    if choice.pointer("/delta/refusal").and_then(Json::as_str).is_some_and(|said| !said.is_empty()) {
        seen.refused = true;
    }
    note_finish(seen, choice.get("finish_reason"));
}

fn note_finish(seen: &mut FrameTotals, reason: Option<&Json>) {
    match reason {
        None | Some(Json::Null) => {}
        Some(Json::String(reason)) => seen.finish = Some(reason.clone()),
        Some(_) => wrong_type(seen, "the reason of the end"),
    }
}

fn wrong_type(seen: &mut FrameTotals, what: &str) {
    seen.fault.get_or_insert_with(|| ModelError::MalformedResponse { message: format!("{what} has a wrong type") });
}

/// The provider's word for an end.
fn reason(text: &str) -> StopReason {
    // Amazon Bedrock's words for it, which genai does not know.
    if matches!(text, "content_filtered" | "guardrail_intervened") {
        return StopReason::Refusal;
    }
    match genai::chat::StopReason::from(text.to_owned()) {
        genai::chat::StopReason::Completed(_) | genai::chat::StopReason::StopSequence(_) => StopReason::Complete,
        genai::chat::StopReason::MaxTokens(_) => StopReason::Length,
        genai::chat::StopReason::ToolCall(_) => StopReason::Tools,
        genai::chat::StopReason::ContentFilter(_) => StopReason::Refusal,
        genai::chat::StopReason::Other(text) => StopReason::Other(text),
    }
}

/// genai's word for an end.
pub(super) fn reason_of(said: &genai::chat::StopReason) -> StopReason {
    reason(said.raw())
}
