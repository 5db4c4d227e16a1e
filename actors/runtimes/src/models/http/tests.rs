//! Four APIs over real sockets: the requests that are sent, and the result of each behaviour of a server.

mod bedrock;
mod chat_completions;
mod failure_modes;
mod gemini;
mod rejections;
mod requests;
mod server;

use server::head;

use crate::model_server::Step;

/// The API of a test.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Api {
    OpenAi,
    Anthropic,
    Gemini,
    Ollama,
}

impl Api {
    const ALL: [Self; 4] = [Self::OpenAi, Self::Anthropic, Self::Gemini, Self::Ollama];

    const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
        }
    }

    /// The events of a text, without the end.
    fn text(self, pieces: &[&str]) -> String {
        match self {
            Self::OpenAi => pieces
                .iter()
                .map(|piece| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{piece:?}}}}}]}}\n\n"))
                .collect(),
            Self::Anthropic => {
                let mut events = String::from(
                    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":20,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\n\
                     event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
                );
                for piece in pieces {
                    events.push_str(&format!(
                        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":{piece:?}}}}}\n\n"
                    ));
                }
                events
            }
            Self::Gemini => pieces
                .iter()
                .map(|piece| {
                    format!("data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":{piece:?}}}]}}}}],\"usageMetadata\":{{\"promptTokenCount\":25,\"candidatesTokenCount\":1}}}}\n\n")
                })
                .collect(),
            Self::Ollama => pieces
                .iter()
                .map(|piece| format!("{{\"message\":{{\"role\":\"assistant\",\"content\":{piece:?}}},\"done\":false}}\n"))
                .collect(),
        }
    }

    /// The events of an end: the stop reason, the usage (25 input, 7 output), the end marker.
    fn end(self, reason: &str) -> String {
        match self {
            Self::OpenAi => format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\n\
                 data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":25,\"completion_tokens\":7,\"total_tokens\":32}}}}\n\n\
                 data: [DONE]\n\n"
            ),
            Self::Anthropic => format!(
                "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":0}}\n\n\
                 event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"{reason}\"}},\"usage\":{{\"output_tokens\":7}}}}\n\n\
                 event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
            ),
            Self::Gemini => format!(
                "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"\"}}]}},\"finishReason\":\"{reason}\"}}],\"usageMetadata\":{{\"promptTokenCount\":25,\"candidatesTokenCount\":3,\"thoughtsTokenCount\":4}}}}\n\n"
            ),
            Self::Ollama => format!(
                "{{\"message\":{{\"role\":\"assistant\",\"content\":\"\"}},\"done\":true,\"done_reason\":\"{reason}\",\"prompt_eval_count\":25,\"eval_count\":7}}\n"
            ),
        }
    }

    const fn complete_reason(self) -> &'static str {
        match self {
            Self::OpenAi => "stop",
            Self::Anthropic => "end_turn",
            Self::Gemini => "STOP",
            Self::Ollama => "stop",
        }
    }

    /// A valid answer.
    fn valid(self, text: &str) -> Vec<Step> {
        vec![head(), Step::Send(self.text(&[text])), Step::Send(self.end(self.complete_reason()))]
    }

    fn model(self) -> String {
        format!("{}.test-model", self.name())
    }
}
