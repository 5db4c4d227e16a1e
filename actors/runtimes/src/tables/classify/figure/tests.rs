//! Figures as files contain them, in each notation.

use super::{Form, form_of};
use crate::tables::unit::Unit;

/// The value with a decimal point, the value with a decimal comma, and the unit.
fn read(text: &str) -> Option<(Option<String>, Option<String>, Option<&'static str>)> {
    match form_of(text) {
        Form::Figure(figure) => Some((
            figure.point.map(|value| value.to_string()),
            figure.comma.map(|value| value.to_string()),
            figure.unit.map(Unit::label),
        )),
        Form::NoValue | Form::SheetError | Form::Code | Form::Words => None,
    }
}

fn plain(text: &str) -> String {
    let (point, comma, _) = read(text).unwrap_or_else(|| panic!("{text} is no figure"));
    assert_eq!(point, comma, "{text}");
    point.unwrap()
}

#[test]
fn a_figure_without_a_decimal_mark_is_the_same_in_both_notations() {
    for (text, expected) in [
        ("12", "12"),
        ("+5", "5"),
        ("-5", "-5"),
        ("5-", "-5"),
        ("- 5", "-5"),
        ("−7", "-7"),
        ("–7", "-7"),
        ("(500)", "-500"),
        ("(-500)", "-500"),
        ("$(200)", "-200"),
        ("($200)", "-200"),
        ("(200) €", "-200"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("5- €", "-5"),
        ("SEK 100", "100"),
        ("100 kr", "100"),
        ("kr. 100", "100"),
        ("Rs. 500", "500"),
        ("100USD", "100"),
        ("$ -", "0"),
        ("€ –", "0"),
        ("12 %", "12"),
        ("1e3", "1000"),
        ("1E+05", "100000"),
        ("1 234 567", "1234567"),
        ("1\u{a0}234", "1234"),
        ("1\u{202f}234\u{202f}€", "1234"),
        ("1'234", "1234"),
        ("12’345’678", "12345678"),
        ("1_000", "1000"),
        ("5.-", "5"),
        ("\u{200e}5", "5"),
        ("$5M", "5000000"),
        ("$5m", "5000000"),
        ("5m €", "5000000"),
        ("5 Mio. €", "5000000"),
        ("5k€", "5000"),
        ("5Mio€", "5000000"),
        ("$5 USD", "5"),
        ("USD 5 $", "5"),
        ("١٢٣", "123"),
        ("۱۲۳", "123"),
        ("१२३", "123"),
        ("１２３", "123"),
        ("900k", "900000"),
    ] {
        assert_eq!(plain(text), expected, "{text}");
    }
}

#[test]
fn a_mark_that_only_one_notation_allows_is_decisive() {
    for (text, point, comma) in [
        ("0.673", Some("0.673"), None),
        ("1.5", Some("1.5"), None),
        (".5", Some("0.5"), None),
        ("$.50", Some("0.5"), None),
        ("1234.567", Some("1234.567"), None),
        ("1,234.50", Some("1234.5"), None),
        ("1'234.50", Some("1234.5"), None),
        ("1,23,456", Some("123456"), None),
        ("₹12,34,567.50", Some("1234567.5"), None),
        ("1,234,567", Some("1234567"), None),
        ("$(1,200.00)", Some("-1200"), None),
        ("1.5e3", Some("1500"), None),
        ("1,23", None, Some("1.23")),
        ("1.234,50", None, Some("1234.5")),
        ("1 234,567", None, Some("1234.567")),
        ("1.234.567", None, Some("1234567")),
        ("0,5 %", None, Some("0.5")),
        ("1.234", Some("1.234"), Some("1234")),
        ("1,200", Some("1200"), Some("1.2")),
    ] {
        let (with_point, with_comma, _) = read(text).unwrap_or_else(|| panic!("{text} is no figure"));
        assert_eq!((with_point.as_deref(), with_comma.as_deref()), (point, comma), "{text}");
    }
}

#[test]
fn a_text_that_is_not_a_figure_is_none() {
    for text in [
        "abc",
        "12x",
        "10 20",
        "1'23",
        "1.2.3",
        "1,2345,678",
        "2024-11-14",
        "--5",
        "5-5",
        "e5",
        "12:30",
        "1 2345",
        "-5-",
        "(5",
        "5)",
        "((5))",
        "()",
        "$",
        "%",
        "5 $ 5",
        "$5 kg",
        "$5 €",
        "5k€€",
        "0 123",
        "0,123,456",
        "1,,234",
        "TOP 10",
        "3 North",
        "B6",
        "M5",
        "m5",
        "K 2",
        "99999999999999999999999999999999",
    ] {
        assert_eq!(form_of(text), Form::Words, "{text}");
    }
}

#[test]
fn codes_errors_and_marks_for_no_value_are_no_figures() {
    for text in ["007", "00", "+49301234567"] {
        assert_eq!(form_of(text), Form::Code, "{text}");
    }
    for text in ["#DIV/0!", "#N/A", "#REF!"] {
        assert_eq!(form_of(text), Form::SheetError, "{text}");
    }
    for text in ["", "-", "–", "—", "n/a", "N/A", "k.A.", "NULL", "NaN"] {
        assert_eq!(form_of(text), Form::NoValue, "{text}");
    }
}

#[test]
fn a_figure_has_its_unit() {
    for (text, unit) in [
        ("$5", "$"),
        ("5 kg", "kg"),
        ("12%", "%"),
        ("SEK 100", "SEK"),
        ("US$ 5", "$"),
        ("R$ 1.234,50", "BRL"),
        ("5 m", "m"),
        ("$5 CAD", "CAD"),
        ("5k€", "€"),
        ("٥٪", "%"),
    ] {
        assert_eq!(read(text).unwrap().2, Some(unit), "{text}");
    }
}
