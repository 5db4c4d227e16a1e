//! Token counts as providers bill them, and the prices of each kind of token.

use greenroom_protocol::{MicroUsd, Tokens};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The number of tokens that a price covers.
pub const PRICE_UNIT_TOKENS: u64 = 1_000_000;

/// The tokens of one call, split as providers bill them. An API that does not split them has zeros in the parts, and
/// all of its tokens are billed at the two prices that every model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenCounts {
    /// Tokens of the request, those of the provider's cache included.
    pub input: u64,
    /// Tokens of the answer, reasoning included.
    pub output: u64,
    /// The part of `input` that was read from the provider's cache.
    pub cache_read: u64,
    /// The part of `input` that was written to the provider's cache.
    pub cache_write: u64,
    /// The part of `output` that is reasoning.
    pub reasoning: u64,
}

impl TokenCounts {
    /// The two sums.
    #[must_use]
    pub const fn tokens(self) -> Tokens {
        Tokens { input: self.input, output: self.output }
    }
}

impl From<Tokens> for TokenCounts {
    fn from(Tokens { input, output }: Tokens) -> Self {
        Self { input, output, ..Self::default() }
    }
}

/// Prices in US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Tokens of the request.
    pub input: f64,
    /// Tokens of the answer.
    pub output: f64,
    /// Tokens of the request that were read from the provider's cache; `input` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<f64>,
    /// Tokens of the request that were written to the provider's cache; `input` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// Tokens of the answer that are reasoning; `output` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<f64>,
}

impl Price {
    /// Creates a price without prices of their own for caches and reasoning.
    #[must_use]
    pub const fn new(input: f64, output: f64) -> Self {
        Self { input, output, cache_read: None, cache_write: None, reasoning: None }
    }

    /// Returns the cost of the tokens, rounded up to the next millionth of a dollar. A part that is larger than the
    /// sum that contains it counts as that sum.
    #[must_use]
    pub fn cost(&self, counts: impl Into<TokenCounts>) -> MicroUsd {
        let counts = counts.into();
        let cache_read = counts.cache_read.min(counts.input);
        let cache_write = counts.cache_write.min(counts.input - cache_read);
        let reasoning = counts.reasoning.min(counts.output);
        let parts = [
            (self.input, counts.input - cache_read - cache_write),
            (self.cache_read.unwrap_or(self.input), cache_read),
            (self.cache_write.unwrap_or(self.input), cache_write),
            (self.output, counts.output - reasoning),
            (self.reasoning.unwrap_or(self.output), reasoning),
        ];
        let all = parts.iter().map(|(price, count)| part(*price, *count)).fold(0, u128::saturating_add);
        MicroUsd(u64::try_from(all.div_ceil(u128::from(PRICE_UNIT_TOKENS))).unwrap_or(u64::MAX))
    }

    /// Returns the most that the tokens may cost, however the provider splits them.
    #[must_use]
    pub fn cost_max(&self, tokens: Tokens) -> MicroUsd {
        let price_max = |price: f64, others: [Option<f64>; 2]| others.into_iter().flatten().fold(price, f64::max);
        let input = price_max(self.input, [self.cache_read, self.cache_write]);
        let output = price_max(self.output, [self.reasoning, None]);
        Self::new(input, output).cost(tokens)
    }
}

/// The cost of tokens of one kind, in millionths of a millionth of a dollar. A dollar for a million tokens is a
/// millionth of a dollar for one, so the price in whole millionths makes the sum exact.
fn part(price: f64, count: u64) -> u128 {
    let unit = MicroUsd::from_usd(price).unwrap_or(MicroUsd(u64::MAX)).0;
    u128::from(unit).saturating_mul(u128::from(count))
}

/// A price and its origin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Priced {
    /// The price.
    pub price: Price,
    /// True if it is the price of the model's tier.
    pub assumed: bool,
}

impl Priced {
    /// The price of a provider that is not a language model.
    pub const FREE: Self = Self { price: Price::new(0.0, 0.0), assumed: false };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_exact_and_rounds_up_once() {
        let price = Price::new(3.0, 15.0);
        assert_eq!(price.cost(Tokens { input: 1_000, output: 100 }), MicroUsd(4_500));
        assert_eq!(Price::new(0.25, 1.25).cost(Tokens { input: 1, output: 0 }), MicroUsd(1));
        assert_eq!(price.cost(Tokens::default()), MicroUsd(0));
        assert_eq!(price.cost(Tokens { input: u64::MAX, output: u64::MAX }), MicroUsd(u64::MAX));
    }

    #[test]
    fn the_parts_of_caches_and_reasoning_have_prices_of_their_own() {
        let price =
            Price { cache_read: Some(0.3), cache_write: Some(3.75), reasoning: Some(20.0), ..Price::new(3.0, 15.0) };
        let counts = TokenCounts { input: 1_000, output: 130, cache_read: 300, cache_write: 200, reasoning: 30 };
        assert_eq!(price.cost(counts), MicroUsd(500 * 3 + 90 + 750 + 100 * 15 + 30 * 20));
        assert_eq!(Price::new(3.0, 15.0).cost(counts), MicroUsd(1_000 * 3 + 130 * 15), "without them, the sum counts");
        let excess = TokenCounts { input: 10, cache_read: u64::MAX, cache_write: u64::MAX, ..TokenCounts::default() };
        assert_eq!(price.cost(excess), MicroUsd(3), "a part never exceeds its sum");
    }

    #[test]
    fn the_most_that_tokens_cost_covers_every_split() {
        let price = Price { cache_read: Some(0.3), cache_write: Some(3.75), ..Price::new(3.0, 15.0) };
        let tokens = Tokens { input: 1_000, output: 10 };
        assert_eq!(price.cost_max(tokens), MicroUsd(3_750 + 150));
        assert!(price.cost(TokenCounts { cache_write: 1_000, ..tokens.into() }) <= price.cost_max(tokens));
        assert_eq!(Price::new(3.0, 15.0).cost_max(tokens), MicroUsd(3_150));
    }
}
