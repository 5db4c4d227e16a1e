//! Bytes → text: the encoding, the byte order mark, and characters that no editor shows.

use std::borrow::Cow;

use super::{FILE_BYTES_MAX, Position, YamlError, narrow};
use crate::problem::ProblemKind;

/// Beginnings of files in encodings that editors offer beside UTF-8. The marks of UTF-32 are compared first,
/// because one of them begins with that of UTF-16.
const MARKS: &[(&[u8], &str)] = &[
    (&[0xff, 0xfe, 0, 0], "UTF-32"),
    (&[0, 0, 0xfe, 0xff], "UTF-32"),
    (&[0xff, 0xfe], "UTF-16"),
    (&[0xfe, 0xff], "UTF-16"),
];

/// Decodes a file: UTF-8, with or without a byte order mark, without control characters.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, YamlError> {
    if bytes.len() > FILE_BYTES_MAX {
        let expected = format!("a definition may have {FILE_BYTES_MAX} bytes");
        let found = format!("the file has {} bytes", bytes.len());
        return Err(YamlError { at: Position::default(), kind: ProblemKind::TooLarge, found, expected });
    }
    if let Some(encoding) = encoding(bytes) {
        let at = Position { line: 1, column: 1 };
        let found = format!("the file is {encoding}, not UTF-8");
        return Err(YamlError { at, kind: ProblemKind::NotUtf8, found, expected: "save the file as UTF-8".into() });
    }
    let text = std::str::from_utf8(bytes).map_err(|cause| {
        let valid = bytes.get(..cause.valid_up_to()).unwrap_or_default();
        let byte = bytes.get(cause.valid_up_to()).copied().unwrap_or_default();
        let found = format!("the byte 0x{byte:02x} is not UTF-8");
        let at = end_of(&String::from_utf8_lossy(valid));
        YamlError { at, kind: ProblemKind::NotUtf8, found, expected: "save the file as UTF-8".into() }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The bytes decide for most files; the characters find the position.
    if text.bytes().any(may_begin_control)
        && let Some((before, control)) = text.char_indices().find(|(_, c)| is_control(*c))
    {
        let found = format!("the control character U+{:04X} is not allowed", u32::from(control));
        let expected = "remove it; in a text in double quotes it is written as an escape".into();
        let at = end_of(text.get(..before).unwrap_or_default());
        return Err(YamlError { at, kind: ProblemKind::Syntax, found, expected });
    }
    Ok(text)
}

/// Returns the encoding, if it is not UTF-8: by its mark, or by the zero byte beside the first letter.
fn encoding(bytes: &[u8]) -> Option<&'static str> {
    if let Some((_, name)) = MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Some(name);
    }
    match bytes {
        [0, 0, 0, letter, ..] | [letter, 0, 0, 0, ..] if *letter != 0 => Some("UTF-32"),
        [0, letter, 0, _, ..] | [letter, 0, _, 0, ..] if *letter != 0 => Some("UTF-16"),
        _ => None,
    }
}

/// True for the characters that YAML does not allow, except line breaks and tabs.
fn is_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')
}

/// True for the bytes with which a control character in UTF-8 may begin: those from U+0080 begin with 0xc2.
const fn may_begin_control(byte: u8) -> bool {
    (byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')) || matches!(byte, 0x7f | 0xc2)
}

fn end_of(before: &str) -> Position {
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Position { line: narrow(line), column: narrow(column) }
}

/// Rewrites JSON where YAML is stricter: a tab between two tokens becomes a space, and a pair of escaped
/// surrogates becomes the escape of its character. Lines, and the columns before such a pair, do not change.
pub(super) fn json_as_yaml(text: &str) -> Cow<'_, str> {
    if !text.contains('\t') && !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let mut rewritten = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(c) = rest.chars().next() {
        let length = match (quoted, c) {
            (true, '\\') => match surrogate_pair(rest) {
                Some(character) => {
                    rewritten.push_str(&format!("\\U{:08X}", u32::from(character)));
                    SURROGATE_PAIR_BYTES
                }
                None => {
                    let escape = rest.char_indices().nth(2).map_or(rest.len(), |(end, _)| end);
                    rewritten.push_str(rest.get(..escape).unwrap_or_default());
                    escape
                }
            },
            (false, '\t') => {
                rewritten.push(' ');
                1
            }
            (_, c) => {
                quoted ^= c == '"';
                rewritten.push(c);
                c.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    Cow::Owned(rewritten)
}

/// Bytes of `\ud83d\ude00`.
const SURROGATE_PAIR_BYTES: usize = 12;

/// The character of two escapes that begin here.
fn surrogate_pair(text: &str) -> Option<char> {
    let unit = |escape: &str| u16::from_str_radix(escape.strip_prefix("\\u")?, 16).ok();
    let units = [unit(text.get(..6)?)?, unit(text.get(6..SURROGATE_PAIR_BYTES)?)?];
    let is_pair = (0xd800..0xdc00).contains(&units[0]) && (0xdc00..0xe000).contains(&units[1]);
    is_pair.then(|| char::decode_utf16(units).next()?.ok()).flatten()
}
