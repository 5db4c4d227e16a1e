//! Output values → Markdown text without anything that a Markdown renderer would execute or fetch.

use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{ArtifactRef, Json};

use crate::models::offline::DISCLAIMER;
use crate::tables::{TableFacts, number_format};

/// Maximum depth of nested lists.
const DEPTH_MAX: usize = 3;

/// Converts an output to the text of a section. The marks of its texts become one, at its end.
pub(super) fn to_section(value: &Json) -> Option<String> {
    let text = to_markdown(value)?;
    if !text.contains(DISCLAIMER) {
        return Some(text);
    }
    let unmarked = text.replace(&format!(" {DISCLAIMER}"), "").replace(DISCLAIMER, "");
    Some(format!("{}\n\n{DISCLAIMER}", unmarked.trim_end()))
}

/// Converts an output to text; `None` for charts, facts and empty values.
fn to_markdown(value: &Json) -> Option<String> {
    if TableFacts::from_json(value).is_some() || ArtifactRef::from_json(value).is_some() {
        return None;
    }
    let text = match value {
        Json::Null => return None,
        Json::String(text) => text.trim().to_owned(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::Array(items) => items.iter().filter_map(|item| list_item(item, 0)).collect::<Vec<_>>().join("\n"),
        Json::Object(members) => members
            .iter()
            .filter_map(|(name, member)| {
                Some(format!("### {}\n\n{}", number_format::title(name), to_markdown(member)?))
            })
            .collect::<Vec<_>>()
            .join("\n\n"),
    };
    (!text.is_empty()).then_some(text)
}

fn list_item(item: &Json, depth: usize) -> Option<String> {
    if depth > DEPTH_MAX {
        return Some(super::compact_json(item));
    }
    let indent = "  ".repeat(depth);
    match item {
        Json::Null => None,
        Json::String(text) => Some(format!("{indent}- {}", text.replace('\n', " "))),
        Json::Bool(_) | Json::Number(_) => Some(format!("{indent}- {item}")),
        Json::Array(items) => {
            Some(items.iter().filter_map(|item| list_item(item, depth + 1)).collect::<Vec<_>>().join("\n"))
        }
        // An image is shown as an image or not at all.
        Json::Object(members) if members.contains_key("svg") => None,
        Json::Object(members) => {
            let parts: Vec<String> = members
                .iter()
                .filter(|(_, member)| !member.is_null())
                .map(|(name, member)| match member {
                    Json::String(text) => format!("{}: {}", number_format::title(name), text.replace('\n', " ")),
                    other => format!("{}: {}", number_format::title(name), super::compact_json(other)),
                })
                .collect();
            Some(format!("{indent}- {}", parts.join("; ")))
        }
    }
}

/// Truncates the text between two characters, and marks that it was cut.
pub(super) fn truncate(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    format!("{}…", truncate_utf8(text, bytes_max))
}
