//! Decimal numbers as people write them, and sums of them that are exact.
//!
//! A number is a whole count of units of a power of ten, so a total is the total of the figures in
//! the file and not of their nearest binary fractions. How a figure is written (`1,234.50`,
//! `1.234,50`) is a property of its column, since a single `1,234` does not say what its comma is.

use greenroom_protocol::Json;

/// Digits behind the point that are kept; a longer fraction is refused rather than rounded.
const SCALE_MAX: u32 = 12;
/// Digits of a number at most, so that a billion of them still add up.
const DIGITS_MAX: usize = 28;
/// Digits behind the point of a quotient.
const QUOTIENT_SCALE: u32 = 6;

/// A decimal number: `units` ÷ 10^`scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    units: i128,
    scale: u32,
}

/// What a comma and a point mean in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `1,234.50`
    PointIsDecimal,
    /// `1.234,50`
    CommaIsDecimal,
}

impl Style {
    const fn decimal(self) -> char {
        match self {
            Self::PointIsDecimal => '.',
            Self::CommaIsDecimal => ',',
        }
    }

    const fn group(self) -> char {
        match self {
            Self::PointIsDecimal => ',',
            Self::CommaIsDecimal => '.',
        }
    }
}

/// Signs and codes that may stand before or behind a figure.
const CURRENCIES: [&str; 16] =
    ["US$", "$", "€", "£", "¥", "₹", "%", "USD", "EUR", "GBP", "CHF", "JPY", "INR", "CAD", "AUD", "kr"];

/// What stands for "no value" in a table.
pub(crate) fn is_blank(text: &str) -> bool {
    let text = text.trim();
    // Figures and dates are the common case, and none of the words begins with a digit.
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    text.is_empty()
        || ["-", "–", "—", "n/a", "na", "null", "none", "nan", "#n/a", "nil"]
            .iter()
            .any(|blank| text.eq_ignore_ascii_case(blank))
}

/// The figure without its sign, currency, brackets and spaces, and whether it is negative.
fn bare(text: &str) -> Option<(bool, String)> {
    let mut rest = text.trim();
    let mut negative = false;
    if let Some(inner) = rest.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        negative = true;
        rest = inner.trim();
    }
    // A sign and a currency may stand in either order: `-$5`, `$-5`, `5 €`, `5-`.
    for _ in 0..2 {
        if let Some(after) = rest.strip_prefix(['-', '−']) {
            negative = !negative;
            rest = after.trim_start();
        } else if let Some(after) = rest.strip_prefix('+') {
            rest = after.trim_start();
        }
        for sign in CURRENCIES {
            if let Some(after) = rest.strip_prefix(sign) {
                rest = after.trim_start();
                break;
            }
        }
    }
    for sign in CURRENCIES {
        if let Some(before) = rest.strip_suffix(sign) {
            rest = before.trim_end();
            break;
        }
    }
    if let Some(before) = rest.strip_suffix(['-', '−']) {
        negative = !negative;
        rest = before.trim_end();
    }
    let mut kept = String::with_capacity(rest.len());
    let mut previous_digit = false;
    for c in rest.chars() {
        match c {
            // Thin spaces, apostrophes and underscores only ever group digits.
            ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’' | '_' if previous_digit => continue,
            '0'..='9' => previous_digit = true,
            '.' | ',' | 'e' | 'E' | '+' | '-' => previous_digit = false,
            _ => return None,
        }
        kept.push(c);
    }
    kept.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == ',').then_some((negative, kept))
}

/// True if the text could be a figure under either style.
pub(crate) fn looks_numeric(text: &str) -> bool {
    [Style::PointIsDecimal, Style::CommaIsDecimal].iter().any(|style| Decimal::parse(text, *style).is_some())
}

/// What the figures of a column say about their own style; `None` if they fit both.
pub(crate) fn evidence<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Style> {
    for text in texts {
        let Some((_, kept)) = bare(text) else { continue };
        let (commas, points) = (kept.matches(',').count(), kept.matches('.').count());
        let shape = |mark: char| {
            let behind = kept.rsplit(mark).next().map_or(0, str::len);
            let before = kept.split(mark).next().unwrap_or_default();
            behind != 3 || before.len() > 3 || before.is_empty() || before.starts_with('0')
        };
        let style = match (commas, points) {
            (0, 0) => None,
            (1.., 1..) if kept.rfind(',') > kept.rfind('.') => Some(Style::CommaIsDecimal),
            (1.., 1..) | (2.., 0) => Some(Style::PointIsDecimal),
            (0, 2..) => Some(Style::CommaIsDecimal),
            (1, 0) => shape(',').then_some(Style::CommaIsDecimal),
            (0, 1) => shape('.').then_some(Style::PointIsDecimal),
        };
        if style.is_some() {
            return style;
        }
    }
    None
}

