//! Validation of values against a definition. Every invalid field is reported, not only the first.

use greenroom_protocol::value::size_bytes;
use greenroom_protocol::{ArtifactRef, Cause, ErrorCode, Json, Values};
use serde_json::json;

use super::{Field, FieldType};
use crate::problem::did_you_mean;

/// Characters of an invalid value in an error message.
const PREVIEW_CHARS_MAX: usize = 40;

/// Validates inputs against fields and fills in defaults. `owner` is named in the error.
///
/// # Errors
/// `missing_input` if a required one is missing, else `invalid_input`; `details.problems` lists all
/// problems.
pub fn validate_inputs(owner: &str, fields: &[Field], mut inputs: Values) -> Result<Values, Cause> {
    let mut problems = Vec::new();
    let mut missing = Vec::new();
    let mut accepted = Values::new();
    for field in fields {
        let value = inputs.remove(&field.name).filter(|value| !value.is_null());
        match value.or_else(|| field.default.clone()) {
            Some(value) => match field.accept(value) {
                Ok(value) => drop(accepted.insert(field.name.clone(), value)),
                Err(message) => problems.push(format!("input `{}` {message}", field.name)),
            },
            None if field.required => missing.push(format!("input `{}` ({}) is missing", field.name, field.field_type)),
            None => {}
        }
    }
    for name in inputs.keys() {
        let hint = did_you_mean(name, fields.iter().map(|field| field.name.as_str()));
        problems.push(format!("there is no input `{name}`{}", hint.unwrap_or_default()));
    }
    let code = if missing.is_empty() { ErrorCode::InvalidInput } else { ErrorCode::MissingInput };
    missing.append(&mut problems);
    finish(code, owner, accepted, missing)
}

/// Validates outputs against fields and copies those with `from` from the inputs. Undeclared outputs
/// are dropped; a null value counts as missing. `owner` is named in the error.
///
/// # Errors
/// `invalid_output`; `details.problems` lists all problems.
pub fn validate_outputs(owner: &str, fields: &[Field], inputs: &Values, mut outputs: Values) -> Result<Values, Cause> {
    let mut problems = Vec::new();
    let mut accepted = Values::new();
    for field in fields {
        let value = match &field.from {
            Some(input) => inputs.get(input).cloned(),
            None => outputs.remove(&field.name),
        };
        match value.filter(|value| !value.is_null()) {
            Some(value) => match field.accept(value) {
                Ok(value) => drop(accepted.insert(field.name.clone(), value)),
                Err(message) => problems.push(format!("output `{}` {message}", field.name)),
            },
            None if field.required => {
                problems.push(format!("output `{}` ({}) is missing", field.name, field.field_type))
            }
            None => {}
        }
    }
    finish(ErrorCode::InvalidOutput, owner, accepted, problems)
}

fn finish(code: ErrorCode, owner: &str, accepted: Values, problems: Vec<String>) -> Result<Values, Cause> {
    if problems.is_empty() {
        return Ok(accepted);
    }
    Err(Cause::new(code, format!("{owner}: {}", problems.join("; "))).with_details(json!({ "problems": problems })))
}

pub(super) fn accept(field: &Field, value: Json) -> Result<Json, String> {
    if let Some(artifact) = ArtifactRef::from_json(&value) {
        return accept_artifact(field, &artifact).map(|()| value);
    }
    let value = typed(field.field_type, value)?;
    if let (FieldType::Array, Some(kind)) = (field.field_type, field.items) {
        return bounded(field, items(kind, value)?);
    }
    bounded(field, value)
}

fn accept_artifact(field: &Field, artifact: &ArtifactRef) -> Result<(), String> {
    match field.field_type {
        FieldType::Integer | FieldType::Number | FieldType::Boolean => {
            Err(format!("must be {}, not an artifact", field.field_type.described()))
        }
        FieldType::Text | FieldType::String | FieldType::Array | FieldType::Object | FieldType::File => {
            size(field, artifact.bytes)
        }
    }
}

/// Converts the value to the canonical form of its type.
fn typed(kind: FieldType, value: Json) -> Result<Json, String> {
    let fits = match kind {
        FieldType::Text | FieldType::String | FieldType::File => value.is_string(),
        FieldType::Integer => return whole(value),
        FieldType::Number => value.is_number(),
        FieldType::Boolean => value.is_boolean(),
        FieldType::Array => value.is_array(),
        FieldType::Object => value.is_object(),
    };
    if fits { Ok(value) } else { Err(mistyped(kind, &value)) }
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
        Some(_) | None => Err(mistyped(FieldType::Integer, &value)),
    }
}

fn items(kind: FieldType, value: Json) -> Result<Json, String> {
    let Json::Array(items) = value else { return Ok(value) };
    let typed_item = |(at, item): (usize, Json)| typed(kind, item).map_err(|message| format!("item {at} {message}"));
    items.into_iter().enumerate().map(typed_item).collect()
}

fn bounded(field: &Field, value: Json) -> Result<Json, String> {
    if !field.one_of.is_empty() && !field.one_of.contains(&value) {
        let options: Vec<String> = field.one_of.iter().map(ToString::to_string).collect();
        return Err(format!("must be one of {}, not {}", options.join(", "), preview(&value)));
    }
    if let Some(number) = value.as_f64() {
        check_min(field.minimum, number, "must be at least")?;
        check_max(field.maximum, number, "must be at most")?;
    }
    if let Some(text) = value.as_str() {
        check_count(field.min_length, field.max_length, text.chars().count(), "characters")?;
    }
    if let Some(items) = value.as_array() {
        check_count(field.min_items, field.max_items, items.len(), "items")?;
    }
    size(field, size_bytes(&value))?;
    Ok(value)
}

fn check_min(bound: Option<f64>, number: f64, words: &str) -> Result<(), String> {
    match bound {
        Some(bound) if number < bound => Err(format!("{words} {bound}, not {number}")),
        Some(_) | None => Ok(()),
    }
}

fn check_max(bound: Option<f64>, number: f64, words: &str) -> Result<(), String> {
    match bound {
        Some(bound) if number > bound => Err(format!("{words} {bound}, not {number}")),
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

fn size(field: &Field, bytes: u64) -> Result<(), String> {
    match field.max_bytes {
        Some(max) if bytes > max => Err(format!("may have at most {max} bytes, it has {bytes}")),
        Some(_) | None => Ok(()),
    }
}

fn mistyped(kind: FieldType, value: &Json) -> String {
    format!("must be {}, not {}", kind.described(), preview(value))
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

pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(PREVIEW_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
