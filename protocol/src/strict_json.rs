//! JSON that can be read in one way only. A parser takes the last of two members with one name, and the nearest number
//! that it can hold; its sender would not learn of either. Here both are errors that name the member.
//!
//! Every ingress reads what it receives with [`from_slice`] or [`from_str`].

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::de::{DeserializeOwned, Error as _};

/// Characters of a member's name that a message repeats.
const NAME_CHARS_MAX: usize = 64;
/// Characters of a number that a message repeats.
const NUMBER_CHARS_MAX: usize = 40;
/// Digits of a whole number up to which a signed and an unsigned integer hold it.
const SAFE_DIGITS_MAX: usize = 18;

/// Parses a document.
///
/// # Errors
/// That of the parser, or that of [`check`].
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let value = serde_json::from_slice(bytes)?;
    check(bytes)?;
    Ok(value)
}

/// Parses a document.
///
/// # Errors
/// As [`from_slice`].
pub fn from_str<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    from_slice(text.as_bytes())
}

/// Checks a document that a parser has accepted: every member of an object occurs once, and a whole number fits into 64
/// bits.
///
/// # Errors
/// The path of the first member that is not so.
pub fn check(bytes: &[u8]) -> serde_json::Result<()> {
    match Scan::default().find_ambiguity(bytes) {
        Some(found) => Err(serde_json::Error::custom(found)),
        None => Ok(()),
    }
}

/// An object or a list that has not ended.
enum Level<'a> {
    Object {
        names: BTreeSet<Cow<'a, str>>,
        /// The name of the current member, once it is read.
        name: Option<Cow<'a, str>>,
    },
    List {
        index: usize,
    },
}

/// What has begun before the current byte. The nesting is a list, so that it causes no recursion.
#[derive(Default)]
struct Scan<'a> {
    levels: Vec<Level<'a>>,
}

impl<'a> Scan<'a> {
    fn find_ambiguity(mut self, bytes: &'a [u8]) -> Option<String> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let begin = at;
            at += 1;
            match byte {
                b'{' => self.levels.push(Level::Object { names: BTreeSet::new(), name: None }),
                b'[' => self.levels.push(Level::List { index: 0 }),
                b'}' | b']' => {
                    self.levels.pop();
                }
                b',' => self.next_member(),
                b'"' => {
                    at = text_end(bytes, at);
                    if let Some(found) = self.on_text(bytes.get(begin..at).unwrap_or_default()) {
                        return Some(found);
                    }
                }
                b'-' | b'0'..=b'9' => {
                    at = number_end(bytes, at);
                    if let Some(found) = self.on_number(bytes.get(begin..at).unwrap_or_default()) {
                        return Some(found);
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn next_member(&mut self) {
        match self.levels.last_mut() {
            Some(Level::Object { name, .. }) => *name = None,
            Some(Level::List { index }) => *index += 1,
            None => {}
        }
    }

    /// A text is the name of a member if its object awaits one.
    fn on_text(&mut self, quoted: &'a [u8]) -> Option<String> {
        let Some(Level::Object { names, name: name @ None }) = self.levels.last_mut() else { return None };
        let found = decode(quoted);
        let is_new = names.insert(found.clone());
        *name = Some(found);
        if is_new {
            return None;
        }
        Some(format!("the member `{}` occurs twice; send it once", self.path()))
    }

    fn on_number(&self, text: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(text).ok()?;
        let is_whole = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if !is_whole || text.len() <= SAFE_DIGITS_MAX || text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
            return None;
        }
        let path = self.path();
        let subject = if path.is_empty() { "the document".to_owned() } else { format!("the member `{path}`") };
        let number = shorten(text, NUMBER_CHARS_MAX);
        Some(format!("{subject} is {number}, which has more digits than a number can have; send it as a text"))
    }

    /// The path of the current member, as in `inputs.rows[3].id`.
    fn path(&self) -> String {
        let mut path = String::new();
        for level in &self.levels {
            match level {
                Level::Object { name, .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&shorten(name.as_deref().unwrap_or_default(), NAME_CHARS_MAX));
                }
                Level::List { index } => {
                    // Writing into a text cannot fail.
                    let _ = write!(path, "[{index}]");
                }
            }
        }
        path
    }
}

/// The offset after the quote that ends a text, whose first quote is before `at`.
fn text_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(offset) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else { return bytes.len() };
        let is_end = rest.get(offset) == Some(&b'"');
        at += offset + if is_end { 1 } else { 2 };
        if is_end {
            return at;
        }
    }
}

