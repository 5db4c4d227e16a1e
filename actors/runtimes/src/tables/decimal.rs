//! Decimal numbers in the formats that people write, with exact sums.
//!
//! A number is an integer count of units of a power of ten, so a total is the total of the figures in the
//! file and not of their nearest binary fractions. The style of a figure (`1,234.50`, `1.234,50`) is a
//! property of its column, since a single `1,234` does not determine the role of its comma.

use greenroom_protocol::Json;

/// Maximum digits after the point; a longer fraction is rejected rather than rounded.
const SCALE_MAX: u32 = 12;
/// Maximum digits of a number, so that the sum of a billion numbers still fits.
const DIGITS_MAX: usize = 28;
/// Digits after the point of a quotient.
const QUOTIENT_SCALE: u32 = 6;

/// A decimal number: `units` ÷ 10^`scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    units: i128,
    scale: u32,
}

/// The roles of comma and point in a column.
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

/// Signs and codes that may precede or follow a figure.
const CURRENCIES: [&str; 16] =
    ["US$", "$", "€", "£", "¥", "₹", "%", "USD", "EUR", "GBP", "CHF", "JPY", "INR", "CAD", "AUD", "kr"];

/// True if the text means "no value" in a table.
pub(crate) fn is_blank(text: &str) -> bool {
    let text = text.trim();
    // Figures and dates are the common case, and none of the blank words begins with a digit.
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    text.is_empty()
        || ["-", "–", "—", "n/a", "na", "null", "none", "nan", "#n/a", "nil"]
            .iter()
            .any(|blank| text.eq_ignore_ascii_case(blank))
}

/// Strips sign, currency, brackets and spaces of a figure, and determines whether it is negative.
fn strip_marks(text: &str) -> Option<(bool, String)> {
    let mut rest = text.trim();
    let mut negative = false;
    if let Some(inner) = rest.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        negative = true;
        rest = inner.trim();
    }
    // Sign and currency may be in either order: `-$5`, `$-5`, `5 €`, `5-`.
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
    let mut figure = String::with_capacity(rest.len());
    let mut previous_digit = false;
    for c in rest.chars() {
        match c {
            // Thin spaces, apostrophes and underscores only ever group digits.
            ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’' | '_' if previous_digit => continue,
            '0'..='9' => previous_digit = true,
            '.' | ',' | 'e' | 'E' | '+' | '-' => previous_digit = false,
            _ => return None,
        }
        figure.push(c);
    }
    figure.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == ',').then_some((negative, figure))
}

/// True if the text is a figure in either style.
pub(crate) fn looks_numeric(text: &str) -> bool {
    [Style::PointIsDecimal, Style::CommaIsDecimal].iter().any(|style| Decimal::parse(text, *style).is_some())
}

/// Detects the style of the figures of a column; `None` if both styles match all of them.
pub(crate) fn detect_style<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Style> {
    for text in texts {
        let Some((_, figure)) = strip_marks(text) else { continue };
        let (commas, points) = (figure.matches(',').count(), figure.matches('.').count());
        let is_decimal = |mark: char| {
            let after = figure.rsplit(mark).next().map_or(0, str::len);
            let before = figure.split(mark).next().unwrap_or_default();
            after != 3 || before.len() > 3 || before.is_empty() || before.starts_with('0')
        };
        let style = match (commas, points) {
            (0, 0) => None,
            (1.., 1..) if figure.rfind(',') > figure.rfind('.') => Some(Style::CommaIsDecimal),
            (1.., 1..) | (2.., 0) => Some(Style::PointIsDecimal),
            (0, 2..) => Some(Style::CommaIsDecimal),
            (1, 0) => is_decimal(',').then_some(Style::CommaIsDecimal),
            (0, 1) => is_decimal('.').then_some(Style::PointIsDecimal),
        };
        if style.is_some() {
            return style;
        }
    }
    None
}

impl Decimal {
    /// Zero.
    pub(crate) const ZERO: Self = Self { units: 0, scale: 0 };