impl Decimal {
    /// Nothing.
    pub(crate) const ZERO: Self = Self { units: 0, scale: 0 };

    /// Reads a figure; `None` if it is none, if its groups are wrong, or if it is too long to be
    /// kept exactly. `007` is a code and not a figure.
    pub(crate) fn parse(text: &str, style: Style) -> Option<Self> {
        if let Some(plain) = Self::parse_plain(text, style) {
            return Some(plain);
        }
        let (negative, kept) = bare(text)?;
        let (mantissa, exponent) = match kept.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (kept.as_str(), 0),
        };
        let (whole, fraction) = match mantissa.split_once(style.decimal()) {
            Some((whole, fraction)) => (whole, fraction),
            None => (mantissa, ""),
        };
        let whole = ungroup(whole, style.group())?;
        if !fraction.bytes().all(|b| b.is_ascii_digit()) || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        Self::assemble(negative, &whole, fraction, exponent)
    }

    /// The common case without a copy: digits, at most one point, at most a minus before them.
    fn parse_plain(text: &str, style: Style) -> Option<Self> {
        const DIGITS: u32 = 18;
        if text.len() > 20 {
            return None;
        }
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (mut units, mut count, mut scale) = (0_i128, 0_u32, None);
        for byte in digits.bytes() {
            match byte {
                b'0'..=b'9' => {
                    if count == 1 && units == 0 && scale.is_none() {
                        return None;
                    }
                    units = units * 10 + i128::from(byte - b'0');
                    count += 1;
                    scale = scale.map(|scale: u32| scale + 1);
                }
                b'.' if scale.is_none() && count > 0 && style == Style::PointIsDecimal => scale = Some(0),
                _ => return None,
            }
        }
        let scale = scale.unwrap_or(0);
        let fits = (1..=DIGITS).contains(&count) && scale <= SCALE_MAX;
        fits.then_some(Self { units: if negative { -units } else { units }, scale })
    }

    fn assemble(negative: bool, whole: &str, fraction: &str, exponent: i32) -> Option<Self> {
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        let (padding, scale) =
            if scale < 0 { (usize::try_from(scale.unsigned_abs()).ok()?, 0) } else { (0, scale.unsigned_abs()) };
        if digits.len().checked_add(padding)? > DIGITS_MAX || scale > SCALE_MAX {
            return digits.is_empty().then_some(Self::ZERO);
        }
        let digits = format!("{digits}{}", "0".repeat(padding));
        let units: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        Some(Self { units: if negative { -units } else { units }, scale })
    }

    fn at(self, scale: u32) -> Option<i128> {
        10_i128.checked_pow(scale.checked_sub(self.scale)?)?.checked_mul(self.units)
    }

    fn level(self, other: Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        Some((self.at(scale)?, other.at(scale)?, scale))
    }

    /// The exact sum; `None` if it does not fit any more.
    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        let (a, b, scale) = self.level(other)?;
        Some(Self { units: a.checked_add(b)?, scale })
    }

    /// Compares by value.
    pub(crate) fn compare(self, other: Self) -> std::cmp::Ordering {
        match self.level(other) {
            Some((a, b, _)) => a.cmp(&b),
            // Only reached if one of them is beyond 10^26, where the nearest binary fraction decides.
            None => self.to_f64().total_cmp(&other.to_f64()),
        }
    }

    /// The quotient by a count, to at least six digits behind the point, rounded half to even.
    pub(crate) fn per(self, count: u64) -> Option<Self> {
        let scale = self.scale.max(QUOTIENT_SCALE);
        Some(Self { units: divide(self.at(scale)?, i128::from(count))?, scale })
    }

    /// By how many per cent `self` differs from `before`, to four digits; `None` from zero or beyond
    /// what can be computed.
    pub(crate) fn growth_pct(self, before: Self) -> Option<Self> {
        let (now, then, _) = self.level(before)?;
        let change = now.checked_sub(then)?.checked_mul(1_000_000)?;
        Some(Self { units: divide(change, then.checked_abs()?)?, scale: 4 })
    }

    /// Which part of `whole` this is, in per cent, to four digits.
    pub(crate) fn share_pct(self, whole: Self) -> Option<Self> {
        let (part, whole, _) = self.level(whole)?;
        Some(Self { units: divide(part.checked_mul(1_000_000)?, whole)?, scale: 4 })
    }

    /// The nearest binary fraction.
    pub(crate) fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The number as JSON: whole where it is whole.
    pub(crate) fn to_json(self) -> Json {
        let plain = self.plain();
        match i64::try_from(plain.units) {
            Ok(whole) if plain.scale == 0 => Json::from(whole),
            _ => Json::from(plain.to_f64()),
        }
    }

    fn plain(mut self) -> Self {
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
    let away = match twice.cmp(&divisor.checked_abs()?) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    let step = if (dividend < 0) == (divisor < 0) { 1 } else { -1 };
    Some(if away { quotient + step } else { quotient })
}

