//! Token counts in the form of each API. A count is used only if it has both sums; its parts are those of the one API
//! whose form is known, since "cached" is inside the sum in one API and beside it in another.

use greenroom_definitions::models::TokenCounts;
use greenroom_protocol::Json;

/// The count of one answer.
#[derive(Debug, Default)]
pub(super) struct UsageRecord(Option<TokenCounts>);

impl UsageRecord {
    /// Records a count that replaces a smaller one before it, as counts grow with the answer. Zeros do not replace a
    /// count: some gateways end every stream with them, others with the count of their last chunk.
    pub(super) const fn record(&mut self, counts: TokenCounts) {
        let is_smaller = match self.0 {
            Some(before) => sum(before) > sum(counts),
            None => false,
        };
        if self.0.is_none() || counts.input > 0 && counts.output > 0 && !is_smaller {
            self.0 = Some(counts);
        }
    }

    /// Takes the count.
    pub(super) const fn take(&mut self) -> Option<TokenCounts> {
        self.0.take()
    }
}

const fn sum(counts: TokenCounts) -> u64 {
    counts.input.saturating_add(counts.output)
}

fn count(document: &Json, path: &str) -> Option<u64> {
    whole_number(document.pointer(path)?)
}

/// A whole number that is not negative, also if it is written as `12.0` or `"12"`.
pub(super) fn whole_number(value: &Json) -> Option<u64> {
    let rounded = || value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..=1e15).contains(number));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    value.as_u64().or_else(|| rounded().map(|number| number as u64)).or_else(|| value.as_str()?.parse().ok())
}

/// Drops cached tokens that are more than the input that has them: they are not credible, and the whole input has its
/// full price.
const fn without_excess(counts: TokenCounts) -> TokenCounts {
    if counts.cache_read.saturating_add(counts.cache_write) > counts.input {
        return TokenCounts { cache_read: 0, cache_write: 0, ..counts };
    }
    counts
}

/// Reads a count of OpenAI's chat completions: cached tokens are part of the prompt, reasoning is part of the
/// completion. DeepSeek names its cache differently.
pub(super) fn chat_completions(usage: &Json) -> Option<TokenCounts> {
    let (input, mut output) = (count(usage, "/prompt_tokens")?, count(usage, "/completion_tokens")?);
    let cached = ["/prompt_tokens_details/cached_tokens", "/prompt_cache_hit_tokens"];
    let reasoning = count(usage, "/completion_tokens_details/reasoning_tokens").unwrap_or_default();
    // xAI counts reasoning beside the completion; the total shows it.
    if reasoning > 0 && count(usage, "/total_tokens") == input.checked_add(output)?.checked_add(reasoning) {
        output += reasoning;
    }
    Some(without_excess(TokenCounts {
        input,
        output,
        cache_read: cached.iter().find_map(|path| count(usage, path)).unwrap_or_default(),
        cache_write: count(usage, "/prompt_tokens_details/cache_write_tokens").unwrap_or_default(),
        reasoning,
    }))
}

/// Reads the tokens of a request to Anthropic: what was read from the cache and written to it is beside the rest.
pub(super) fn anthropic_input(usage: &Json) -> Option<TokenCounts> {
    let fresh = count(usage, "/input_tokens")?;
    let cache_read = count(usage, "/cache_read_input_tokens").unwrap_or_default();
    let cache_write = count(usage, "/cache_creation_input_tokens").unwrap_or_default();
    let input = fresh.saturating_add(cache_read).saturating_add(cache_write);
    Some(TokenCounts { input, cache_read, cache_write, ..TokenCounts::default() })
}

/// Reads the tokens of an answer of Anthropic, which include its reasoning.
pub(super) fn anthropic_output(usage: &Json) -> Option<u64> {
    count(usage, "/output_tokens")
}

/// Reads a count of Gemini: cached tokens are part of the prompt, thoughts and the results of tools are not part of the
/// other sums. A blocked prompt has no candidates.
pub(super) fn gemini(usage: &Json) -> Option<TokenCounts> {
    let prompt = count(usage, "/promptTokenCount")?;
    let written = count(usage, "/candidatesTokenCount").unwrap_or_default();
    let reasoning = count(usage, "/thoughtsTokenCount").unwrap_or_default();
    Some(without_excess(TokenCounts {
        input: prompt.saturating_add(count(usage, "/toolUsePromptTokenCount").unwrap_or_default()),
        output: written.saturating_add(reasoning),
        cache_read: count(usage, "/cachedContentTokenCount").unwrap_or_default(),
        cache_write: 0,
        reasoning,
    }))
}