/// The offset after a number, whose first character is before `at`.
fn number_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    rest.iter().position(|byte| !is_part(byte)).map_or(bytes.len(), |length| at + length)
}

/// The characters of a text, given with its quotes: `"a"` and `"\u0061"` are one name.
fn decode(quoted: &[u8]) -> Cow<'_, str> {
    let inner = quoted.len().checked_sub(1).and_then(|end| quoted.get(1..end)).unwrap_or_default();
    if inner.contains(&b'\\')
        && let Ok(text) = serde_json::from_slice::<String>(quoted)
    {
        return Cow::Owned(text);
    }
    String::from_utf8_lossy(inner)
}

/// The beginning of a text for a message.
fn shorten(text: &str, chars_max: usize) -> Cow<'_, str> {
    let end = text.char_indices().nth(chars_max).map(|(end, _)| end);
    match end.and_then(|end| text.get(..end)) {
        Some(beginning) => Cow::Owned(format!("{beginning}…")),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Json;

    fn reason(text: &str) -> String {
        from_str::<Json>(text).unwrap_err().to_string()
    }

    #[test]
    fn a_member_that_occurs_twice_is_named_at_any_depth() {
        for (text, path) in [
            (r#"{"a":1,"a":1}"#, "`a`"),
            (r#"{"inputs":{"document":"x","n":1,"document":"y"}}"#, "`inputs.document`"),
            (r#"{"rows":[{"id":1},{"id":1,"v":{"x":[],"x":{}}}]}"#, "`rows[1].v.x`"),
            (r#"[[{"a":"}","b":"\",","a":null}]]"#, "`[0][0].a`"),
            ("{\"a\":1,\"\\u0061\":2}", "`a`"),
            (r#"{"":1,"":2}"#, "``"),
            (r#"{"ü":1,"ü":2}"#, "`ü`"),
        ] {
            let reason = reason(text);
            assert!(reason.contains(&format!("the member {path} occurs twice")), "{text}: {reason}");
        }
    }

    #[test]
    fn a_whole_number_beyond_64_bits_is_named() {
        for (text, subject) in [
            (r#"{"inputs":{"id":18446744073709551616}}"#, "the member `inputs.id` is 18446744073709551616"),
            (r#"{"a":[1,-9223372036854775809]}"#, "the member `a[1]` is -9223372036854775809"),
            ("123456789012345678901234567890", "the document is 123456789012345678901234567890"),
        ] {
            let reason = reason(text);
            assert!(reason.contains(subject) && reason.contains("send it as a text"), "{text}: {reason}");
        }
        let long = format!("[{}]", "9".repeat(300));
        assert!(reason(&long).len() < 200, "{}", reason(&long));
    }

    #[test]
    fn documents_that_can_be_read_in_one_way_are_read() {
        for text in [
            r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}],"c":"\"a\":1,\"a\":2"}"#,
            r#"{"A":1,"a":2,"ä":3,"a\u0308":4}"#,
            r#"{"text":"\\","b":"\\\"","n":[18446744073709551615,-9223372036854775808,-0,1e300,0.1,1E-5,12345678901234567890.5]}"#,
            "[]",
            "\"a\"",
            " null ",
        ] {
            assert_eq!(from_str::<Json>(text).unwrap(), serde_json::from_str::<Json>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_is_no_document_has_the_error_of_the_parser_and_is_scanned_to_its_end() {
        for text in
            ["", "{", "\"", "\"\\", "{\"a\":", "[1,", "-", "{\"a\":1,\"a\"", "]]]", "1e400", "NaN", "\u{feff}{}"]
        {
            assert!(from_str::<Json>(text).is_err(), "{text}");
            // The scan of any bytes ends.
            let _ = check(text.as_bytes());
        }
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(from_str::<Json>(&deep).unwrap_err().to_string().contains("recursion limit"));
        assert!(check(deep.as_bytes()).is_ok());
    }

    #[test]
    fn a_message_repeats_the_beginning_of_a_long_name() {
        let name = "é".repeat(10_000);
        let reason = reason(&format!("{{\"{name}\":1,\"{name}\":2}}"));
        assert!(reason.len() < 250 && reason.contains('…'), "{reason}");
    }
}
