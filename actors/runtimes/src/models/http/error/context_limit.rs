//! The two numbers in the sentence of a server whose context is too small: the tokens of the request and the limit.
//!
//! | server | sentence |
//! |---|---|
//! | OpenAI, Azure, DeepSeek, vLLM | `maximum context length is 8192 tokens. However, you requested 9000 tokens (5000 in the messages, 4000 in the completion)` |
//! | Anthropic | `prompt is too long: 210000 tokens > 200000 maximum`, `input length and max_tokens exceed context limit: 195000 + 8192 > 200000` |
//! | Gemini | `The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)` |
//! | llama.cpp | `request (5210 tokens) exceeds the available context size (4096 tokens)` |
//! | Mistral | `Prompt contains 40000 tokens …, too large for model with 32768 maximum context length` |
//! | xAI, Cohere, TGI | `maximum prompt length is 131072 but the request contains 537812 tokens`, `cannot exceed 4081 - received 5000`, `must have less than 4095 tokens. Given: 5210` |
//!
//! Other numbers of a sentence are parts of the request. The words around a number decide what it is; its size does
//! not.

/// Words of the kind of failure.
const OVERFLOW_KINDS: &[&str] = &["context_length", "exceed_context_size", "context_window", "prompt_tokens_exceeded"];
/// Words of the message.
const OVERFLOW_WORDS: &[&str] = &[
    "prompt is too long",
    "input is too long",
    "maximum context length",
    "maximum prompt length",
    "maximum model length",
    "context window",
    "context limit",
    "context size",
    "context length",
    "too many tokens",
    "input token count",
    "tokens allowed",
    "must have less than",
    "max_new_tokens` must be <=",
];
/// Words before the limit. Words in [`FILLERS`] may follow them.
const LIMIT_BEFORE: &[&str] = &[
    "context length",
    "prompt length",
    "model length",
    "context size",
    "context window",
    "context limit",
    "allowed",
    "limit",
    "limited",
    "exceed",
    "less than",
    "at most",
    "<=",
    "<",
];
/// Words after the limit.
const LIMIT_AFTER: &[&str] = &["maximum", "max", "context", "token limit", "limit"];
/// Words before the tokens of the request.
const REQUEST_BEFORE: &[&str] = &[
    "requested",
    "resulted in",
    "contains",
    "request",
    "request has",
    "token count",
    "(length",
    "received",
    "given",
    "too long",
    "first",
    "sent",
    "provided",
    "got",
];
/// Words without a meaning between those and the number.
const FILLERS: &[&str] = &["is", "of", "only", "to", "about", "a", "total", "the", "tokens", "approximately"];

/// True if a server reports that the request exceeds the context of the model.
pub(super) fn is_overflow(kind: &str, message: &str) -> bool {
    let message = message.to_lowercase();
    OVERFLOW_KINDS.iter().any(|word| kind.contains(word)) || OVERFLOW_WORDS.iter().any(|word| message.contains(word))
}

/// Reads the tokens of the request and the limit. A request that is not above the limit is a part of one.
pub(super) fn read(message: &str) -> (Option<u64>, Option<u64>) {
    let text = normalized(message);
    let numbers = numbers(&text);
    let (requested, limit) = compared(&text, &numbers).unwrap_or_else(|| {
        let limit = numbers.iter().find(|number| ends_with_any(number.before, LIMIT_BEFORE));
        let limit = limit.or_else(|| numbers.iter().find(|number| starts_with_any(number.after, LIMIT_AFTER)));
        let requested = numbers.iter().find(|number| {
            ends_with_any(number.before, REQUEST_BEFORE) && limit.is_none_or(|limit| limit.at != number.at)
        });
        (requested.map(|number| number.value), limit.map(|number| number.value))
    });
    (requested.filter(|requested| limit.is_none_or(|limit| *requested > limit)), limit)
}

/// A number of the message, with the words around it.
struct Number<'t> {
    at: usize,
    value: u64,
    before: &'t str,
    after: &'t str,
}

/// The message in lower case, without the commas within numbers and without quotes.
fn normalized(message: &str) -> String {
    let characters: Vec<char> = message.to_lowercase().chars().collect();
    let is_digit = |at: Option<usize>| at.and_then(|at| characters.get(at)).is_some_and(char::is_ascii_digit);
    let significant = characters.iter().enumerate().filter(|(at, c)| match c {
        ',' | '_' => !(is_digit(at.checked_sub(1)) && is_digit(Some(at + 1))),
        '`' | '"' | '\'' => false,
        _ => true,
    });
    significant.map(|(_, c)| *c).collect()
}

fn numbers(text: &str) -> Vec<Number<'_>> {
    let mut found = Vec::new();
    let mut end = 0;
    while let Some(start) = text.get(end..).and_then(|rest| rest.find(|c: char| c.is_ascii_digit())) {
        let at = end + start;
        let digits = text.get(at..).map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
        end = at + digits;
        // A digit within a word, such as that of a model's name, is no number.
        let is_word = text.get(..at).is_some_and(|before| before.ends_with(|c: char| c.is_alphanumeric() || c == '-'));
        if let (false, Some(Ok(value))) = (is_word, text.get(at..end).map(str::parse)) {
            let before = text.get(..at).unwrap_or_default();
            found.push(Number { at, value, before, after: text.get(end..).unwrap_or_default() });
        }
    }
    found
}

/// Reads a comparison: `A > LIMIT` or `A + B > LIMIT`.
fn compared(text: &str, numbers: &[Number<'_>]) -> Option<(Option<u64>, Option<u64>)> {
    let (at, _) = text.match_indices('>').find(|(at, _)| {
        let is_next = |number: &&Number<'_>| number.at > *at;
        numbers.iter().find(is_next).is_some_and(|number| number.before.trim_end().len() == at + 1)
    })?;
    let limit = numbers.iter().find(|number| number.at > at)?.value;
    let mut requested: Option<u64> = None;
    for number in numbers.iter().rev().filter(|number| number.at < at) {
        requested = Some(requested.unwrap_or_default().saturating_add(number.value));
        if !number.before.trim_end().ends_with('+') {
            break;
        }
    }
    Some((requested, Some(limit)))
}

fn ends_with_any(before: &str, words: &[&str]) -> bool {
    let mut text = before.trim_end_matches([' ', '(', ':', '=', '-']);
    loop {
        if words.iter().any(|word| ends_with_word(text, word)) {
            return true;
        }
        let Some(shorter) = FILLERS.iter().find(|filler| ends_with_word(text, filler)) else { return false };
        text = text.get(..text.len() - shorter.len()).unwrap_or_default().trim_end_matches([' ', '(', ':', '=']);
    }
}

fn ends_with_word(text: &str, word: &str) -> bool {
    text.strip_suffix(word).is_some_and(|rest| !rest.ends_with(char::is_alphanumeric))
}

fn starts_with_any(after: &str, words: &[&str]) -> bool {
    let text = after.trim_start();
    let text = text.strip_prefix("tokens").or_else(|| text.strip_prefix("token")).unwrap_or(text).trim_start();
    words.iter().any(|word| text.starts_with(word))
}

#[cfg(test)]
mod tests;