    /// Parses a figure; `None` if the text is not a figure, if its groups are wrong, or if it has too many
    /// digits to be exact. `007` is a code and not a figure.
    pub(crate) fn parse(text: &str, style: Style) -> Option<Self> {
        if let Some(plain) = Self::parse_plain(text, style) {
            return Some(plain);
        }
        let (negative, figure) = strip_marks(text)?;
        let (mantissa, exponent) = match figure.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (figure.as_str(), 0),
        };
        let (integer, fraction) = match mantissa.split_once(style.decimal()) {
            Some((integer, fraction)) => (integer, fraction),
            None => (mantissa, ""),
        };
        let integer = ungroup(integer, style.group())?;
        if !fraction.bytes().all(|b| b.is_ascii_digit()) || (integer.is_empty() && fraction.is_empty()) {
            return None;
        }
        if integer.len() > 1 && integer.starts_with('0') {
            return None;
        }
        Self::assemble(negative, &integer, fraction, exponent)
    }

    /// Parses the common case without a copy: digits, at most one point, and an optional minus.
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

    fn assemble(negative: bool, integer: &str, fraction: &str, exponent: i32) -> Option<Self> {
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("{integer}{fraction}");
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

    /// Compares by value.
    pub(crate) fn compare(self, other: Self) -> std::cmp::Ordering {
        match self.align(other) {
            Some((a, b, _)) => a.cmp(&b),
            // Only reached if one of them exceeds 10^26; then the nearest binary fractions are compared.
            None => self.to_f64().total_cmp(&other.to_f64()),
        }
    }

    /// The quotient by a count, to at least six digits after the point, rounded half to even.
    pub(crate) fn divide_by(self, count: u64) -> Option<Self> {
        let scale = self.scale.max(QUOTIENT_SCALE);
        Some(Self { units: divide(self.units_at(scale)?, i128::from(count))?, scale })
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

/// Removes the group separators; `None` if the groups are invalid.
fn ungroup(integer: &str, separator: char) -> Option<String> {
    let mut groups = integer.split(separator);
    let first = groups.next().unwrap_or_default();
    let mut digits = first.to_owned();
    let mut grouped = false;
    for group in groups {
        // The Indian system has groups of two digits, and always ends with a group of three.
        if !(2..=3).contains(&group.len()) {
            return None;
        }
        grouped = true;
        digits.push_str(group);
    }
    let last = integer.rsplit(separator).next().map_or(0, str::len);
    let is_valid = !grouped || ((1..=3).contains(&first.len()) && last == 3);
    (is_valid && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
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
    use super::{Decimal, Style, detect_style, looks_numeric};

    fn read(text: &str) -> Option<String> {
        Decimal::parse(text, Style::PointIsDecimal).map(|number| number.to_string())
    }

    #[test]
    fn figures_are_parsed_in_every_usual_form() {
        for (text, expected) in [
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
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_figure_is_rejected() {
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
    fn the_figures_of_a_column_determine_the_role_of_the_comma() {
        assert_eq!(detect_style(["1,234", "2,50"].into_iter()), Some(Style::CommaIsDecimal));
        assert_eq!(detect_style(["1,234", "1,234,567"].into_iter()), Some(Style::PointIsDecimal));
        assert_eq!(detect_style(["1.234,50"].into_iter()), Some(Style::CommaIsDecimal));
        assert_eq!(detect_style(["1.5"].into_iter()), Some(Style::PointIsDecimal));
        assert_eq!(detect_style(["1,234", "12"].into_iter()), None);
    }

    #[test]
    fn sums_and_quotients_are_exact() {
        let tenth = Decimal::parse("0.1", Style::PointIsDecimal).unwrap();
        let sum = (0..10).fold(Decimal::ZERO, |sum, _| sum.checked_add(tenth).unwrap());
        assert_eq!(sum.to_string(), "1");
        assert_eq!(sum.divide_by(3).unwrap().to_string(), "0.333333");
        let (now, previous) = (sum, Decimal::parse("0.8", Style::PointIsDecimal).unwrap());
        assert_eq!(now.growth_pct(previous).unwrap().to_string(), "25");
        assert_eq!(now.growth_pct(Decimal::ZERO), None);
    }
}
