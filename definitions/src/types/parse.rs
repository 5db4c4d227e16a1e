//! Values on the command line: `--input max_length=500`.

use greenroom_protocol::{Json, strict_json};

use super::FieldType;

/// Parses a text as a value of a type.
///
/// A text and a file are used unchanged; a number, a boolean, an array and an object are parsed as
/// JSON. A text that is no JSON list is an array of this one text: a comma is part of it.
///
/// # Errors
/// A message without its subject that names the expected type.
pub fn parse_cli_value(kind: FieldType, text: &str) -> Result<Json, String> {
    // Some programs begin a file with a byte order mark, which is no part of the value.
    let text = match kind {
        FieldType::Text | FieldType::String | FieldType::File => text,
        FieldType::Integer | FieldType::Number | FieldType::Boolean | FieldType::Array | FieldType::Object => {
            text.trim_start_matches('\u{feff}')
        }
    };
    let trimmed = text.trim();
    let mismatch = || format!("must be {}, not {:?}", kind.described(), super::validate::shortened(text));
    match kind {
        FieldType::Text | FieldType::String | FieldType::File => Ok(Json::String(text.to_owned())),
        FieldType::Integer => parse_integer(trimmed).ok_or_else(|| match is_whole(trimmed) {
            true => format!("must be an integer of at most 64 bits, not {}", super::validate::shortened(trimmed)),
            false => mismatch(),
        }),
        FieldType::Number => parse_json(trimmed, Json::is_number, mismatch),
        FieldType::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(Json::Bool(true)),
            "false" | "no" | "off" | "0" => Ok(Json::Bool(false)),
            _ => Err(mismatch()),
        },
        FieldType::Array if trimmed.starts_with('[') => parse_json(trimmed, Json::is_array, mismatch),
        FieldType::Array if trimmed.is_empty() => Ok(Json::Array(Vec::new())),
        FieldType::Array => Ok(Json::Array(vec![Json::from(text)])),
        FieldType::Object => parse_json(trimmed, Json::is_object, mismatch),
    }
}

/// An integer as JSON documents may have it: signed, or unsigned above the largest signed one.
fn parse_integer(text: &str) -> Option<Json> {
    text.parse::<i64>().map(Json::from).or_else(|_| text.parse::<u64>().map(Json::from)).ok()
}

fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_json(text: &str, fits: fn(&Json) -> bool, mismatch: impl FnOnce() -> String) -> Result<Json, String> {
    let value = serde_json::from_str(text).ok().filter(fits).ok_or_else(mismatch)?;
    strict_json::check(text.as_bytes()).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(value)
}
