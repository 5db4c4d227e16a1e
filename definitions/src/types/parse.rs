//! Values as a person types them: `--input max_length=500`.

use greenroom_protocol::Json;

use super::FieldType;

/// Reads a typed text as a value of a kind.
///
/// A text and a file are taken as they are; a number, a truth value, an array and an object are
/// read as JSON, and an array may also be written as `a, b, c`.
///
/// # Errors
/// What the text would have to be, as the end of a sentence.
pub fn parse_cli_value(kind: FieldType, text: &str) -> Result<Json, String> {
    let trimmed = text.trim();
    let wrong = || format!("must be {}, not {:?}", kind.described(), super::validate::shortened(text));
    match kind {
        FieldType::Text | FieldType::String | FieldType::File => Ok(Json::String(text.to_owned())),
        FieldType::Integer => trimmed.parse::<i64>().map(Json::from).map_err(|_| wrong()),
        FieldType::Number => match serde_json::from_str::<serde_json::Number>(trimmed) {
            Ok(number) => Ok(Json::Number(number)),
            Err(_) => Err(wrong()),
        },
        FieldType::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(Json::Bool(true)),
            "false" | "no" | "off" | "0" => Ok(Json::Bool(false)),
            _ => Err(wrong()),
        },
        FieldType::Array if trimmed.starts_with('[') => parse_json(trimmed, Json::is_array).ok_or_else(wrong),
        FieldType::Array if trimmed.is_empty() => Ok(Json::Array(Vec::new())),
        FieldType::Array => Ok(trimmed.split(',').map(|item| Json::from(item.trim())).collect()),
        FieldType::Object => parse_json(trimmed, Json::is_object).ok_or_else(wrong),
    }
}

fn parse_json(text: &str, fits: fn(&Json) -> bool) -> Option<Json> {
    serde_json::from_str(text).ok().filter(fits)
}
