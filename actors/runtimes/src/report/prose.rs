//! Values that agents gave → Markdown text without anything that Markdown would run or fetch.

use greenroom_protocol::{ArtifactRef, Json};

use crate::tables::{TableFacts, number_format};

/// How deep lists are followed.
const DEPTH_MAX: usize = 3;

/// The text of an output; `None` if it has nothing that a reader would miss: charts, facts, nothing.
pub(super) fn of(value: &Json) -> Option<String> {
    if TableFacts::from_json(value).is_some() || ArtifactRef::from_json(value).is_some() {
        return None;
    }
    let text = match value {
        Json::Null => return None,
        Json::String(text) => text.trim().to_owned(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::Array(items) => items.iter().filter_map(|item| item_of(item, 0)).collect::<Vec<_>>().join("\n"),
        Json::Object(members) => members
            .iter()
            .filter_map(|(name, member)| Some(format!("### {}\n\n{}", number_format::title(name), of(member)?)))
            .collect::<Vec<_>>()
            .join("\n\n"),
    };
    (!text.is_empty()).then_some(text)
}

fn item_of(item: &Json, depth: usize) -> Option<String> {
    if depth > DEPTH_MAX {
        return Some(super::compact_json(item));
    }
    let indent = "  ".repeat(depth);
    match item {
        Json::Null => None,
        Json::String(text) => Some(format!("{indent}- {}", text.replace('\n', " "))),
        Json::Bool(_) | Json::Number(_) => Some(format!("{indent}- {item}")),
        Json::Array(items) => {
            Some(items.iter().filter_map(|item| item_of(item, depth + 1)).collect::<Vec<_>>().join("\n"))
        }
        // A picture is shown as a picture or not at all.
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

/// The text, cut at a character within the bound.
pub(super) fn bounded(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}
