//! Why a model stopped, in the words of each API.

use greenroom_actors::model::StopReason;

/// Parses the provider's stop reason.
pub(super) fn parse(text: &str) -> StopReason {
    // Reasons of Amazon Bedrock that genai does not know.
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
