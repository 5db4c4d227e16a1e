//! Types of plain scalars: the core schema of YAML 1.2, without octal and infinite numbers. A number that its type
//! cannot hold digit for digit, or that older versions of YAML read as another one, is an error.

use serde_json::Number;

use super::{NodeValue, Position, WrittenNumber, YamlError};
use crate::problem::ProblemKind;

/// Parses a scalar without quotes.
pub(super) fn plain(text: &str, at: Position) -> Result<NodeValue, YamlError> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => NodeValue::Null,
        "true" | "True" | "TRUE" => NodeValue::Bool(true),
        "false" | "False" | "FALSE" => NodeValue::Bool(false),
        _ => match number(text) {
            Some(value) => {
                exact(text, &value, at)?;
                NodeValue::Number(WrittenNumber { value, text: text.into() })
            }
            None => NodeValue::Text(text.to_owned()),
        },
    })
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    // A number that JSON cannot represent (`1e999`, `.inf`) remains a text.
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Number::from);
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Number::from(whole));
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Some(Number::from(whole));
    }
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    if plain { text.parse::<f64>().ok().and_then(Number::from_f64) } else { None }
}

fn exact(text: &str, value: &Number, at: Position) -> Result<(), YamlError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let error = |found, expected: &str| {
        Err(YamlError { at, kind: ProblemKind::InvalidValue, found, expected: expected.into() })
    };
    let zero = digits.strip_prefix('0').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if zero {
        let found = format!("the number {} begins with a zero", excerpt(text));
        return error(found, "put it in quotes if it is a text, such as a code; else remove the zero");
    }
    if !text.starts_with("0x") && decimal(text) != decimal(&value.to_string()) {
        let found = format!("the number {} has more digits than a number can have", excerpt(text));
        return error(found, "put it in quotes if it is a text; else remove digits");
    }
    Ok(())
}

/// A number without the parts of its notation that have no value: its significant digits, and the power of ten of
/// the last one. The sign is omitted.
fn decimal(text: &str) -> (String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = whole.chars().chain(fraction.chars()).filter(char::is_ascii_digit).collect();
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let power = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let exponent = exponent.parse::<i64>().unwrap_or_default();
    match significant {
        "" => (String::new(), 0),
        _ => (significant.to_owned(), exponent.saturating_sub(power(fraction.len())).saturating_add(power(trailing))),
    }
}

/// The beginning of a number for a message.
fn excerpt(text: &str) -> String {
    if text.len() <= 40 { text.to_owned() } else { format!("{}…", text.get(..40).unwrap_or_default()) }
}
