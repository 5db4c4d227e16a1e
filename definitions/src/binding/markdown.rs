//! Renders values as Markdown, for an agent with a single text input.

use std::fmt::Write as _;

use greenroom_protocol::{ArtifactRef, Json, Values};

/// The depth to which a value is rendered as lists; deeper values are rendered as JSON.
const LIST_DEPTH_MAX: usize = 3;
/// The maximum size of a text that is rendered as an item of a list, in bytes.
const LINE_BYTES_MAX: usize = 120;

/// Renders named values as sections: a heading, then the value.
#[must_use]
pub fn sections(values: &Values) -> String {
    let mut text = String::new();
    for (name, value) in values {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "## {}\n", title(name));
        write_value(&mut text, value, 0);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

/// Renders one value as Markdown.
#[must_use]
pub fn render(value: &Json) -> String {
    let mut text = String::new();
    write_value(&mut text, value, 0);
    text
}

/// `financial_summary` → `Financial summary`.
fn title(name: &str) -> String {
    let spaced = name.replace(['_', '-'], " ");
    let mut letters = spaced.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn write_value(text: &mut String, value: &Json, depth: usize) {
    if let Some(artifact) = ArtifactRef::from_json(value) {
        let _ = write!(text, "{} ({}, {} bytes)", artifact.name, artifact.media_type, artifact.bytes);
        return;
    }
    match value {
        Json::Null => {}
        Json::Bool(_) | Json::Number(_) => text.push_str(&value.to_string()),
        Json::String(inner) => write_text(text, inner),
        Json::Array(items) if depth == 0 && items.iter().any(is_block) => {
            for item in items.iter().filter(|item| !item.is_null()) {
                if !text.is_empty() {
                    text.truncate(text.trim_end().len());
                    text.push_str("\n\n");
                }
                write_value(text, item, 0);
            }
        }
        Json::Object(members) if depth > 0 && !members.values().any(is_nested) => {
            let parts = members.iter().filter(|(_, member)| !member.is_null()).map(|(name, member)| {
                let mut part = format!("{}: ", title(name));
                write_value(&mut part, member, depth);
                part
            });
            text.push_str(&parts.collect::<Vec<_>>().join("; "));
        }
        Json::Array(items) if depth < LIST_DEPTH_MAX => {
            for item in items {
                write_item(text, None, item, depth);
            }
        }
        Json::Object(members) if depth < LIST_DEPTH_MAX => {
            for (name, member) in members {
                write_item(text, Some(name), member, depth);
            }
        }
        Json::Array(_) | Json::Object(_) => text.push_str(&value.to_string()),
    }
}

/// Writes one line of a list, with its nested list if there is one.
fn write_item(text: &mut String, name: Option<&str>, value: &Json, depth: usize) {
    if value.is_null() {
        return;
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&"  ".repeat(depth));
    text.push_str("- ");
    if let Some(name) = name {
        let _ = write!(text, "{}: ", title(name));
    }
    if is_list(value) && depth + 1 < LIST_DEPTH_MAX {
        while text.ends_with(' ') {
            text.pop();
        }
        text.push('\n');
    }
    write_value(text, value, depth + 1);
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

fn is_nested(value: &Json) -> bool {
    ArtifactRef::from_json(value).is_none()
        && match value {
            Json::Array(items) => !items.is_empty(),
            Json::Object(members) => !members.is_empty(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
        }
}

/// True if the value is rendered as lines below its name.
fn is_list(value: &Json) -> bool {
    match value {
        Json::Object(members) => is_nested(value) && members.values().any(is_nested),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => is_nested(value),
    }
}

/// True if the value is rendered between blank lines: a long text, or a list inside a list.
fn is_block(value: &Json) -> bool {
    match value {
        Json::String(text) => text.contains('\n') || text.len() > LINE_BYTES_MAX,
        Json::Array(items) => !items.is_empty(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => false,
    }
}

/// Replaces a drawing, whose source is of no use in a prompt, with its size.
fn write_text(text: &mut String, inner: &str) {
    let start = inner.trim_start();
    if start.starts_with("<svg") || start.starts_with("<?xml") || start.starts_with("data:image/") {
        let _ = write!(text, "(drawing, {} bytes)", inner.len());
    } else {
        text.push_str(inner);
    }
}
