//! The bounds on JSON that handlers in other languages send: how many values a document may have, and how long a message
//! about a document that cannot be read may be.
//!
//! Each value takes far more memory here than its bytes: two bytes for an item of a list become about thirty, and ten bytes
//! for an object become several hundred. So the bytes alone do not bound the memory.

use greenroom_protocol::value::truncate_utf8;

/// Values that one document may have, counted by its brackets and commas; `greenroom/_frames.py` has the same bound.
pub(crate) const VALUES_MAX: usize = 1_000_000;
/// Bytes of a message of the parser, which has texts of the document.
const MESSAGE_BYTES_MAX: usize = 300;

/// Whether a document has more values than allowed. It need not be JSON.
pub(crate) fn has_too_many_values(document: &[u8]) -> bool {
    // Most documents have few such bytes, even with those of their texts.
    let is_separator = |byte: &&u8| matches!(**byte, b',' | b'[' | b'{');
    document.iter().filter(is_separator).count() > VALUES_MAX && separators_outside_texts(document) > VALUES_MAX
}

fn separators_outside_texts(document: &[u8]) -> usize {
    let (mut separators, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in document {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => separators += 1,
            _ => {}
        }
    }
    separators
}

/// What the parser says, within a bound: it repeats a text where it expects another value, however long that is.
pub(crate) fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let excerpt = truncate_utf8(&text, MESSAGE_BYTES_MAX);
    if excerpt.len() < text.len() { format!("{excerpt} … (cut)") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_not_the_commas_of_texts() {
        assert!(!has_too_many_values(b"{\"a\":[1,2,3]}"));
        let list = |item: &str| format!("[{}]", [item].repeat(VALUES_MAX + 1).join(","));
        assert!(has_too_many_values(list("0").as_bytes()));
        assert!(!has_too_many_values(format!("[{}]", ["0"].repeat(VALUES_MAX).join(",")).as_bytes()));
        let text =
            format!("{{\"csv\":\"{}\\\\\",\"quoted\":\"\\\"{}\"}}", ",".repeat(VALUES_MAX), "[".repeat(VALUES_MAX));
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        assert!(!has_too_many_values(text.as_bytes()));
    }

    #[test]
    fn a_message_of_the_parser_is_bounded() {
        let text = format!("\"{}\"", "ä".repeat(1_000_000));
        let error = serde_json::from_str::<std::collections::BTreeMap<String, u8>>(&text).unwrap_err();
        assert!(error.to_string().len() > 1_000_000, "the parser repeats the text");
        let described = describe(&error);
        assert!(described.len() < MESSAGE_BYTES_MAX + 20 && described.ends_with("(cut)"), "{described}");
    }
}
