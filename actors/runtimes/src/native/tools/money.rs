//! Amounts of money in whole cents, and percentages in millionths. Products and quotients are computed in integers and
//! rounded once, to the cent, half away from zero.

use std::borrow::Cow;
use std::iter::Sum;
use std::ops::{Add, Neg, Sub};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Maximum size of an amount, in either direction: a JSON number still has each of its cents.
const CENTS_MAX: i128 = 100_000_000_000_000;
/// Millionths of a percent in a percent.
const PERCENT_SCALE: i128 = 1_000_000;
/// Maximum size of a percentage, in either direction.
const PERCENT_MAX: i128 = 100_000 * PERCENT_SCALE;

/// An amount of money in cents (hundredths of a unit of its currency).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Money(i128);

impl Money {
    /// Nothing.
    pub(crate) const ZERO: Self = Self(0);

    /// An amount of whole cents.
    #[cfg(test)]
    pub(crate) const fn from_cents(cents: i128) -> Self {
        Self(cents)
    }

    /// Parses plain digits with at most one point and two digits after it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        parse_decimal(text, 2).filter(|cents| cents.abs() <= CENTS_MAX).map(Self)
    }

    /// The amount that is nearest to a binary fraction of units.
    pub(crate) fn from_f64(units: f64) -> Option<Self> {
        let cents = (units * 100.0).round();
        (cents.is_finite() && cents.abs() <= CENTS_MAX as f64).then_some(Self(cents as i128))
    }

    /// The units as a binary fraction.
    pub(crate) fn to_f64(self) -> f64 {
        self.0 as f64 / 100.0
    }

    /// This part of the amount, rounded to the cent; the denominator is positive.
    pub(crate) fn part(self, numerator: i128, denominator: i128) -> Self {
        let Some(product) = self.0.checked_mul(numerator) else { return Self(0) };
        Self(divide(product, denominator.max(1)))
    }

    /// The interest on the amount for one of `periods` equal periods of a year.
    pub(crate) fn interest(self, yearly: Percent, periods: i128) -> Self {
        self.part(yearly.0, 100 * PERCENT_SCALE * periods.max(1))
    }

    /// True above zero.
    pub(crate) const fn is_positive(self) -> bool {
        self.0 > 0
    }
}

/// Divides, and rounds half away from zero.
fn divide(dividend: i128, divisor: i128) -> i128 {
    let (quotient, remainder) = (dividend / divisor, dividend % divisor);
    if remainder.abs() * 2 >= divisor { quotient + dividend.signum() } else { quotient }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Money {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_decimal(deserializer, 2, CENTS_MAX, "an amount").map(Self)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.to_f64())
    }
}

impl JsonSchema for Money {
    fn schema_name() -> Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

/// A percentage in millionths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Percent(i128);

impl Percent {
    /// The percentage as a binary fraction of one: 0.05 for 5 %.
    pub(crate) fn to_fraction(self) -> f64 {
        self.0 as f64 / (100 * PERCENT_SCALE) as f64
    }

    /// True below zero.
    pub(crate) const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// This percentage of an amount, rounded to the cent.
    pub(crate) fn of(self, amount: Money) -> Money {
        amount.part(self.0, 100 * PERCENT_SCALE)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_decimal(deserializer, 6, PERCENT_MAX, "a percentage").map(Self)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

/// Reads a JSON number digit by digit, with at most `scale` digits after the point.
fn read_decimal<'de, D: Deserializer<'de>>(
    deserializer: D,
    scale: usize,
    max: i128,
    subject: &str,
) -> Result<i128, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?.to_string();
    parse_decimal(&number, scale).filter(|units| units.abs() <= max).ok_or_else(|| {
        D::Error::custom(format!(
            "{number} is not {subject}: it has at most {scale} digits after the point and a bound"
        ))
    })
}

/// The number as a count of units of 10^-`scale`; `None` if it has more digits after the point.
fn parse_decimal(text: &str, scale: usize) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if integer.is_empty() || integer.len() > 20 || fraction.len() > scale || !is_plain(integer) || !is_plain(fraction) {
        return None;
    }
    format!("{integer}{fraction:0<scale$}").parse::<i128>().ok().map(|units| sign * units)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Money, Percent, parse_decimal};

    #[test]
    fn amounts_have_their_cents() {
        for (number, cents) in
            [(json!(0.1), 10), (json!(1234.56), 123_456), (json!(-7), -700), (json!(1e9), 100_000_000_000)]
        {
            assert_eq!(serde_json::from_value::<Money>(number.clone()).unwrap().0, cents, "{number}");
        }
        for number in [json!(0.001), json!(1e13), json!("5"), json!(1e300), json!(null)] {
            assert!(serde_json::from_value::<Money>(number.clone()).is_err(), "{number}");
        }
        assert_eq!(serde_json::to_value(Money::from_cents(123_456)).unwrap(), json!(1234.56));
    }

    #[test]
    fn a_part_is_rounded_to_the_cent_half_away_from_zero() {
        assert_eq!(Money::from_cents(1).part(1, 2), Money::from_cents(1));
        assert_eq!(Money::from_cents(-1).part(1, 2), Money::from_cents(-1));
        assert_eq!(Money::from_cents(100).part(1, 3), Money::from_cents(33));
        let yearly: Percent = serde_json::from_value(json!(6)).unwrap();
        assert_eq!(Money::from_cents(20_000_000).interest(yearly, 12), Money::from_cents(100_000));
        assert_eq!(yearly.of(Money::from_cents(1_050)), Money::from_cents(63));
    }

    #[test]
    fn only_plain_decimals_are_read() {
        assert_eq!(parse_decimal("12.345", 3), Some(12_345));
        assert_eq!(parse_decimal("12.3450", 3), Some(12_345));
        for text in ["1e5", "1.2345", "--1", "", "+1", "1.2.3"] {
            assert_eq!(parse_decimal(text, 3), None, "{text}");
        }
    }
}
