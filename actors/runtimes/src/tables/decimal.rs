//! Decimal numbers with exact sums.
//!
//! A number is an integer count of units of a power of ten, so a total is the total of the figures in the
//! file and not of their nearest binary fractions. How people write figures is not known here
//! (`classify/figure.rs`).

use greenroom_protocol::Json;

/// Maximum digits after the point; a longer fraction is rounded half to even.
const SCALE_MAX: u32 = 18;
/// Maximum digits before the point, so that the sum of a billion numbers still fits.
const INTEGER_DIGITS_MAX: usize = 18;
/// Digits after the point of a quotient.
const QUOTIENT_SCALE: u32 = 6;

/// A decimal number: `units` ÷ 10^`scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    units: i128,
    scale: u32,
}

impl Decimal {
    /// Zero.
    pub(crate) const ZERO: Self = Self { units: 0, scale: 0 };

    /// Parses digits with at most one point, an optional minus and an optional exponent; `None` for any
    /// other text, or if the number has too many digits to be added up.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (digits, 0),
        };
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        Self::from_digits(negative, integer, fraction, exponent)
    }

    /// Assembles a number from its digits; `None` if there are none, or too many of them.
    pub(crate) fn from_digits(negative: bool, integer: &str, fraction: &str, exponent: i32) -> Option<Self> {
        if integer.is_empty() && fraction.is_empty() {
            return None;
        }
        if !integer.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let mut digits = format!("{integer}{fraction}");
        let point = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
        if digits.bytes().all(|digit| digit == b'0') {
            return Some(Self::ZERO);
        }
        let scale = if point < 0 {
            digits.push_str(&"0".repeat(usize::try_from(-point).ok().filter(|zeros| *zeros <= INTEGER_DIGITS_MAX)?));
            0
        } else {
            u32::try_from(point).ok()?
        };
        let digits = digits.trim_start_matches('0');
        if digits.len().saturating_sub(usize::try_from(scale).ok()?) > INTEGER_DIGITS_MAX {
            return None;
        }
        let (units, scale) = round_to_scale(digits, scale)?;
        Some(Self { units: if negative { -units } else { units }, scale })
    }

    fn units_at(self, scale: u32) -> Option<i128> {
        10_i128.checked_pow(scale.checked_sub(self.scale)?)?.checked_mul(self.units)
    }

    fn align(self, other: Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        Some((self.units_at(scale)?, other.units_at(scale)?, scale))
    }

    /// The exact sum; `None` on overflow.
    pub(crate) fn checked_add(self, other: Self) -> Option<Self> {
        let (a, b, scale) = self.align(other)?;
        Some(Self { units: a.checked_add(b)?, scale })
    }

    /// The exact difference; `None` on overflow.
    pub(crate) fn checked_sub(self, other: Self) -> Option<Self> {
        let (a, b, scale) = self.align(other)?;
        Some(Self { units: a.checked_sub(b)?, scale })
    }

    /// Digits after the point, without zeros at the end.
    pub(crate) fn fraction_digits(self) -> u32 {
        self.normalize().scale
    }

    /// Compares by value.
    pub(crate) fn compare(self, other: Self) -> std::cmp::Ordering {
        match self.align(other) {
            Some((a, b, _)) => a.cmp(&b),
            // Only reached if one of them is too large to be aligned; the nearest binary fractions differ then.
            None => self.to_f64().total_cmp(&other.to_f64()),
        }
    }

    /// The quotient by a count, rounded half to even: at least six digits after the point, and more for a
    /// small quotient, which would lose its leading digits.
    pub(crate) fn divide_by(self, count: u64) -> Option<Self> {
        const SMALL: i128 = 100_000;
        let mut scale = self.scale.max(QUOTIENT_SCALE);
        loop {
            let units = divide(self.units_at(scale)?, i128::from(count))?;
            if units.abs() >= SMALL || self.units == 0 || scale >= SCALE_MAX {
                return Some(Self { units, scale });
            }
            scale += 1;
        }
    }

    /// True if the number is below zero.
    pub(crate) const fn is_negative(self) -> bool {
        self.units < 0
    }

    /// True if the number is zero.
    pub(crate) const fn is_zero(self) -> bool {
        self.units == 0
    }

    /// True if the number has no fraction.
    pub(crate) fn is_integer(self) -> bool {
        self.fraction_digits() == 0
    }

    /// The difference from `before` in per cent, to four digits; `None` if `before` is zero or on
    /// overflow.
    pub(crate) fn growth_pct(self, before: Self) -> Option<Self> {
        let (now, previous, _) = self.align(before)?;
        let change = now.checked_sub(previous)?.checked_mul(1_000_000)?;
        Some(Self { units: divide(change, previous.checked_abs()?)?, scale: 4 })
    }

    /// The share of this number in `total`, in per cent, to four digits.
    pub(crate) fn share_pct(self, total: Self) -> Option<Self> {
        let (part, total, _) = self.align(total)?;
        Some(Self { units: divide(part.checked_mul(1_000_000)?, total)?, scale: 4 })
    }

    /// The nearest binary fraction.
    pub(crate) fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// Converts the number to JSON: an integer if it is one.
    pub(crate) fn to_json(self) -> Json {
        let plain = self.normalize();
        match i64::try_from(plain.units) {
            Ok(integer) if plain.scale == 0 => Json::from(integer),
            _ => Json::from(plain.to_f64()),
        }
    }

    /// True if [`Self::to_json`] loses no digit.
    pub(crate) fn is_exact_in_json(self) -> bool {
        let plain = self.normalize();
        (plain.scale == 0 && i64::try_from(plain.units).is_ok()) || plain.to_f64().to_string() == plain.to_string()
    }

    fn normalize(mut self) -> Self {
        while self.scale > 0 && self.units % 10 == 0 {
            self.units /= 10;
            self.scale -= 1;
        }
        self
    }
}

