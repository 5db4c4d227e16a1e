//! JSON text as models and servers write it: with halves of surrogate pairs, which no JSON parser of Rust accepts.
//!
//! JSON writes a character above U+FFFF as two escapes, such as `\ud83d\udcc8`. A server that cuts a text into pieces
//! between them, or a model that ends one there, writes half of the pair.

use std::borrow::Cow;

/// Bytes of an escape of one UTF-16 unit: `\u` and four digits.
const ESCAPE_BYTES: usize = 6;

/// Replaces each escape of half a surrogate pair by what `replacement` returns for its UTF-16 unit.
pub fn replace_lone_surrogates(text: &str, replacement: impl Fn(u16) -> String) -> Cow<'_, str> {
    let mut rest = text;
    let mut rewritten = String::new();
    while let Some((at, unit)) = first_lone_surrogate(rest) {
        rewritten.push_str(rest.get(..at).unwrap_or_default());
        rewritten.push_str(&replacement(unit));
        rest = rest.get(at + ESCAPE_BYTES..).unwrap_or_default();
    }
    if rewritten.is_empty() && rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    rewritten.push_str(rest);
    Cow::Owned(rewritten)
}

/// The position and the unit of the first escape of half a surrogate pair.
fn first_lone_surrogate(text: &str) -> Option<(usize, u16)> {
    let mut at = 0;
    while let Some(next) = text.get(at..)?.find('\\') {
        let escape = at + next;
        let Some(unit) = escaped_unit(text, escape) else {
            // The escape of one character, such as a second backslash.
            at = escape + 1 + text.get(escape + 1..)?.chars().next().map_or(0, char::len_utf8);
            continue;
        };
        let is_high = (0xD800..0xDC00).contains(&unit);
        let has_low = || escaped_unit(text, escape + ESCAPE_BYTES).is_some_and(|low| (0xDC00..0xE000).contains(&low));
        at = match unit {
            _ if is_high && has_low() => escape + 2 * ESCAPE_BYTES,
            0xD800..0xE000 => return Some((escape, unit)),
            _ => escape + ESCAPE_BYTES,
        };
    }
    None
}

/// The UTF-16 unit of the escape `\uXXXX` at this position.
fn escaped_unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + ESCAPE_BYTES)?.strip_prefix("\\u")?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str) -> String {
        replace_lone_surrogates(text, |unit| format!("<{unit:x}>")).into_owned()
    }

    #[test]
    fn only_halves_of_pairs_are_replaced() {
        assert_eq!(marked(r"a \ud83d\udcc8 b"), r"a \ud83d\udcc8 b");
        assert_eq!(marked(r"a \ud83d b \uDCC8"), "a <d83d> b <dcc8>");
        assert_eq!(marked(r"\ud83d\ud83d\udcc8"), r"<d83d>\ud83d\udcc8");
        assert_eq!(marked(r"\\ud83d \n \u00e4 \ud8"), r"\\ud83d \n \u00e4 \ud8", "not an escape of a unit");
        assert_eq!(marked("ä\\"), "ä\\");
        assert!(matches!(replace_lone_surrogates("plain", |_| String::new()), Cow::Borrowed("plain")));
    }
}
