//! Bytes → text: UTF-8, UTF-16 with or without its byte order mark, and Windows-1252. The choice is a note,
//! unless the file states it.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252};
use greenroom_protocol::Cause;

use crate::tables::note::{Note, invalid, preview, unreadable};

/// Bytes in which the zero bytes of UTF-16 are counted.
const SAMPLED_BYTES: usize = 4096;
/// The character that begins a file in Unicode, and has no width elsewhere.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// Bytes to which Windows-1252 assigns no character.
const UNASSIGNED: [u8; 5] = [0x81, 0x8d, 0x8f, 0x90, 0x9d];

/// Decodes a text and strips its byte order marks: a file that was joined from several has one before each of them.
///
/// # Errors
/// `invalid_data`, with the line of the first byte that is not text.
pub(super) fn decode(bytes: &[u8]) -> Result<(Cow<'_, str>, Option<Note>), Cause> {
    let (text, note) = decode_bytes(bytes)?;
    let text = if text.contains(BYTE_ORDER_MARK) { Cow::Owned(text.replace(BYTE_ORDER_MARK, "")) } else { text };
    Ok((text, note))
}

fn decode_bytes(bytes: &[u8]) -> Result<(Cow<'_, str>, Option<Note>), Cause> {
    if bytes.starts_with(&[0xff, 0xfe, 0, 0]) || bytes.starts_with(&[0, 0, 0xfe, 0xff]) {
        return Err(unreadable("the text is UTF-32, which is not read; save it as UTF-8"));
    }
    if let Some(bytes) = bytes.strip_prefix(&[0xff, 0xfe]) {
        return Ok((decode_utf16(bytes, UTF_16LE)?, None));
    }
    if let Some(bytes) = bytes.strip_prefix(&[0xfe, 0xff]) {
        return Ok((decode_utf16(bytes, UTF_16BE)?, None));
    }
    if let Some(encoding) = guess_utf16(bytes) {
        let message = format!("The text has no byte order mark and was read as {}.", encoding.name());
        return Ok((decode_utf16(bytes, encoding)?, Some(Note::new(message))));
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(invalid(line_number(bytes, at), "the file is not text: it has a zero byte"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok((Cow::Borrowed(text), None)),
        Err(error) => decode_windows_1252(bytes, error.valid_up_to()),
    }
}

fn line_number(bytes: &[u8], at: usize) -> u64 {
    bytes.iter().take(at).filter(|byte| **byte == b'\n').count() as u64 + 1
}

/// UTF-16 of a table has zero bytes in the half of the bytes that is zero for delimiters, digits and line
/// ends, and none in the other half.
fn guess_utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    if bytes.len() < 4 || !bytes.len().is_multiple_of(2) {
        return None;
    }
    let (mut pairs, mut first, mut second) = (0_usize, 0_usize, 0_usize);
    for pair in bytes.chunks_exact(2).take(SAMPLED_BYTES / 2) {
        pairs += 1;
        first += usize::from(pair.first() == Some(&0));
        second += usize::from(pair.last() == Some(&0));
    }
    let is_many = |zeros: usize| zeros * 3 >= pairs;
    match (first, second) {
        (0, zeros) if is_many(zeros) => Some(UTF_16LE),
        (zeros, 0) if is_many(zeros) => Some(UTF_16BE),
        _ => None,
    }
}

fn decode_utf16<'a>(bytes: &'a [u8], encoding: &'static Encoding) -> Result<Cow<'a, str>, Cause> {
    match encoding.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(text) if text.contains('\0') => Err(unreadable("the file is not text: it has a character U+0000")),
        Some(text) => Ok(text),
        None => Err(unreadable(format!("the text begins as {} and has bytes that are not", encoding.name()))),
    }
}

