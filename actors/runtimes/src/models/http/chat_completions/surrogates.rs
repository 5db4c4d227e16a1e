//! Pieces of a text that were cut within a character. JSON writes a character above U+FFFF as a pair of UTF-16 units,
//! and a server that cuts by units sends the first in one chunk and the second in the next. No JSON parser of Rust
//! accepts half of a pair, so it is replaced by a marker before the chunk is parsed, and joined afterwards.

use std::borrow::Cow;

use greenroom_actors::json_text::replace_lone_surrogates;

/// Begins a marker; the four hexadecimal digits of a unit follow. It is no character, so no text contains it.
const MARKER: char = '\u{ffff}';
/// Digits of a unit.
const DIGITS: usize = 4;

/// A JSON text whose halves of pairs are marked.
pub(super) struct Marked<'t> {
    pub(super) text: Cow<'t, str>,
    pub(super) has_markers: bool,
}

/// Marks the halves of pairs. In a text that contains the marker itself, they become replacement characters.
pub(super) fn mark(text: &str) -> Marked<'_> {
    let is_ambiguous = || text.contains(MARKER) || text.to_ascii_lowercase().contains("\\uffff");
    let marked = replace_lone_surrogates(text, |unit| format!("{MARKER}{unit:04x}"));
    let has_markers = matches!(marked, Cow::Owned(_));
    if has_markers && is_ambiguous() {
        let replaced = replace_lone_surrogates(text, |_| char::REPLACEMENT_CHARACTER.to_string());
        return Marked { text: replaced, has_markers: false };
    }
    Marked { text: marked, has_markers }
}

/// Joins the pieces of one text.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// The first half of a pair at the end of the last piece.
    high: Option<u16>,
}

impl Joiner {
    /// Returns the piece without markers, as far as it is complete. A half without its other half becomes a
    /// replacement character.
    pub(super) fn join(&mut self, piece: String, has_markers: bool) -> String {
        if self.high.is_none() && !has_markers {
            return piece;
        }
        let mut joined = String::with_capacity(piece.len() + DIGITS);
        let mut characters = piece.chars();
        while let Some(c) = characters.next() {
            let unit = if has_markers && c == MARKER { take_unit(&mut characters) } else { None };
            match unit {
                Some(unit) => self.push_unit(unit, &mut joined),
                None => {
                    self.flush_into(&mut joined);
                    joined.push(c);
                }
            }
        }
        joined
    }

    fn push_unit(&mut self, unit: u16, joined: &mut String) {
        if let Some(high) = self.high.take() {
            match char::decode_utf16([high, unit]).next() {
                Some(Ok(c)) => return joined.push(c),
                Some(Err(_)) | None => joined.push(char::REPLACEMENT_CHARACTER),
            }
        }
        if (0xD800..0xDC00).contains(&unit) {
            self.high = Some(unit);
        } else {
            joined.push(char::REPLACEMENT_CHARACTER);
        }
    }

    fn flush_into(&mut self, joined: &mut String) {
        if self.high.take().is_some() {
            joined.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// The rest after the last piece.
    pub(super) fn finish(&mut self) -> Option<String> {
        self.high.take().map(|_| char::REPLACEMENT_CHARACTER.to_string())
    }
}

/// Takes the digits of a unit.
fn take_unit(characters: &mut std::str::Chars<'_>) -> Option<u16> {
    let digits = characters.as_str().get(..DIGITS)?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    characters.by_ref().take(DIGITS).for_each(drop);
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses each JSON text as a chunk would be, and joins the texts.
    fn joined(pieces: &[&str]) -> String {
        let mut joiner = Joiner::default();
        let mut all = String::new();
        for piece in pieces {
            let marked = mark(piece);
            let text: String = serde_json::from_str(&marked.text).unwrap();
            all.push_str(&joiner.join(text, marked.has_markers));
        }
        all.push_str(&joiner.finish().unwrap_or_default());
        all
    }

    #[test]
    fn a_character_that_was_cut_is_whole_again() {
        assert_eq!(joined(&[r#""Up \ud83d""#, r#""\udcc8 and on""#]), "Up 📈 and on");
        assert_eq!(joined(&[r#""\ud83d""#, r#""""#, r#""\udcc8\ud83d""#, r#""\uDCC9""#]), "📈📉");
        assert_eq!(joined(&[r#""whole 📈 \ud83d\udcc8""#]), "whole 📈 📈");
    }

    #[test]
    fn half_of_a_pair_alone_is_a_replacement_character() {
        assert_eq!(joined(&[r#""a\ud83d""#, r#""b""#]), "a\u{fffd}b");
        assert_eq!(joined(&[r#""a\ud83d""#, r#""\ud83d""#]), "a\u{fffd}\u{fffd}");
        assert_eq!(joined(&[r#""\udcc8 x""#]), "\u{fffd} x");
        assert_eq!(joined(&[r#""\uffff \ud83d""#]), "\u{ffff} \u{fffd}", "a text that contains the marker");
        assert_eq!(joined(&["\"\u{ffff}d83d\""]), "\u{ffff}d83d");
    }
}
