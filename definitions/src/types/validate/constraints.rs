//! The kind and the constraints of one value. A message has no subject.

use std::cmp::Ordering;

use greenroom_protocol::Json;
use greenroom_protocol::value::size_bytes;

use crate::types::{FieldType, ValueType};

/// Characters of an invalid value in an error message.
const PREVIEW_CHARS_MAX: usize = 40;

/// Converts the value to the canonical form of its kind.
pub(super) fn typed(kind: FieldType, value: Json) -> Result<Json, String> {
    let fits = match kind {
        FieldType::Text | FieldType::String | FieldType::File => value.is_string(),
        FieldType::Integer => return whole(value),
        FieldType::Number => value.is_number(),
        FieldType::Boolean => value.is_boolean(),
        FieldType::Array => value.is_array(),
        FieldType::Object => value.is_object(),
    };
    if fits { Ok(value) } else { Err(mistyped(kind, &preview(&value))) }
}

fn whole(value: Json) -> Result<Json, String> {
    if value.is_i64() || value.is_u64() {
        return Ok(value);
    }
    match value.as_f64() {
        // Above 2^53 a double does not represent every integer.
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        Some(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => {
            Ok(Json::from(number as i64))
        }
        Some(_) | None => Err(mistyped(FieldType::Integer, &preview(&value))),
    }
}

/// Checks the constraints of a value of the right kind.
pub(super) fn check(value_type: &ValueType, value: &Json) -> Result<(), String> {
    if !value_type.one_of.is_empty() && !value_type.one_of.iter().any(|option| is_equal(option, value)) {
        let options: Vec<String> = value_type.one_of.iter().map(ToString::to_string).collect();
        return Err(format!("must be one of {}, not {}", options.join(", "), preview(value)));
    }
    check_min(value_type.minimum, value)?;
    check_max(value_type.maximum, value)?;
    if let Some(text) = value.as_str() {
        check_count(value_type.min_length, value_type.max_length, text.chars().count(), "characters")?;
        check_text(value_type, text)?;
    }
    if let Some(items) = value.as_array() {
        check_count(value_type.min_items, value_type.max_items, items.len(), "items")?;
    }
    match value_type.max_bytes {
        Some(_) => check_size(value_type, size_bytes(value)),
        None => Ok(()),
    }
}

fn check_text(value_type: &ValueType, text: &str) -> Result<(), String> {
    if let Some(pattern) = value_type.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        return Err(format!("must match the pattern `{}`, not {:?}", pattern.as_str(), shortened(text)));
    }
    match value_type.format {
        Some(format) if !format.accepts(text) => {
            Err(format!("must be {}, not {:?}", format.described(), shortened(text)))
        }
        Some(_) | None => Ok(()),
    }
}

/// True if two values are equal, however a number is written: 1 and 1.0.
fn is_equal(option: &Json, value: &Json) -> bool {
    let is_fraction = option.is_f64() || value.is_f64();
    option == value || (is_fraction && option.as_f64().zip(value.as_f64()).is_some_and(|(one, other)| one == other))
}

/// Compares a number with a bound. Whole numbers above 2^53 keep their digits.
fn compare(number: &Json, bound: f64) -> Option<Ordering> {
    const EXACT_MAX: f64 = 1e30;
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match whole {
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        Some(whole) if bound.fract() == 0.0 && bound.abs() < EXACT_MAX => Some(whole.cmp(&(bound as i128))),
        Some(_) | None => number.as_f64()?.partial_cmp(&bound),
    }
}

fn check_min(bound: Option<f64>, number: &Json) -> Result<(), String> {
    match bound {
        Some(bound) if compare(number, bound) == Some(Ordering::Less) => {
            Err(format!("must be at least {bound}, not {number}"))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_max(bound: Option<f64>, number: &Json) -> Result<(), String> {
    match bound {
        Some(bound) if compare(number, bound) == Some(Ordering::Greater) => {
            Err(format!("must be at most {bound}, not {number}"))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_count(min: Option<u64>, max: Option<u64>, count: usize, unit: &str) -> Result<(), String> {
    let count = count as u64;
    match (min, max) {
        (Some(min), _) if count < min => Err(format!("must have at least {min} {unit}, it has {count}")),
        (_, Some(max)) if count > max => Err(format!("may have at most {max} {unit}, it has {count}")),
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

pub(super) fn check_size(value_type: &ValueType, bytes: u64) -> Result<(), String> {
    match value_type.max_bytes {
        Some(max) if bytes > max => Err(format!("may have at most {max} bytes, it has {bytes}")),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn mistyped(kind: FieldType, found: &str) -> String {
    format!("must be {}, not {found}", kind.described())
}

/// Formats an invalid value for an error message: a short value itself, otherwise its type and size.
fn preview(value: &Json) -> String {
    match value {
        Json::Null => "null".into(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) => format!("{:?}", shortened(text)),
        Json::Array(items) => format!("an array of {}", items.len()),
        Json::Object(_) => "an object".into(),
    }
}

pub(in crate::types) fn shortened(text: &str) -> String {
    match text.char_indices().nth(PREVIEW_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
