//! What a JSON Schema allows: its type, its bounds and its requirements.

use greenroom_protocol::Json;

/// Maximum choices of an enumeration in a message.
const CHOICES_MAX: usize = 8;

/// The type of the schema; of several, the first that is not null.
pub(super) fn type_name(schema: &Json) -> &str {
    match schema.get("type") {
        Some(Json::String(name)) => name,
        Some(Json::Array(names)) => {
            names.iter().filter_map(Json::as_str).find(|name| *name != "null").unwrap_or("null")
        }
        Some(_) | None if schema.get("properties").is_some() => "object",
        Some(_) | None => "string",
    }
}

/// A bound on a number of characters or items.
pub(super) fn count_limit(schema: &Json, name: &str) -> Option<usize> {
    schema.get(name).and_then(Json::as_u64).and_then(|number| usize::try_from(number).ok())
}

/// True if an object of the schema must have this member.
pub(super) fn is_required(schema: &Json, name: &str) -> bool {
    let required = schema.get("required").and_then(Json::as_array);
    required.is_some_and(|names| names.iter().any(|required| required == name))
}

/// True if null matches the schema.
pub(super) fn allows_null(schema: &Json) -> bool {
    let contains = |member: &str, null: &Json| {
        schema.get(member).is_some_and(|value| value == null || value.as_array().is_some_and(|all| all.contains(null)))
    };
    if schema.get("enum").is_some() { contains("enum", &Json::Null) } else { contains("type", &Json::from("null")) }
}

/// Describes what a field expects, for a message.
pub(super) fn describe(schema: &Json) -> String {
    if let Some(choices) = schema.get("enum").and_then(Json::as_array) {
        let texts: Vec<String> = choices.iter().take(CHOICES_MAX).map(ToString::to_string).collect();
        let more = if choices.len() > CHOICES_MAX { ", …" } else { "" };
        return format!("one of {}{more}", texts.join(", "));
    }
    let described = match type_name(schema) {
        "array" => "a list",
        "object" => "an object",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "a text",
    };
    described.to_owned()
}

/// False for a number outside the bounds of the schema. It is not moved to the bound, which nothing states.
pub(super) fn is_within(schema: &Json, number: &Json) -> bool {
    let bound = |name: &str| schema.get(name).and_then(Json::as_f64);
    number.as_f64().is_some_and(|number| {
        bound("minimum").is_none_or(|minimum| number >= minimum) && bound("maximum").is_none_or(|max| number <= max)
    })
}

/// True if the length of a text is within the bounds of the schema.
pub(super) fn fits(schema: &Json, text: &str) -> bool {
    let length = text.chars().count();
    count_limit(schema, "minLength").is_none_or(|min| length >= min)
        && count_limit(schema, "maxLength").is_none_or(|max| length <= max)
}
