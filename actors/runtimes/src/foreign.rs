//! What other parties write, before a model reads it: names and descriptions of tools, and their results. It is data, and
//! nothing in it is hidden from a person who reads the same text, or refers to an artifact.

use greenroom_protocol::Json;
use greenroom_protocol::value::{ARTIFACT_MEMBER, truncate_utf8};

/// The text without control characters, and without characters that are not visible, cut to this size.
///
/// Tags, selectors of variants and characters of no width can carry instructions that only a model reads.
pub(crate) fn visible_text(text: &str, bytes_max: usize) -> String {
    truncate_utf8(text, bytes_max).chars().filter(|c| is_visible(*c)).collect()
}

/// True for a character that a person sees, or that separates words.
pub(crate) fn is_visible(c: char) -> bool {
    if c.is_control() {
        return matches!(c, '\n' | '\t');
    }
    !matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// The value with another name in place of the one that would make a reference to an artifact of it.
pub(crate) fn without_references(value: Json) -> Json {
    match value {
        Json::Array(items) => items.into_iter().map(without_references).collect(),
        Json::Object(members) => {
            let rename = |name: String| if name == ARTIFACT_MEMBER { "artifact".to_owned() } else { name };
            let members = members.into_iter().map(|(name, value)| (rename(name), without_references(value)));
            Json::Object(members.collect())
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_has_nothing_that_only_a_model_reads() {
        let hidden = "a\u{1b}[31m\u{200b}\u{e0041}\u{2066}\u{fe0f}\u{e0101}\u{feff}\u{ad}\u{3164}b\n\tc \u{e4}\u{4e16}";
        assert_eq!(visible_text(hidden, 1_000), "a[31mb\n\tc \u{e4}\u{4e16}");
        assert_eq!(visible_text("abc", 2), "ab");
    }

    #[test]
    fn a_value_has_no_reference_to_an_artifact_at_any_depth() {
        let value = json!({ "a": [{ "$artifact": { "hash": "x", "$artifact": 1 } }], "$artifacts": 2 });
        let plain = json!({ "a": [{ "artifact": { "hash": "x", "artifact": 1 } }], "$artifacts": 2 });
        assert_eq!(without_references(value), plain);
    }
}
