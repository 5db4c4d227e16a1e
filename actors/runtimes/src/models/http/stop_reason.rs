//! Why a model stopped, in the words of each API.

use greenroom_actors::model::StopReason;

/// Words of servers for an answer that is complete, in lower case. genai knows those of the large providers.
const COMPLETE: &[&str] = &[
    "complete",
    "completed",
    "done",
    "end",
    "end_of_text",
    "end_of_turn",
    "eos",
    "eos_token",
    "eot",
    "finish",
    "finished",
    "normal",
    "stop_string",
    "stop_token",
    "stop_word",
];
/// Words for an answer that was truncated.
const LENGTH: &[&str] = &["max_new_tokens", "max_output_tokens", "max_length", "token_limit", "truncated"];
/// Words for calls of tools.
const TOOLS: &[&str] = &["tool", "tool_call", "tool_calls", "tools", "function", "function_calls"];
/// Words for a refusal. The first two are Amazon Bedrock's.
const REFUSAL: &[&str] = &["content_filtered", "guardrail_intervened", "safety", "content_policy"];

/// Parses the provider's stop reason.
pub(super) fn parse(text: &str) -> StopReason {
    let lower = text.trim().to_ascii_lowercase();
    for (words, reason) in [
        (COMPLETE, StopReason::Complete),
        (LENGTH, StopReason::Length),
        (TOOLS, StopReason::Tools),
        (REFUSAL, StopReason::Refusal),
    ] {
        if words.contains(&lower.as_str()) {
            return reason;
        }
    }
    // The words of some APIs are in upper case.
    match by_genai(text) {
        StopReason::Other(_) => match by_genai(&lower) {
            StopReason::Other(_) => StopReason::Other(text.to_owned()),
            known => known,
        },
        known => known,
    }
}

fn by_genai(text: &str) -> StopReason {
    match genai::chat::StopReason::from(text.to_owned()) {
        genai::chat::StopReason::Completed(_) | genai::chat::StopReason::StopSequence(_) => StopReason::Complete,
        genai::chat::StopReason::MaxTokens(_) => StopReason::Length,
        genai::chat::StopReason::ToolCall(_) => StopReason::Tools,
        genai::chat::StopReason::ContentFilter(_) => StopReason::Refusal,
        genai::chat::StopReason::Other(text) => StopReason::Other(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_of_every_api_are_known() {
        let complete =
            ["stop", "STOP", "Stop", "eos", "eos_token", "EOS_TOKEN", "stop_sequence", "end_turn", "completed"];
        for (texts, reason) in [
            (&complete[..], StopReason::Complete),
            (&["length", "MAX_TOKENS", "max_tokens", "max_output_tokens", "Length"], StopReason::Length),
            (&["tool_calls", "tool_use", "function_call", "tool_call"], StopReason::Tools),
            (&["content_filter", "SAFETY", "refusal", "content_filtered"], StopReason::Refusal),
            (&["Weather"], StopReason::Other("Weather".to_owned())),
        ] {
            for text in texts {
                assert_eq!(parse(text), reason, "{text}");
            }
        }
    }
}