/// Reads the last line of Ollama.
pub(super) fn ollama(line: &Json) -> Option<TokenCounts> {
    let (input, output) = (count(line, "/prompt_eval_count")?, count(line, "/eval_count")?);
    Some(TokenCounts { input, output, ..TokenCounts::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn counts(input: u64, output: u64) -> TokenCounts {
        TokenCounts { input, output, ..TokenCounts::default() }
    }

    #[test]
    fn neither_zeros_nor_a_smaller_count_replace_a_count() {
        let mut record = UsageRecord::default();
        for (next, expected) in [
            (counts(0, 0), counts(0, 0)),
            (counts(1_000, 1), counts(1_000, 1)),
            (counts(1_000, 200), counts(1_000, 200)),
            (counts(0, 0), counts(1_000, 200)),
            (counts(1_000, 0), counts(1_000, 200)),
            (counts(1, 1), counts(1_000, 200)),
            (counts(990, 300), counts(990, 300)),
        ] {
            record.record(next);
            assert_eq!(record.0, Some(expected));
        }
    }

    #[test]
    fn each_api_has_its_own_form() {
        let openai = json!({ "prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200,
            "prompt_tokens_details": { "cached_tokens": 300 }, "completion_tokens_details": { "reasoning_tokens": 50 } });
        let expected = TokenCounts { cache_read: 300, reasoning: 50, ..counts(1_000, 200) };
        assert_eq!(chat_completions(&openai), Some(expected));
        let xai = json!({ "prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 80,
            "completion_tokens_details": { "reasoning_tokens": 50 } });
        assert_eq!(chat_completions(&xai), Some(TokenCounts { reasoning: 50, ..counts(10, 70) }));
        let deepseek = json!({ "prompt_tokens": 10, "completion_tokens": 2, "prompt_cache_hit_tokens": 8 });
        assert_eq!(chat_completions(&deepseek), Some(TokenCounts { cache_read: 8, ..counts(10, 2) }));
        let anthropic =
            json!({ "input_tokens": 500, "cache_read_input_tokens": 300, "cache_creation_input_tokens": 200 });
        let expected = TokenCounts { cache_read: 300, cache_write: 200, ..counts(1_000, 0) };
        assert_eq!(anthropic_input(&anthropic), Some(expected));
        let gemini_usage = json!({ "promptTokenCount": 25, "cachedContentTokenCount": 20, "candidatesTokenCount": 3,
            "thoughtsTokenCount": 4 });
        assert_eq!(gemini(&gemini_usage), Some(TokenCounts { cache_read: 20, reasoning: 4, ..counts(25, 7) }));
    }

    #[test]
    fn a_count_that_is_none_is_not_used() {
        for wrong in [json!(-5), json!("many"), json!(1.5), json!(null), json!(1e300)] {
            assert_eq!(chat_completions(&json!({ "prompt_tokens": 1000, "completion_tokens": wrong })), None);
        }
        assert_eq!(chat_completions(&json!({ "prompt_tokens": 10.0, "completion_tokens": 2 })), Some(counts(10, 2)));
        for (prompt, completion) in [(json!("10"), json!(2)), (json!(10), json!("2"))] {
            let texts = json!({ "prompt_tokens": prompt, "completion_tokens": completion });
            assert_eq!(chat_completions(&texts), Some(counts(10, 2)), "{texts}");
        }
        let excess =
            json!({ "prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": { "cached_tokens": 11 } });
        assert_eq!(chat_completions(&excess), Some(counts(10, 2)), "no more is cached than was read");
        let absurd = json!({ "prompt_tokens": 9_223_372_036_854_775_808_u64, "completion_tokens": u64::MAX });
        assert_eq!(chat_completions(&absurd), Some(counts(1 << 63, u64::MAX)), "judged where the call is settled");
    }
}
