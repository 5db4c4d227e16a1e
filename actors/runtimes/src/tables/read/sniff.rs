//! The delimiter of a text: stated by a line `sep=;`, or detected from the first records.

use greenroom_protocol::Cause;

use super::records::Records;
use crate::tables::note::{invalid, preview};

/// Maximum records that are read to detect the delimiter.
const SNIFFED_RECORDS_MAX: usize = 100;
/// The delimiters that are detected. The comma is last, since it may also be decimal.
const DELIMITERS: [u8; 4] = [b'\t', b';', b'|', b','];

/// A line `sep=;`, which Excel writes and reads above the header.
#[derive(Debug)]
pub(super) struct Directive<'a> {
    /// The delimiter.
    pub(super) delimiter: u8,
    /// The text after the line.
    pub(super) rest: &'a str,
}

/// Reads the line that states the delimiter, if the text begins with one.
///
/// # Errors
/// `invalid_data` if the delimiter is no single ASCII character, or if no record of the text has it.
pub(super) fn directive(text: &str) -> Result<Option<Directive<'_>>, Cause> {
    let end = text.find(['\r', '\n']).unwrap_or(text.len());
    let Some((first, rest)) = text.split_at_checked(end) else { return Ok(None) };
    let unquoted = first.trim_matches([' ', '"']);
    let Some(stated) =
        unquoted.get(..4).filter(|start| start.eq_ignore_ascii_case("sep=")).and_then(|_| unquoted.get(4..))
    else {
        return Ok(None);
    };
    // Without the line end; a second one is an empty line of the table.
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix(['\r', '\n'])).unwrap_or(rest);
    let delimiter = match (stated, stated.as_bytes()) {
        ("\\t" | "\t", _) => b'\t',
        (_, [byte]) if byte.is_ascii_punctuation() && *byte != b'"' => *byte,
        _ => {
            return Err(invalid(
                1,
                format!("the line states the delimiter {}, which is not one character", preview(stated)),
            ));
        }
    };
    let is_split = |by: u8| Records::new(rest, by, 2).map_while(Result::ok).any(|record| record.cells.len() > 1);
    let detected = detect_delimiter(rest);
    if !is_split(delimiter) && is_split(detected) {
        let (stated, other) = (char::from(delimiter), char::from(detected));
        return Err(invalid(1, format!("the line states the delimiter {stated:?}, and the rows below have {other:?}")));
    }
    Ok(Some(Directive { delimiter, rest }))
}

/// How well a delimiter splits the first records; the better one is the larger.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// True if the parser splits every record.
    is_well_formed: bool,
    /// Percentage of the records that have the most frequent number of cells.
    percent: usize,
    /// A comma splits decimal figures as regularly as cells, so it needs a larger percentage.
    is_unambiguous: bool,
    /// The most frequent number of delimiters in a record.
    delimiters: usize,
}

/// Detects the delimiter; a comma if no record has any.
pub(super) fn detect_delimiter(text: &str) -> u8 {
    let fits = DELIMITERS.iter().filter_map(|delimiter| Some((fit(text, *delimiter)?, *delimiter)));
    fits.max().map_or(b',', |(_, delimiter)| delimiter)
}

fn fit(text: &str, delimiter: u8) -> Option<Fit> {
    let mut is_well_formed = true;
    let mut counts = Vec::new();
    for record in Records::new(text, delimiter, 1) {
        match record {
            Ok(record) if record.cells.iter().all(|cell| cell.trim().is_empty()) => {}
            Ok(record) => counts.push(record.cells.len() - 1),
            Err(_) => is_well_formed = false,
        }
        if counts.len() >= SNIFFED_RECORDS_MAX {
            break;
        }
    }
    let frequency = |count: usize| counts.iter().filter(|other| **other == count).count();
    let delimiters =
        counts.iter().copied().filter(|count| *count > 0).max_by_key(|count| (frequency(*count), *count))?;
    let percent = frequency(delimiters) * 100 / counts.len();
    Some(Fit { is_well_formed, percent, is_unambiguous: delimiter != b',', delimiters })
}

#[cfg(test)]
mod tests {
    use super::{detect_delimiter, directive};

    #[test]
    fn each_delimiter_is_detected() {
        for (text, expected) in [
            ("a,b\n1,2\n", b','),
            ("a;b\n1,5;2,5\n", b';'),
            ("a\tb\n1\t2", b'\t'),
            ("a|b\n1|2", b'|'),
            ("\"x;y\",b\n\"p;q\",2\n", b','),
            ("1,5;2,5\n3,5;4,5\n", b';'),
            ("a, \"x;y\"\n1, \"p;q\"\n2, \"r;s;t\"\n", b','),
            ("title\n\na;b\n1,5;2\n3,5;4\n", b';'),
            ("one\ntwo\n", b','),
        ] {
            assert_eq!(char::from(detect_delimiter(text)), char::from(expected), "{text}");
        }
    }

    #[test]
    fn a_stated_delimiter_is_one_character() {
        assert_eq!(directive("sep=|\na|b").unwrap().unwrap().delimiter, b'|');
        assert_eq!(directive("sep=\t\na\tb").unwrap().unwrap().delimiter, b'\t');
        assert_eq!(directive("sep=;\r\na;b").unwrap().unwrap().rest, "a;b");
        assert!(directive("sep=;;\na;b").is_err());
        assert!(directive("separator;b\n1;2").unwrap().is_none());
        assert!(directive("").unwrap().is_none());
    }
}
