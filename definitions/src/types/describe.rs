//! Types in words, a line for each: what `greenroom agents show` prints above a definition.

use std::fmt::Write as _;

use super::{Field, FieldType, ValueType};

/// Describes inputs or outputs and the types in them, each level indented by two spaces.
#[must_use]
pub fn outline(fields: &[Field]) -> String {
    let mut text = String::new();
    for field in fields {
        let mut words = summary(&field.value_type);
        words.extend(requirement(field.required));
        words.extend(field.default.as_ref().map(|default| format!("default {default}")));
        words.extend(field.from.as_ref().map(|input| format!("copied from the input {input}")));
        write_line(&mut text, 0, &field.name, &words);
        write_members(&mut text, &field.value_type, 1);
    }
    text
}

fn write_line(text: &mut String, level: usize, name: &str, words: &[String]) {
    // Writing to a text cannot fail.
    let _ = writeln!(text, "{}{name}: {}", "  ".repeat(level), words.join(", "));
}

/// Writes the properties of an object, or of the objects of an array.
fn write_members(text: &mut String, value_type: &ValueType, level: usize) {
    for (name, property) in &innermost(value_type).properties {
        let mut words = summary(&property.value_type);
        words.extend(requirement(property.required));
        write_line(text, level, name, &words);
        write_members(text, &property.value_type, level + 1);
    }
}

/// The type of the items of an array of arrays, however deep; the type itself if it is no array.
fn innermost(value_type: &ValueType) -> &ValueType {
    value_type.items.as_deref().map_or(value_type, innermost)
}

fn requirement(required: bool) -> Option<String> {
    (!required).then(|| "optional".to_owned())
}

/// The kind and the constraints, in words.
fn summary(value_type: &ValueType) -> Vec<String> {
    let mut words = vec![kind(value_type)];
    words.extend(value_type.unit.as_ref().map(|unit| format!("in {unit}")));
    words.extend(value_type.format.map(|format| format.described().to_owned()));
    words.extend(value_type.pattern.as_ref().map(|pattern| format!("matching `{}`", pattern.as_str())));
    if !value_type.one_of.is_empty() {
        let options: Vec<String> = value_type.one_of.iter().map(ToString::to_string).collect();
        words.push(format!("one of {}", options.join(" | ")));
    }
    words.extend(range(value_type.minimum, value_type.maximum, ""));
    words.extend(range(value_type.min_length, value_type.max_length, " characters"));
    words.extend(range(value_type.min_items, value_type.max_items, " items"));
    words.extend(value_type.max_bytes.map(|max| format!("at most {max} bytes")));
    words
}

fn kind(value_type: &ValueType) -> String {
    match (value_type.kind, value_type.items.as_deref()) {
        (FieldType::Array, Some(items)) => format!("array of {}", summary(items).join(", ")),
        (FieldType::Object, _) if value_type.properties.is_empty() => "object with any properties".to_owned(),
        (kind, _) => kind.as_str().to_owned(),
    }
}

fn range<T: std::fmt::Display>(min: Option<T>, max: Option<T>, unit: &str) -> Option<String> {
    match (min, max) {
        (Some(min), Some(max)) => Some(format!("{min} to {max}{unit}")),
        (Some(min), None) => Some(format!("at least {min}{unit}")),
        (None, Some(max)) => Some(format!("at most {max}{unit}")),
        (None, None) => None,
    }
}
