//! Formats figures for readers: `$555,597`, `1.2M`, `+12.3%`, `n/a`.

use serde_json::Number;

/// Stands for a missing figure.
pub(crate) const ABSENT: &str = "n/a";

fn as_f64(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

/// The value of a figure for drawing; zero if it is missing.
pub(crate) fn to_f64(number: Option<&Number>) -> f64 {
    number.map_or(0.0, as_f64)
}

/// Formats in full: groups of three digits; at most two digits after the point, none from ten thousand.
pub(crate) fn full(number: Option<&Number>, unit: Option<&str>) -> String {
    let Some(number) = number.map(as_f64).filter(|number| number.is_finite()) else { return ABSENT.to_owned() };
    let digits = if number.fract() == 0.0 || number.abs() >= 10_000.0 { 0 } else { 2 };
    with_sign(number, group_digits(number.abs(), digits), unit)
}

/// Formats with all digits of the data, for tables that readers add up.
pub(crate) fn exact(number: Option<&Number>, unit: Option<&str>) -> String {
    let Some(number) = number.map(as_f64).filter(|number| number.is_finite()) else { return ABSENT.to_owned() };
    let digits = if number.fract() == 0.0 { 0 } else { 2 };
    with_sign(number, group_digits(number.abs(), digits), unit)
}

/// Formats briefly, for axes and labels.
pub(crate) fn compact(number: f64, unit: Option<&str>) -> String {
    const STEPS: [(f64, &str); 3] = [(1e9, "B"), (1e6, "M"), (1e3, "K")];
    let magnitude = number.abs();
    let short = match STEPS.iter().find(|(step, _)| magnitude >= *step * 0.9995) {
        Some((step, letter)) => {
            let scaled = magnitude / step;
            format!("{}{letter}", trim_zeros(scaled, if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) }))
        }
        None => trim_zeros(magnitude, if magnitude < 10.0 { 2 } else { usize::from(magnitude < 100.0) }),
    };
    with_sign(number, short, unit)
}

/// Formats a change, always with its sign.
pub(crate) fn change(number: Option<&Number>) -> String {
    match number.map(as_f64).filter(|number| number.is_finite()) {
        Some(number) => {
            let rounded = format!("{}%", group_digits(number.abs(), 1));
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
        Some(number) => format!("{number:.1}%"),
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
        Some("%") => format!("{sign}{plain}%"),
        Some("CHF") => format!("{sign}CHF {plain}"),
        Some(unit) => format!("{sign}{unit}{plain}"),
        None => format!("{sign}{plain}"),
    }
}

fn trim_zeros(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn group_digits(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    let (integer, fraction) = text.split_once('.').unwrap_or((&text, ""));
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

    use super::{change, compact, exact, full, month, title};

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
