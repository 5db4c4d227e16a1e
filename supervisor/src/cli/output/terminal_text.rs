//! Text of models, documents and users, made safe for a terminal. A control character in it could move the
//! cursor, set the title or type into the shell of whoever reads it, so each is shown as its code instead.

use greenroom_protocol::Json;

/// Replaces each control character by its code, such as `\u{1b}`, except for line ends and tabs.
pub(super) fn escape_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' | '\t' => escaped.push(char),
            char if is_control(char) => escaped.extend(char.escape_unicode()),
            char => escaped.push(char),
        }
    }
    escaped
}

/// Replaces each control character in serialized JSON by its escape. JSON has them only inside strings, and
/// escapes those below U+0020 itself.
pub(super) fn escape_json_controls(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            '\n' => escaped.push(char),
            char if is_control(char) => escaped.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => escaped.push(char),
        }
    }
    escaped
}

/// A document as YAML. YAML writes marks that change the direction of the text as they are, so a document with
/// a control character is written as escaped JSON, which YAML readers take as the same document.
pub(super) fn yaml(document: &Json) -> String {
    let yaml = serde_yaml_ng::to_string(document).unwrap_or_default();
    if yaml.chars().any(|char| !matches!(char, '\n' | '\t') && is_control(char)) {
        return escape_json_controls(&serde_json::to_string_pretty(document).unwrap_or_default());
    }
    yaml
}

/// True for the control characters of both sets, and for those that change the direction of the text.
fn is_control(char: char) -> bool {
    char.is_control() || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_sequence_is_shown_and_not_executed() {
        let text = escape_controls("\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}tab\tline\nü€");
        assert_eq!(text, "\\u{1b}]0;owned\\u{7}\\u{9b}2J\\u{202e}tab\tline\nü€");
    }

    #[test]
    fn escaped_json_is_the_same_document() {
        let document = serde_json::json!({ "text": "\u{1b}[31m\u{7f}\u{9b}2J\u{2066}ü\n\t" });
        let text = escape_json_controls(&serde_json::to_string_pretty(&document).unwrap());
        assert!(!text.chars().any(|char| char != '\n' && is_control(char)), "{text:?}");
        assert_eq!(serde_json::from_str::<Json>(&text).unwrap(), document);
    }

    #[test]
    fn yaml_with_a_control_character_is_the_same_document_without_it() {
        for text in ["a\u{202e}b", "\u{1b}[31m", "\u{9b}2J", "two\nlines\u{2066}"] {
            let document = serde_json::json!({ "text": text, "ü": [1, "plain"] });
            let yaml = yaml(&document);
            assert!(!yaml.chars().any(|char| char != '\n' && is_control(char)), "{yaml:?}");
            assert_eq!(serde_yaml_ng::from_str::<Json>(&yaml).unwrap(), document);
        }
        assert_eq!(yaml(&serde_json::json!({ "text": "plain" })), "text: plain\n");
    }
}
