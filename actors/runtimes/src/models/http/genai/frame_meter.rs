//! Observes the provider's raw frames beside genai, for what genai does not report: exact usage, a refusal,
//! the end, values of a wrong type, and the number of bytes.

use std::sync::{Arc, Mutex, PoisonError};

use genai::adapter::AdapterKind;
use genai::chat::{ChatFrameSink, FrameCtx, RawFrameRef};
use greenroom_actors::model::{ModelError, StopReason};
use greenroom_definitions::models::TokenCounts;
use greenroom_protocol::Json;
use tokio::sync::Notify;

use crate::models::http::error::is_blank;
use crate::models::http::stop_reason;
use crate::models::http::usage::{self, UsageRecord};

/// Maximum bytes of an answer without tokens, and maximum bytes of one token in transit.
const ANSWER_BYTES_BASE: u64 = 1024 * 1024;
const TOKEN_BYTES_MAX: u64 = 1024;
/// Maximum reads of the socket per frame. genai buffers a frame and reports nothing before it is complete,
/// so only reads can be counted. A frame of 700 KiB arrives in about this many network packets; one read
/// returns at most 408 KiB over HTTP/1.1 and 64 KiB over HTTP/2.
const READS_MAX: u32 = 512;

/// The content of the frames so far.
#[derive(Debug, Default)]
struct FrameTotals {
    bytes: u64,
    /// Reads since the last frame.
    reads: u32,
    input: Option<TokenCounts>,
    usage: UsageRecord,
    has_refusal: bool,
    stop_reason: Option<String>,
    /// True if the end marker of the API has arrived.
    has_end: bool,
    fault: Option<ModelError>,
}

/// The meter of one answer.
#[derive(Debug)]
pub(super) struct FrameMeter {
    api: AdapterKind,
    bytes_max: u64,
    totals: Mutex<FrameTotals>,
    fault_raised: Notify,
}

impl FrameMeter {
    pub(super) fn new(api: AdapterKind, tokens_max: u32) -> Arc<Self> {
        let bytes_max = ANSWER_BYTES_BASE + u64::from(tokens_max) * TOKEN_BYTES_MAX;
        Arc::new(Self { api, bytes_max, totals: Mutex::default(), fault_raised: Notify::new() })
    }