/// Divides and rounds half to even; `None` by zero.
fn divide(dividend: i128, divisor: i128) -> Option<i128> {
    let (quotient, rest) = (dividend.checked_div(divisor)?, dividend.checked_rem(divisor)?);
    let twice = rest.checked_mul(2)?.checked_abs()?;
    let rounds_away = match twice.cmp(&divisor.checked_abs()?) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    let step = if (dividend < 0) == (divisor < 0) { 1 } else { -1 };
    Some(if rounds_away { quotient + step } else { quotient })
}

/// Drops the digits beyond [`SCALE_MAX`], and rounds half to even.
fn round_to_scale(digits: &str, scale: u32) -> Option<(i128, u32)> {
    let excess = usize::try_from(scale.saturating_sub(SCALE_MAX)).ok()?;
    if excess == 0 {
        return Some((digits.parse().ok()?, scale));
    }
    let Some(length) = digits.len().checked_sub(excess) else { return Some((0, 0)) };
    let (retained, dropped) = digits.split_at_checked(length)?;
    let units: i128 = if retained.is_empty() { 0 } else { retained.parse().ok()? };
    let half = format!("5{}", "0".repeat(excess - 1));
    let rounds_up = dropped > half.as_str() || (dropped == half && units % 2 != 0);
    Some((units + i128::from(rounds_up), SCALE_MAX))
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = self.normalize();
        let sign = if plain.units < 0 { "-" } else { "" };
        let digits = plain.units.unsigned_abs().to_string();
        let scale = usize::try_from(plain.scale).unwrap_or_default();
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (integer, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{integer}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    fn read(text: &str) -> Option<String> {
        Decimal::parse(text).map(|number| number.to_string())
    }

    #[test]
    fn a_plain_number_is_parsed_exactly() {
        for (text, expected) in [
            ("12", "12"),
            ("-0.50", "-0.5"),
            (".5", "0.5"),
            ("1.5e3", "1500"),
            ("1e-3", "0.001"),
            ("1E+2", "100"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("1e-300", "0"),
            ("0.0000000000000000015", "0.000000000000000002"),
            ("0e99", "0"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "-", ".", "e5", "1.2.3", "1,2", "+-1", "1e", "99999999999999999999999999999999", "1e40"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn sums_and_quotients_are_exact() {
        let tenth = Decimal::parse("0.1").unwrap();
        let sum = (0..10).fold(Decimal::ZERO, |sum, _| sum.checked_add(tenth).unwrap());
        assert_eq!(sum.to_string(), "1");
        assert_eq!(sum.divide_by(3).unwrap().to_string(), "0.333333");
        let previous = Decimal::parse("0.8").unwrap();
        assert_eq!(sum.growth_pct(previous).unwrap().to_string(), "25");
        assert_eq!(sum.growth_pct(Decimal::ZERO), None);
    }

    #[test]
    fn a_small_quotient_has_its_leading_digits() {
        let small = Decimal::parse("0.0000042").unwrap();
        assert_eq!(small.divide_by(2).unwrap().to_string(), "0.0000021");
        assert_eq!(Decimal::parse("0.01").unwrap().divide_by(30_000).unwrap().to_string(), "0.000000333333");
    }

    #[test]
    fn a_number_reports_whether_json_carries_all_of_its_digits() {
        assert!(Decimal::parse("0.1").unwrap().is_exact_in_json());
        assert!(Decimal::parse("9007199254740993").unwrap().is_exact_in_json(), "an integer");
        assert!(!Decimal::parse("90071992547409.93123").unwrap().is_exact_in_json());
    }
}
