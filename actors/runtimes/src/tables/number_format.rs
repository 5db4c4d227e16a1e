//! Figures as a board reads them: `$555,597`, `1.2M`, `+12.3%`, `n/a`.

use serde_json::Number;

/// What stands where there is no figure.
pub(crate) const ABSENT: &str = "n/a";

fn value(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

/// The value of a figure for drawing; zero where there is none.
pub(crate) fn drawn(number: Option<&Number>) -> f64 {
    number.map_or(0.0, value)
}

/// In full: groups of three digits; at most two digits behind the point, none above ten thousand.
pub(crate) fn full(number: Option<&Number>, unit: Option<&str>) -> String {
    let Some(number) = number.map(value).filter(|number| number.is_finite()) else { return ABSENT.to_owned() };
    let digits = if number.fract() == 0.0 || number.abs() >= 10_000.0 { 0 } else { 2 };
    signed(number, grouped(number.abs(), digits), unit)
}

/// To the last digit that the data gives, for tables that must add up.
pub(crate) fn exact(number: Option<&Number>, unit: Option<&str>) -> String {
    let Some(number) = number.map(value).filter(|number| number.is_finite()) else { return ABSENT.to_owned() };
    let digits = if number.fract() == 0.0 { 0 } else { 2 };
    signed(number, grouped(number.abs(), digits), unit)
}

/// Short, for axes and labels.
pub(crate) fn compact(number: f64, unit: Option<&str>) -> String {
    const STEPS: [(f64, &str); 3] = [(1e9, "B"), (1e6, "M"), (1e3, "K")];
    let magnitude = number.abs();
    let short = match STEPS.iter().find(|(step, _)| magnitude >= *step * 0.9995) {
        Some((step, letter)) => {
            let scaled = magnitude / step;
            format!("{}{letter}", trimmed(scaled, if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) }))
        }
        None => trimmed(magnitude, if magnitude < 10.0 { 2 } else { usize::from(magnitude < 100.0) }),
    };
    signed(number, short, unit)
}

/// A change: always with its sign.
pub(crate) fn change(number: Option<&Number>) -> String {
    match number.map(value).filter(|number| number.is_finite()) {
        Some(number) => {
            let rounded = format!("{}%", grouped(number.abs(), 1));
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

/// A part of a whole.
pub(crate) fn share(number: Option<&Number>) -> String {
    match number.map(value).filter(|number| number.is_finite()) {
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
    let place = number.parse::<usize>().ok()?.checked_sub(1)?;
    MONTHS.get(place).copied()
}

fn signed(number: f64, plain: String, unit: Option<&str>) -> String {
    let sign = if number < 0.0 { "−" } else { "" };
    match unit {
        Some("%") => format!("{sign}{plain}%"),
        Some("CHF") => format!("{sign}CHF {plain}"),
        Some(unit) => format!("{sign}{unit}{plain}"),
        None => format!("{sign}{plain}"),
    }
}

fn trimmed(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn grouped(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::with_capacity(text.len() + whole.len() / 3);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
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
        for (value, wanted) in [
            (0.0, "0"),
            (5.25, "5.25"),
            (999.0, "999"),
            (1_234.0, "1.23K"),
            (999_900.0, "1M"),
            (45_000.0, "45K"),
            (-2.5e9, "−2.5B"),
        ] {
            assert_eq!(compact(value, None), wanted);
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
