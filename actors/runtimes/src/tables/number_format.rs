//! Formats figures for readers: `$555,597`, `1.2M`, `+12.3%`, `n/a`.

use serde_json::Number;

use super::unit::{is_code, is_prefix};

/// Stands for a missing figure.
pub(crate) const ABSENT: &str = "n/a";

fn as_f64(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

/// The value of a figure for drawing; zero if it is missing.
pub(crate) fn to_f64(number: Option<&Number>) -> f64 {
    number.map_or(0.0, as_f64)
}

/// Formats in full: groups of three digits; at most two digits after the point, none from ten thousand, and
/// more for a small figure.
pub(crate) fn full(number: Option<&Number>, unit: Option<&str>) -> String {
    let Some(value) = number.map(as_f64).filter(|value| value.is_finite()) else { return ABSENT.to_owned() };
    let digits = if value.fract() == 0.0 || value.abs() >= 10_000.0 { 0 } else { rounded_digits(value, 2) };
    with_sign(value, group_digits(&fixed(number, value, digits)), unit)
}

/// Formats with all digits of the data, for tables that readers add up.
pub(crate) fn exact(number: Option<&Number>, unit: Option<&str>) -> String {
    /// Digits after the point beyond which a figure is only the nearest binary fraction.
    const DIGITS_MAX: usize = 6;
    let Some(value) = number.map(as_f64).filter(|value| value.is_finite()) else { return ABSENT.to_owned() };
    let own = value.abs().to_string().split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let digits = if value.fract() == 0.0 { 0 } else { own.clamp(2, rounded_digits(value, DIGITS_MAX)) };
    let mut text = fixed(number, value, digits);
    // Zeros at the end are those of the nearest binary fraction; amounts have two digits.
    while digits > 2 && text.ends_with('0') && text.split_once('.').is_some_and(|(_, fraction)| fraction.len() > 2) {
        text.pop();
    }
    with_sign(value, group_digits(&text), unit)
}

/// Formats a quotient, such as a mean: two digits after the point, and more for a small figure.
pub(crate) fn rounded(number: Option<&Number>, unit: Option<&str>) -> String {
    let Some(value) = number.map(as_f64).filter(|value| value.is_finite()) else { return ABSENT.to_owned() };
    let digits = if value.fract() == 0.0 { 0 } else { rounded_digits(value, 2) };
    with_sign(value, group_digits(&fixed(number, value, digits)), unit)
}

/// The digits after the point that show `digits` of a figure: zeros after the point do not count, so that
/// 0.0042 is not 0.00.
fn rounded_digits(value: f64, digits: usize) -> usize {
    /// The smallest figure that a binary fraction distinguishes has about this many zeros.
    const ZEROS_MAX: usize = 320;
    let fraction = value.abs();
    if fraction == 0.0 || fraction >= 1.0 {
        return digits;
    }
    let zeros =
        (1..ZEROS_MAX).take_while(|zeros| fraction < 10_f64.powi(-i32::try_from(*zeros).unwrap_or(i32::MAX))).count();
    digits + zeros
}

/// Formats the magnitude; an integer with all of its digits, which a binary fraction may not have.
fn fixed(number: Option<&Number>, value: f64, digits: usize) -> String {
    match number.and_then(Number::as_i64) {
        Some(integer) if digits == 0 => integer.unsigned_abs().to_string(),
        Some(_) | None => format!("{:.digits$}", value.abs()),
    }
}

/// Formats briefly, for axes and labels.
pub(crate) fn compact(number: f64, unit: Option<&str>) -> String {
    const STEPS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")];
    let magnitude = number.abs();
    let digits = |scaled: f64| match scaled {
        scaled if scaled < 1.0 => rounded_digits(scaled, 2),
        scaled if scaled < 10.0 => 2,
        scaled => usize::from(scaled < 100.0),
    };
    let short = match STEPS.iter().find(|(step, _)| magnitude >= *step * 0.9995) {
        Some((step, letter)) => {
            let scaled = magnitude / step;
            format!("{}{letter}", group_digits(&trim_zeros(scaled, digits(scaled).min(2))))
        }
        None => trim_zeros(magnitude, digits(magnitude)),
    };
    with_sign(number, short, unit)
}

/// Formats a change, always with its sign.
pub(crate) fn change(number: Option<&Number>) -> String {
    match number.map(as_f64).filter(|number| number.is_finite()) {
        Some(number) => {
            let rounded = format!("{}%", group_digits(&format!("{:.1}", number.abs())));
            let sign = if rounded == "0.0%" {
                ""
            } else if number < 0.0 {
                "−"
            } else {
                "+"
            };
            format!("{sign}{rounded}")
        }
        None => ABSENT.to_owned(),
    }
}

/// Formats a share.
pub(crate) fn share(number: Option<&Number>) -> String {
    match number.map(as_f64).filter(|number| number.is_finite()) {
        Some(number) if number != 0.0 && number.abs() < 0.05 => "<0.1%".to_owned(),
        Some(number) => with_sign(number, group_digits(&format!("{:.1}", number.abs())), Some("%")),
        None => ABSENT.to_owned(),
    }
}

/// `new_customers` → `New customers`, `kpi_insights` → `KPI insights`
pub(crate) fn title(name: &str) -> String {
    const SHORT: [&str; 8] = ["kpi", "kpis", "arr", "mrr", "roi", "gmv", "nps", "ebitda"];
    let spaced = name.replace(['_', '-'], " ");
    let spaced = spaced.trim();
    let (first, rest) =
        spaced.split_once(' ').map_or((spaced, ""), |(first, _)| (first, spaced.get(first.len()..).unwrap_or("")));
    if SHORT.contains(&first) {
        let plural = first == "kpis";
        let upper = first.trim_end_matches(if plural { "s" } else { "" }).to_uppercase();
        return format!("{upper}{}{rest}", if plural { "s" } else { "" });
    }
    let mut letters = spaced.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// `2024-11` → `Nov 2024`
pub(crate) fn month(text: &str) -> String {
    match text.split_once('-').and_then(|(year, month)| Some((year, short_month(month)?))) {
        Some((year, month)) => format!("{month} {year}"),
        None => text.to_owned(),
    }
}

/// `11` → `Nov`
pub(crate) fn short_month(number: &str) -> Option<&'static str> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let index = number.parse::<usize>().ok()?.checked_sub(1)?;
    MONTHS.get(index).copied()
}

fn with_sign(number: f64, plain: String, unit: Option<&str>) -> String {
    let sign = if number < 0.0 { "−" } else { "" };
    match unit {
        Some("%" | "‰") => format!("{sign}{plain}{}", unit.unwrap_or_default()),
        Some(unit) if is_prefix(unit) => format!("{sign}{unit}{plain}"),
        Some(unit) if is_code(unit) => format!("{sign}{unit} {plain}"),
        Some(unit) => format!("{sign}{plain} {unit}"),
        None => format!("{sign}{plain}"),
    }
}

fn trim_zeros(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn group_digits(text: &str) -> String {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut out = String::with_capacity(text.len() + integer.len() / 3);
    for (index, digit) in integer.chars().enumerate() {
        if index > 0 && (integer.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if fraction.is_empty() { out } else { format!("{out}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use serde_json::Number;

    use super::{change, compact, exact, full, month, rounded, share, title};

    fn number(value: f64) -> Number {
        Number::from_f64(value).unwrap()
    }

    #[test]
    fn figures_are_short_or_in_full() {
        assert_eq!(full(Some(&number(555_596.95)), Some("$")), "$555,597");
        assert_eq!(exact(Some(&number(555_596.95)), Some("$")), "$555,596.95");
        assert_eq!(full(Some(&number(-12.5)), None), "−12.50");
        assert_eq!(full(None, None), "n/a");
        for (value, expected) in [
            (0.0, "0"),
            (5.25, "5.25"),
            (999.0, "999"),
            (1_234.0, "1.23K"),
            (999_900.0, "1M"),
            (45_000.0, "45K"),
            (-2.5e9, "−2.5B"),
        ] {
            assert_eq!(compact(value, None), expected);
        }
    }

    #[test]
    fn a_small_figure_keeps_its_digits() {
        for (value, expected) in [(0.0042, "0.0042"), (0.5, "0.50"), (0.000_001_234, "0.0000012"), (-0.0042, "−0.0042")]
        {
            assert_eq!(full(Some(&number(value)), None), expected);
            assert_eq!(rounded(Some(&number(value)), None), expected);
        }
        assert_eq!(exact(Some(&number(0.000_123_4)), None), "0.0001234");
        assert_eq!(exact(Some(&number(3.579)), Some("kg")), "3.579 kg");
        assert_eq!(exact(Some(&number(0.300_000_000_000_000_04)), None), "0.30");
        assert_eq!((compact(0.0042, None), compact(0.000_05, Some("$"))), ("0.0042".to_owned(), "$0.00005".to_owned()));
    }

    #[test]
    fn a_large_figure_keeps_its_digits() {
        assert_eq!(exact(Some(&Number::from(9_007_199_254_740_993_i64)), None), "9,007,199,254,740,993");
        assert_eq!((compact(2.5e12, None), compact(1e16, None)), ("2.5T".to_owned(), "10,000T".to_owned()));
    }

    #[test]
    fn a_unit_is_written_where_readers_expect_it() {
        for (unit, expected) in [("$", "$5"), ("SEK", "SEK 5"), ("kr", "5 kr"), ("kg", "5 kg"), ("%", "5%")] {
            assert_eq!(exact(Some(&Number::from(5)), Some(unit)), expected);
        }
    }

    #[test]
    fn a_share_may_be_small_or_negative() {
        assert_eq!(
            (share(Some(&number(0.01))), share(Some(&number(-12.34)))),
            ("<0.1%".to_owned(), "−12.3%".to_owned())
        );
        assert_eq!(share(Some(&number(1234.5))), "1,234.5%");
    }

    #[test]
    fn a_change_has_its_sign() {
        assert_eq!(change(Some(&number(62.05))), "+62.0%");
        assert_eq!(change(Some(&number(-0.04))), "0.0%");
        assert_eq!(change(Some(&number(-3.21))), "−3.2%");
        assert_eq!(change(None), "n/a");
    }

    #[test]
    fn names_become_titles() {
        assert_eq!(title("new_customers"), "New customers");
        assert_eq!((title("kpi_insights"), title("kpis")), ("KPI insights".into(), "KPIs".into()));
        assert_eq!(month("2024-11"), "Nov 2024");
        assert_eq!(month("whole"), "whole");
    }
}