/// The digits without their group marks; `None` if the groups are not groups.
fn ungroup(whole: &str, mark: char) -> Option<String> {
    let mut groups = whole.split(mark);
    let first = groups.next().unwrap_or_default();
    let mut digits = first.to_owned();
    let mut grouped = false;
    for group in groups {
        // Two digits are the groups of the Indian system, which always ends with three.
        if !(2..=3).contains(&group.len()) {
            return None;
        }
        grouped = true;
        digits.push_str(group);
    }
    let last = whole.rsplit(mark).next().map_or(0, str::len);
    let ordered = !grouped || ((1..=3).contains(&first.len()) && last == 3);
    (ordered && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = self.plain();
        let sign = if plain.units < 0 { "-" } else { "" };
        let digits = plain.units.unsigned_abs().to_string();
        let scale = usize::try_from(plain.scale).unwrap_or_default();
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Decimal, Style, evidence, looks_numeric};

    fn read(text: &str) -> Option<String> {
        Decimal::parse(text, Style::PointIsDecimal).map(|number| number.to_string())
    }

    #[test]
    fn figures_are_read_as_people_write_them() {
        for (text, wanted) in [
            ("12", "12"),
            ("-0.50", "-0.5"),
            ("$1,234,567.89", "1234567.89"),
            ("US$ 5", "5"),
            ("-€12.30", "-12.3"),
            ("(1,000)", "-1000"),
            ("12 %", "12"),
            ("1.5e3", "1500"),
            ("1e-3", "0.001"),
            ("12’345.6", "12345.6"),
            ("1,00,000", "100000"),
            ("−7", "-7"),
        ] {
            assert_eq!(read(text).as_deref(), Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_figure_is_refused() {
        for text in [
            "",
            "abc",
            "12x",
            "1,23",
            "1.2.3",
            "007",
            "2024-11-14",
            "1,2345",
            "--",
            "e5",
            "99999999999999999999999999999999",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(!looks_numeric("12:30"));
    }

    #[test]
    fn a_column_says_what_its_comma_is() {
        assert_eq!(evidence(["1,234", "2,50"].into_iter()), Some(Style::CommaIsDecimal));
        assert_eq!(evidence(["1,234", "1,234,567"].into_iter()), Some(Style::PointIsDecimal));
        assert_eq!(evidence(["1.234,50"].into_iter()), Some(Style::CommaIsDecimal));
        assert_eq!(evidence(["1.5"].into_iter()), Some(Style::PointIsDecimal));
        assert_eq!(evidence(["1,234", "12"].into_iter()), None);
    }

    #[test]
    fn sums_and_quotients_are_exact() {
        let tenth = Decimal::parse("0.1", Style::PointIsDecimal).unwrap();
        let sum = (0..10).fold(Decimal::ZERO, |sum, _| sum.plus(tenth).unwrap());
        assert_eq!(sum.to_string(), "1");
        assert_eq!(sum.per(3).unwrap().to_string(), "0.333333");
        let (now, then) = (sum, Decimal::parse("0.8", Style::PointIsDecimal).unwrap());
        assert_eq!(now.growth_pct(then).unwrap().to_string(), "25");
        assert_eq!(now.growth_pct(Decimal::ZERO), None);
    }
}
