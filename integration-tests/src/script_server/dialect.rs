//! Encodes an answer for each API of the scripted model server; the script decides the content.

use serde_json::{Value, json};

use super::{TOKENS_IN, TOKENS_OUT};

/// The part of [`TOKENS_IN`] that the server reports as read from its cache.
pub const TOKENS_CACHED: u64 = 300;
/// The part of [`TOKENS_IN`] that the server reports as written to its cache.
pub const TOKENS_TO_CACHE: u64 = 200;

/// A provider's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
    Ollama,
}

impl Dialect {
    /// The API of a request, by its request line.
    pub(super) fn from_request_line(line: &str) -> Self {
        match line {
            _ if line.contains("/messages") => Self::Anthropic,
            _ if line.contains(":streamGenerateContent") => Self::Gemini,
            _ if line.contains("/api/chat") => Self::Ollama,
            _ => Self::OpenAi,
        }
    }

    /// The head of a response that ends with the connection.
    pub(super) fn head(self) -> String {
        let kind = match self {
            Self::OpenAi | Self::Anthropic | Self::Gemini => "text/event-stream",
            Self::Ollama => "application/x-ndjson",
        };
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n")
    }

    /// The events before the first piece.
    pub(super) fn begin(self) -> String {
        match self {
            Self::OpenAi | Self::Gemini | Self::Ollama => String::new(),
            Self::Anthropic => {
                let usage = json!({
                    "input_tokens": TOKENS_IN - TOKENS_CACHED - TOKENS_TO_CACHE, "output_tokens": 1,
                    "cache_read_input_tokens": TOKENS_CACHED, "cache_creation_input_tokens": TOKENS_TO_CACHE,
                });
                let message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "usage": usage });
                let start = json!({ "type": "message_start", "message": message });
                let block = json!({ "type": "text", "text": "" });
                let begin = json!({ "type": "content_block_start", "index": 0, "content_block": block });
                named(&start) + &named(&json!({ "type": "ping" })) + &named(&begin)
            }
        }
    }

    /// One event with a piece of the answer's text.
    pub(super) fn piece(self, text: &str) -> String {
        match self {
            Self::OpenAi => data(&json!({ "choices": [{ "index": 0, "delta": { "content": text } }] })),
            Self::Anthropic => {
                let delta = json!({ "type": "text_delta", "text": text });
                named(&json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
            }
            Self::Gemini => {
                let content = json!({ "role": "model", "parts": [{ "text": text }] });
                let usage = json!({ "promptTokenCount": TOKENS_IN, "candidatesTokenCount": 1 });
                data(&json!({ "candidates": [{ "content": content }], "usageMetadata": usage }))
            }
            Self::Ollama => {
                let message = json!({ "role": "assistant", "content": text });
                format!("{}\n", json!({ "message": message, "done": false }))
            }
        }
    }

    /// The API's stop reason of a complete answer.
    pub(super) const fn stop_reason(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Ollama => "stop",
            Self::Anthropic => "end_turn",
            Self::Gemini => "STOP",
        }
    }

    /// The events at the end of an answer: the stop reason and the usage.
    pub(super) fn end(self, reason: &str) -> String {
        match self {
            Self::OpenAi => {
                let stop = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] });
                let usage = json!({ "prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT });
                data(&stop) + &data(&json!({ "choices": [], "usage": usage })) + "data: [DONE]\n\n"
            }
            Self::Anthropic => {
                let usage = json!({ "output_tokens": TOKENS_OUT });
                let delta = json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": usage });
                named(&json!({ "type": "content_block_stop", "index": 0 }))
                    + &named(&delta)
                    + &named(&json!({ "type": "message_stop" }))
            }
            Self::Gemini => {
                let content = json!({ "role": "model", "parts": [{ "text": "" }] });
                let (thought, visible) = (TOKENS_OUT / 2, TOKENS_OUT - TOKENS_OUT / 2);
                let usage = json!({
                    "promptTokenCount": TOKENS_IN, "candidatesTokenCount": visible, "thoughtsTokenCount": thought,
                });
                let candidate = json!({ "content": content, "finishReason": reason });
                data(&json!({ "candidates": [candidate], "usageMetadata": usage }))
            }
            Self::Ollama => {
                let last = json!({
                    "message": { "role": "assistant", "content": "" }, "done": true, "done_reason": reason,
                    "prompt_eval_count": TOKENS_IN, "eval_count": TOKENS_OUT,
                });
                format!("{last}\n")
            }
        }
    }
}

fn data(document: &Value) -> String {
    format!("data: {document}\n\n")
}

/// An event whose name is the document's type.
fn named(document: &Value) -> String {
    let name = document.get("type").and_then(Value::as_str).unwrap_or_default();
    format!("event: {name}\ndata: {document}\n\n")
}
