//! Tests of the sentences in which servers report the limit of a context.

use super::*;

/// A sentence of a server, the tokens that were requested, and the limit.
const SENTENCES: &[(&str, Option<u64>, u64)] = &[
    (
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (5000 in the messages, 4000 in the completion). Please reduce the length of the messages or completion.",
        Some(9_000),
        8_192,
    ),
    (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 10,000 tokens (9,900 in the messages, 100 in the functions).",
        Some(10_000),
        8_192,
    ),
    (
        "This model's maximum context length is 4097 tokens, however you requested 4500 tokens (3500 in your prompt; 1000 for the completion).",
        Some(4_500),
        4_097,
    ),
    (
        "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens (38000 of text input, 2000 in the output).",
        Some(40_000),
        32_768,
    ),
    (
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 5210 tokens: 4710 tokens from the input messages and 500 tokens for the completion.",
        Some(5_210),
        4_096,
    ),
    (
        "This model's maximum context length is 4096 tokens. However, your request has 5210 input tokens. Please reduce the length of the input messages.",
        Some(5_210),
        4_096,
    ),
    ("The decoder prompt (length 5210) is longer than the maximum model length of 4096.", Some(5_210), 4_096),
    ("prompt is too long: 210,000 tokens > 200000 maximum", Some(210_000), 200_000),
    (
        "input length and `max_tokens` exceed context limit: 195000 + 8192 > 200000, decrease input length or `max_tokens` and try again",
        Some(203_192),
        200_000,
    ),
    (
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        Some(1_200_000),
        1_048_576,
    ),
    ("request (5210 tokens) exceeds the available context size (4096 tokens), try increasing it", Some(5_210), 4_096),
    (
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        Some(40_000),
        32_768,
    ),
    ("This model's maximum prompt length is 131072 but the request contains 537812 tokens.", Some(537_812), 131_072),
    (
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000. Try using a shorter prompt",
        Some(5_000),
        4_081,
    ),
    ("Input validation error: `inputs` must have less than 4095 tokens. Given: 5210", Some(5_210), 4_095),
    (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 8000 `inputs` tokens and 500 `max_new_tokens`",
        None,
        8_193,
    ),
    (
        "Trying to keep the first 5210 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens",
        Some(5_210),
        4_096,
    ),
    ("The prompt is too long: 140000, model maximum context length: 131072", Some(140_000), 131_072),
    ("maximum context length is 8192 tokens", None, 8_192),
];

#[test]
fn both_numbers_are_read_from_the_sentence_of_each_server() {
    for &(message, requested, limit) in SENTENCES {
        assert_eq!(read(message), (requested, Some(limit)), "{message}");
        assert!(is_overflow("", message), "{message}");
    }
}

#[test]
fn a_sentence_without_numbers_has_none() {
    for message in ["Input is too long for requested model.", "Your input exceeds the context window of this model."] {
        assert_eq!(read(message), (None, None), "{message}");
        assert!(is_overflow("", message), "{message}");
    }
    assert_eq!(read("gpt-4-32768 has no room"), (None, None));
}

#[test]
fn other_rejections_are_no_overflow() {
    for message in [
        "max_tokens is too large: 100000. This model supports at most 4096 completion tokens",
        "messages: required",
        "Rate limit reached on tokens per min. Limit: 30000, requested: 40000",
        "temperature must be less than 2",
        "max_tokens must be less than or equal to 8192",
    ] {
        assert!(!is_overflow("invalid_request_error", message), "{message}");
    }
    assert!(is_overflow("invalid_request_error context_length_exceeded", ""));
    assert!(is_overflow("exceed_context_size_error 400", "the request is too large"));
}
