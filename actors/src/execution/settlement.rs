//! What a call is settled at: the provider's count where it can be true, nothing where the provider did nothing, and
//! the reservation in every other case.
//!
//! Servers count wrongly: some report zeros for a text that they wrote, some a negative or an absurd number, some
//! nothing. A budget is only as good as these counts, so a text that was written never costs nothing.

use greenroom_definitions::models::TokenCounts;

use crate::failure::is_unbilled;
use crate::model::ModelError;

/// Tokens of one call above which a count cannot be true. The largest contexts have some ten million.
const CALL_TOKENS_MAX: u64 = 100_000_000;

/// What is charged for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charge {
    /// The tokens that the provider reported.
    Actual(TokenCounts),
    /// The reservation, because the usage is not known.
    Estimated,
    /// Nothing.
    Nothing,
}

/// The end of a call, as far as it decides about the charge.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallEnd<'e> {
    /// The count that the provider reported.
    pub(super) usage: Option<TokenCounts>,
    /// True if the model wrote anything: text, reasoning or a tool call.
    pub(super) is_written: bool,
    /// True if the provider counts tokens; `offline` does not.
    pub(super) is_metered: bool,
    /// The failure of the call.
    pub(super) error: Option<&'e ModelError>,
}

impl CallEnd<'_> {
    /// Decides the charge.
    pub(super) fn charge(self) -> Charge {
        match self.usage.filter(|usage| self.is_credible(*usage)) {
            Some(usage) => Charge::Actual(usage),
            None if !self.is_written && self.error.is_some_and(is_unbilled) => Charge::Nothing,
            None => Charge::Estimated,
        }
    }

    fn is_credible(self, usage: TokenCounts) -> bool {
        let is_possible = usage.input <= CALL_TOKENS_MAX && usage.output <= CALL_TOKENS_MAX;
        let has_input = usage.input > 0;
        let has_output = usage.output > 0 || !self.is_written;
        is_possible && (!self.is_metered || has_input && has_output)
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::Tokens;

    use super::*;

    fn charge(usage: Option<(u64, u64)>, is_written: bool, error: Option<&ModelError>) -> Charge {
        let usage = usage.map(|(input, output)| Tokens { input, output }.into());
        CallEnd { usage, is_written, is_metered: true, error }.charge()
    }

    fn actual(input: u64, output: u64) -> Charge {
        Charge::Actual(Tokens { input, output }.into())
    }

    #[test]
    fn a_text_that_was_written_is_never_free() {
        assert_eq!(charge(Some((1_000, 200)), true, None), actual(1_000, 200));
        for usage in [None, Some((0, 0)), Some((1_000, 0)), Some((0, 200)), Some((1 << 63, 1)), Some((1, u64::MAX))] {
            assert_eq!(charge(usage, true, None), Charge::Estimated, "{usage:?}");
        }
        let overloaded = ModelError::Overloaded { status: 529, retry_after: None };
        assert_eq!(charge(None, true, Some(&overloaded)), Charge::Estimated, "it broke off after some text");
    }

    #[test]
    fn a_rejected_request_is_free_and_an_empty_answer_is_not() {
        let overflow = ModelError::ContextOverflow { requested: Some(2), limit: Some(1) };
        assert_eq!(charge(None, false, Some(&overflow)), Charge::Nothing);
        assert_eq!(charge(Some((0, 0)), false, Some(&overflow)), Charge::Nothing);
        assert_eq!(charge(Some((25, 0)), false, None), actual(25, 0), "a refusal has no output");
        assert_eq!(charge(None, false, None), Charge::Estimated);
        let failed = ModelError::Failed { status: Some(500), message: String::new() };
        assert_eq!(charge(None, false, Some(&failed)), Charge::Estimated);
    }

    #[test]
    fn a_provider_that_counts_no_tokens_is_free() {
        let usage = Some(TokenCounts::default());
        let end = CallEnd { usage, is_written: true, is_metered: false, error: None };
        assert_eq!(end.charge(), Charge::Actual(TokenCounts::default()));
    }
}
