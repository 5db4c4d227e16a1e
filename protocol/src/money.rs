//! Money and tokens, in units that add up exactly.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The price by which a cost was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceBasis {
    /// The model's own price in `models.yaml`.
    #[default]
    Listed,
    /// The price of the model's tier, because the model has none of its own.
    Assumed,
}

impl PriceBasis {
    /// True if the price is the model's own.
    #[must_use]
    pub const fn is_listed(&self) -> bool {
        matches!(self, Self::Listed)
    }

    /// The basis of the sum of two costs: assumed if either of them is.
    #[must_use]
    pub const fn combine(self, other: Self) -> Self {
        match (self, other) {
            (Self::Listed, Self::Listed) => Self::Listed,
            (Self::Assumed, _) | (_, Self::Assumed) => Self::Assumed,
        }
    }
}

/// The period of a limit. Days and months are in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Period {
    /// All time, without a reset.
    #[default]
    AllTime,
    /// This number of days, the current one included.
    Days(u16),
    /// The current calendar month.
    Month,
}

/// Millionths of a US dollar, as a whole number, so that the sum of many small costs is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct MicroUsd(pub u64);

impl MicroUsd {
    /// Rounds dollars up to the next millionth; `None` if the number is negative or not finite. It is
    /// the exact inverse of [`MicroUsd::as_usd`].
    #[must_use]
    pub fn from_usd(usd: f64) -> Option<Self> {
        let exact = usd * 1e6;
        let nearest = exact.round();
        // An excess of a few ulps over a whole millionth is a rounding error of the binary fraction.
        let micros = if (exact - nearest).abs() <= exact.abs() * f64::EPSILON * 4.0 { nearest } else { exact.ceil() };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
        (micros.is_finite() && (0.0..=1e18).contains(&micros)).then_some(Self(micros as u64))
    }

    /// Converts to dollars, for display and for the reply.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a display value; sums stay in whole millionths")]
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Subtracts; the result is zero if `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// An amount of money as two members of an object: `cost_micro_usd`, the exact whole number, and `cost_usd`, the same
/// in US dollars for display. For a field of type [`MicroUsd`] with `#[serde(flatten, with = "cost_members")]`.
///
/// A record of a release that wrote only `cost_usd` is read too. An amount that cannot be read is an error, never zero.
pub(crate) mod cost_members {
    use schemars::JsonSchema;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::MicroUsd;

    #[derive(Serialize, Deserialize, JsonSchema)]
    pub(crate) struct CostMembers {
        /// The cost in US dollars, for display.
        cost_usd: f64,
        /// The cost in millionths of a US dollar.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_micro_usd: Option<MicroUsd>,
    }

    pub(crate) fn serialize<S: Serializer>(cost: &MicroUsd, serializer: S) -> Result<S::Ok, S::Error> {
        CostMembers { cost_usd: cost.as_usd(), cost_micro_usd: Some(*cost) }.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MicroUsd, D::Error> {
        let members = CostMembers::deserialize(deserializer)?;
        let invalid = || D::Error::custom(format!("cost_usd: {} is not an amount of money", members.cost_usd));
        members.cost_micro_usd.or_else(|| MicroUsd::from_usd(members.cost_usd)).ok_or_else(invalid)
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl Add for MicroUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for MicroUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// Limits on the spending of a run and of all runs below it, or of an execution and all calls below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SpendingLimits {
    /// The maximum cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_max: Option<MicroUsd>,
    /// The maximum of input and output tokens together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_max: Option<u64>,
}

impl SpendingLimits {
    /// True if nothing is limited.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cost_max.is_none() && self.tokens_max.is_none()
    }

    /// The tighter limit of both, for cost and for tokens.
    #[must_use]
    pub fn tightest(self, other: Self) -> Self {
        // `None` is no limit, so it must not be the minimum.
        let tightest_tokens = [self.tokens_max, other.tokens_max].into_iter().flatten().min();
        let tightest_cost = [self.cost_max, other.cost_max].into_iter().flatten().min();
        Self { cost_max: tightest_cost, tokens_max: tightest_tokens }
    }
}

/// Tokens that a model read and wrote, as its provider reported them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// Tokens of the request.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
}

impl Tokens {
    /// The sum of both.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

impl Add for Tokens {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { input: self.input.saturating_add(other.input), output: self.output.saturating_add(other.output) }
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_survives_its_form_in_dollars() {
        for micros in (0..2_000_000).step_by(7).chain([12_300, 123_456_789_012]) {
            assert_eq!(MicroUsd::from_usd(MicroUsd(micros).as_usd()), Some(MicroUsd(micros)));
        }
    }

    #[test]
    fn the_tightest_of_two_limits_holds_and_no_limit_is_not_the_tightest() {
        let cost = SpendingLimits { cost_max: Some(MicroUsd(5)), tokens_max: None };
        let both = SpendingLimits { cost_max: Some(MicroUsd(7)), tokens_max: Some(3) };
        let expected = SpendingLimits { cost_max: Some(MicroUsd(5)), tokens_max: Some(3) };
        assert_eq!((cost.tightest(both), both.tightest(cost)), (expected, expected));
        assert!(SpendingLimits::default().tightest(SpendingLimits::default()).is_empty());
    }

    #[test]
    fn dollars_round_up_and_a_negative_or_infinite_number_is_rejected() {
        assert_eq!(MicroUsd::from_usd(0.01), Some(MicroUsd(10_000)));
        assert_eq!(MicroUsd::from_usd(0.000_000_1), Some(MicroUsd(1)));
        assert_eq!(MicroUsd::from_usd(-1.0), None);
        assert_eq!(MicroUsd::from_usd(f64::NAN), None);
        assert_eq!(MicroUsd(1_500_000).to_string(), "$1.500000");
    }
}