    fn with_totals<T>(&self, read: impl FnOnce(&mut FrameTotals) -> T) -> T {
        read(&mut self.totals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Updates the totals, and wakes the reader if the rest of the answer is unusable.
    fn update(&self, change: impl FnOnce(&mut FrameTotals)) {
        let is_faulty = self.with_totals(|totals| {
            change(totals);
            totals.fault.is_some()
        });
        if is_faulty {
            self.fault_raised.notify_one();
        }
    }

    /// Takes the usage that the provider reported; only a complete count is reported.
    pub(super) fn take_usage(&self) -> Option<TokenCounts> {
        self.with_totals(|totals| totals.usage.take())
    }

    /// True if the model declined to answer.
    pub(super) fn has_refusal(&self) -> bool {
        self.with_totals(|totals| totals.has_refusal)
    }

    /// The stop reason, if the provider reported one.
    pub(super) fn stop_reason(&self) -> Option<StopReason> {
        self.with_totals(|totals| totals.stop_reason.as_deref().map(stop_reason::parse))
    }

    /// True if an end without a stop reason is genuine. For these APIs genai synthesizes an end when the
    /// connection closes, so that only an end marker of the provider proves it.
    pub(super) fn accepts_end(&self) -> bool {
        match self.api {
            AdapterKind::BedrockApi
            | AdapterKind::Gemini
            | AdapterKind::GeminiIx
            | AdapterKind::Ollama
            | AdapterKind::OllamaCloud
            | AdapterKind::OpenAIResp
            | AdapterKind::Vertex => self.with_totals(|totals| totals.has_end),
            _ => true,
        }
    }

    /// Counts a read that completed no frame.
    pub(super) fn record_read(&self) {
        self.update(|totals| {
            totals.reads = totals.reads.saturating_add(1);
            if totals.reads > READS_MAX {
                let message = format!("one event of the answer took more than {READS_MAX} reads");
                totals.fault.get_or_insert(ModelError::MalformedResponse { message });
            }
        });
    }

    /// Waits until the rest of the answer is unusable.
    pub(super) async fn wait_fault(&self) -> ModelError {
        loop {
            self.fault_raised.notified().await;
            if let Some(fault) = self.fault() {
                return fault;
            }
        }
    }

    /// The fault that makes the rest of the answer unusable.
    pub(super) fn fault(&self) -> Option<ModelError> {
        self.with_totals(|totals| totals.fault.clone())
    }
}

impl ChatFrameSink for FrameMeter {
    fn on_frame(&self, _: &FrameCtx, frame: RawFrameRef<'_>) {
        self.update(|totals| {
            totals.bytes = totals.bytes.saturating_add(frame.data.len() as u64);
            totals.reads = 0;
            if totals.bytes > self.bytes_max && totals.fault.is_none() {
                let message = format!("the answer has more than {} bytes", self.bytes_max);
                totals.fault = Some(ModelError::MalformedResponse { message });
            }
            // genai rejects frames that are not JSON, except for the end marker.
            if let Some(document) = frame.json() {
                read_frame(totals, &document);
            }
        });
    }
}

fn read_frame(totals: &mut FrameTotals, document: &Json) {
    match document.get("type").and_then(Json::as_str) {
        Some("message_start") => {
            totals.input = document.pointer("/message/usage").and_then(usage::anthropic_input);
        }
        Some("message_delta") => {
            let counted = document.get("usage").unwrap_or(&Json::Null);
            let input = usage::anthropic_input(counted).filter(|counts| counts.input > 0).or(totals.input);
            if let (Some(input), Some(output)) = (input, usage::anthropic_output(counted)) {
                totals.usage.record(TokenCounts { output, ..input });
            }
            record_stop_reason(totals, document.pointer("/delta/stop_reason"));
        }
        Some(_) => {}
        None if document.get("candidates").is_some() => read_candidates(totals, document),
        None if document.get("promptFeedback").is_some() => read_prompt_feedback(totals, document),
        None if document.get("done").is_some() => read_line(totals, document),
        None => {}
    }
}

/// Reads a chunk of Gemini. Each chunk has a count; that of the last one, which has the stop reason, is
/// complete.
fn read_candidates(totals: &mut FrameTotals, document: &Json) {
    let Some(candidates) = document.get("candidates").and_then(Json::as_array) else {
        return wrong_type(totals, "candidates");
    };
    let reason = candidates.first().and_then(|candidate| candidate.get("finishReason"));
    record_stop_reason(totals, reason);
    if reason.is_none() {
        return read_prompt_feedback(totals, document);
    }
    totals.has_end = true;
    record_gemini_usage(totals, document);
}

/// Reads the verdict of Gemini about a prompt. A blocked prompt has no candidates.
fn read_prompt_feedback(totals: &mut FrameTotals, document: &Json) {
    if document.pointer("/promptFeedback/blockReason").is_some_and(|reason| !is_blank(reason)) {
        (totals.has_refusal, totals.has_end) = (true, true);
        record_gemini_usage(totals, document);
    }
}

fn record_gemini_usage(totals: &mut FrameTotals, document: &Json) {
    if let Some(counts) = document.get("usageMetadata").and_then(usage::gemini) {
        totals.usage.record(counts);
    }
}

/// Reads a line of Ollama; the last one has the count.
fn read_line(totals: &mut FrameTotals, document: &Json) {
    match document.pointer("/message/content") {
        None | Some(Json::Null | Json::String(_)) => {}
        Some(Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => wrong_type(totals, "content"),
    }
    if document.get("done").and_then(Json::as_bool) != Some(true) {
        return;
    }
    totals.has_end = true;
    record_stop_reason(totals, document.get("done_reason"));
    if let Some(counts) = usage::ollama(document) {
        totals.usage.record(counts);
    }
}

fn record_stop_reason(totals: &mut FrameTotals, reason: Option<&Json>) {
    match reason {
        None | Some(Json::Null) => {}
        Some(Json::String(reason)) => totals.stop_reason = Some(reason.clone()),
        Some(_) => wrong_type(totals, "the stop reason"),
    }
}

fn wrong_type(totals: &mut FrameTotals, member: &str) {
    totals.fault.get_or_insert_with(|| ModelError::MalformedResponse { message: format!("{member} has a wrong type") });
}