/// Decodes a text that is not UTF-8. Windows-1252 accepts almost any bytes, so a file that has other signs
/// than those of a western text is rejected.
fn decode_windows_1252(bytes: &[u8], first_invalid: usize) -> Result<(Cow<'_, str>, Option<Note>), Cause> {
    let line = line_number(bytes, first_invalid);
    if bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii()) {
        let message = "the line is not UTF-8, and other text of the file is; save the complete file as UTF-8";
        return Err(invalid(line, message));
    }
    let is_control = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0x1a);
    if let Some(at) = bytes.iter().position(|byte| is_control(*byte) || UNASSIGNED.contains(byte)) {
        let byte = bytes.get(at).copied().unwrap_or_default();
        let message = format!("the file is not text: the byte 0x{byte:02x} is neither UTF-8 nor Windows-1252");
        return Err(invalid(line_number(bytes, at), message));
    }
    let high = bytes.iter().filter(|byte| **byte >= 0xc0).count();
    let letters = bytes.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    if high > letters {
        let message = "the text is not UTF-8, and has too few Latin letters for Windows-1252; save it as UTF-8";
        return Err(invalid(line, message));
    }
    let (text, _) = WINDOWS_1252.decode_without_bom_handling(bytes);
    let example = text.lines().nth(usize::try_from(line - 1).unwrap_or_default()).unwrap_or_default();
    let message =
        format!("The text is not UTF-8 and was read as Windows-1252. Line {line} then has {}.", preview(example));
    Ok((text, Some(Note::new(message).at_line(line))))
}

#[cfg(test)]
mod tests {
    use super::decode;

    fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    #[test]
    fn utf_16_is_read_with_and_without_its_mark() {
        let text = "Datum;Umsatz\n01.10.2024;1,5 €\n";
        for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            let (decoded, note) = decode_owned(&utf16(&format!("\u{feff}{text}"), to_bytes));
            assert_eq!((decoded.as_str(), note), (text, None));
            let (decoded, note) = decode_owned(&utf16(text, to_bytes));
            assert_eq!(decoded, text);
            assert!(note.unwrap().contains("UTF-16"));
        }
    }

    fn decode_owned(bytes: &[u8]) -> (String, Option<String>) {
        let (text, note) = decode(bytes).unwrap();
        (text.into_owned(), note.map(|note| note.message))
    }

    #[test]
    fn the_marks_of_joined_files_are_no_text() {
        let (text, note) = decode_owned("\u{feff}\u{feff}a,b\n1,2\n\u{feff}a,b\n3,4\n".as_bytes());
        assert_eq!((text.as_str(), note), ("a,b\n1,2\na,b\n3,4\n", None));
    }

    #[test]
    fn windows_1252_is_read_with_a_note_that_shows_a_line() {
        let (text, note) = decode_owned(b"Ort,Umsatz\nK\xf6ln,\x805\n");
        assert_eq!(text, "Ort,Umsatz\nKöln,€5\n");
        let note = note.unwrap();
        assert!(note.contains("Windows-1252") && note.contains("Line 2") && note.contains("Köln"), "{note}");
        assert_eq!(decode_owned("Köln\n".as_bytes()).1, None);
    }

    #[test]
    fn bytes_that_are_no_text_are_rejected_with_their_line() {
        for (bytes, expected) in [
            (&b"a,b\n1,\0\n"[..], "line 2: the file is not text: it has a zero byte"),
            (b"a,b\n1,\x81\n", "line 2: the file is not text: the byte 0x81"),
            (
                "ö,b\n1,2\n".bytes().chain(*b"K\xf6ln").collect::<Vec<_>>().as_slice(),
                "line 3: the line is not UTF-8, and other",
            ),
            (b"a\n\xc4\xe0\xf2\xe0\n", "line 2: the text is not UTF-8, and has too few"),
            (b"\xff\xfe\0\0a\0\0\0", "UTF-32"),
            (b"\xff\xfea\0\x00\xd8", "UTF-16LE"),
            (b"a,b\n1,\x01\xe9\n", "0x01"),
        ] {
            let cause = decode(bytes).unwrap_err();
            assert!(cause.message.contains(expected), "{cause}");
        }
    }
}
