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
    fn dollars_round_up_and_a_negative_or_infinite_number_is_rejected() {
        assert_eq!(MicroUsd::from_usd(0.01), Some(MicroUsd(10_000)));
        assert_eq!(MicroUsd::from_usd(0.000_000_1), Some(MicroUsd(1)));
        assert_eq!(MicroUsd::from_usd(-1.0), None);
        assert_eq!(MicroUsd::from_usd(f64::NAN), None);
        assert_eq!(MicroUsd(1_500_000).to_string(), "$1.500000");
    }
}
