//! Delimiter-separated text → table: detects the delimiter and the header, and rejects an invalid row with
//! its line, since a row that is silently dropped makes every total wrong.

use greenroom_protocol::{Cause, ErrorCode};

use super::dates;
use super::decimal;
use super::table::{self, Table, TableRow};

/// Maximum records that are read to detect the delimiter.
const SNIFFED_RECORDS_MAX: usize = 100;
/// In the order of preference in a tie: a comma may also be decimal, the others may not.
const DELIMITERS: [u8; 4] = [b'\t', b';', b'|', b','];

/// Reads the bytes as a table.
///
/// # Errors
/// [`ErrorCode::InvalidData`] with the line; [`ErrorCode::PayloadTooLarge`] beyond the bounds of a table.
pub(crate) fn read(bytes: &[u8]) -> Result<Table, Cause> {
    let text = decode_text(bytes)?;
    let delimiter = detect_delimiter(text);
    if let Some(line) = unclosed_quote(text, delimiter) {
        return Err(table::invalid(line, "a quoted cell begins here and is never closed"));
    }
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .trim(::csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut records = Vec::new();
    let mut width = None;
    let mut lines = LineCounter { bytes: text.as_bytes(), line: 1, passed: 0 };
    for record in reader.records() {
        let record = record.map_err(|_| table::invalid(lines.line, "the row cannot be read"))?;
        let line = lines.line_number(record.position().map_or(0, ::csv::Position::byte));
        if record.iter().all(str::is_empty) {
            continue;
        }
        let expected = *width.get_or_insert(record.len());
        table::check_width(expected)?;
        if record.len() != expected {
            let message = format!("the row has {} cells, the rows above have {expected}", record.len());
            return Err(table::invalid(line, message));
        }
        for (index, cell) in record.iter().enumerate() {
            table::check_cell(line, &format!("{}", index + 1), cell.len())?;
        }
        records.push(TableRow { line, cells: record.iter().map(str::to_owned).collect() });
        table::check_length(records.len())?;
    }
    with_header(records, delimiter == b';')
}

/// Decodes UTF-8 and strips the byte order mark.
///
/// # Errors
/// [`ErrorCode::InvalidData`], with the line of the first byte that is not UTF-8.
pub(crate) fn decode_text(bytes: &[u8]) -> Result<&str, Cause> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(table::invalid(1, "the text is UTF-16; save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        table::invalid(line, "the text is not UTF-8")
    })
}

/// Counts lines. The count of the parser lacks the line ends that it has not read yet.
struct LineCounter<'a> {
    bytes: &'a [u8],
    line: u64,
    passed: u64,
}

impl LineCounter<'_> {
    /// The line of the first character at or after this byte that does not end a line.
    fn line_number(&mut self, byte: u64) -> u64 {
        while let Some((first, rest)) = self.bytes.split_first() {
            if self.passed >= byte && !matches!(first, b'\r' | b'\n') {
                break;
            }
            self.line += u64::from(*first == b'\n');
            self.passed += 1;
            self.bytes = rest;
        }
        self.line
    }
}

fn with_header(mut records: Vec<TableRow>, semicolons: bool) -> Result<Table, Cause> {
    let Some(first) = records.first() else {
        return Err(Cause::new(ErrorCode::InvalidData, "the file has no rows"));
    };
    let is_header = !first.cells.iter().any(|cell| decimal::looks_numeric(cell) || dates::looks_like_date(cell));
    let columns = if is_header {
        let header = records.remove(0);
        table::distinct_names(header.cells)
    } else {
        table::distinct_names(first.cells.iter().map(|_| String::new()))
    };
    if records.is_empty() {
        return Err(Cause::new(ErrorCode::InvalidData, "the file has a header and no rows"));
    }
    Ok(Table { columns, rows: records, semicolons })
}

/// Scans the records of a text and counts the delimiters outside of quotes.
struct Scan<'a> {
    bytes: std::iter::Peekable<std::iter::Copied<std::slice::Iter<'a, u8>>>,
    delimiter: u8,
    line: u64,
}

impl Scan<'_> {
    /// Counts the delimiters of the next non-empty record; an error is the line of an unclosed quote.
    fn next_record(&mut self) -> Option<Result<usize, u64>> {
        let (mut count, mut empty, mut at_start, mut quoted) = (0, true, true, None);
        while let Some(byte) = self.bytes.next() {
            self.line += u64::from(byte == b'\n');
            match byte {
                b'"' if quoted.is_some() => match self.bytes.next_if_eq(&b'"') {
                    Some(_) => {}
                    None => quoted = None,
                },
                _ if quoted.is_some() => {}
                b'"' if at_start => quoted = Some(self.line),
                b'\n' if !empty => return Some(Ok(count)),
                b'\n' | b'\r' => {}
                byte if byte == self.delimiter => {
                    count += 1;
                    empty = false;
                    at_start = true;
                    continue;
                }
                b' ' if at_start => continue,
                _ => {}
            }
            if !matches!(byte, b'\n' | b'\r') {
                empty = false;
                at_start = false;
            }
        }
        match quoted {
            Some(line) => Some(Err(line)),
            None => (!empty).then_some(Ok(count)),
        }
    }
}

fn scan(text: &str, delimiter: u8) -> Scan<'_> {
    Scan { bytes: text.as_bytes().iter().copied().peekable(), delimiter, line: 1 }
}

fn unclosed_quote(text: &str, delimiter: u8) -> Option<u64> {
    let mut scan = scan(text, delimiter);
    loop {
        match scan.next_record()? {
            Ok(_) => {}
            Err(line) => return Some(line),
        }
    }
}

/// The delimiter whose count is the same in most records; of several, the first of the list.
fn detect_delimiter(text: &str) -> u8 {
    let mut best = (0_usize, 0_usize, b',');
    for delimiter in DELIMITERS {
        let mut scan = scan(text, delimiter);
        let counts: Vec<usize> =
            std::iter::from_fn(|| scan.next_record()).take(SNIFFED_RECORDS_MAX).map_while(Result::ok).collect();
        let Some(mode) = counts
            .iter()
            .copied()
            .filter(|count| *count > 0)
            .max_by_key(|count| (counts.iter().filter(|other| *other == count).count(), *count))
        else {
            continue;
        };
        let share = counts.iter().filter(|count| **count == mode).count() * 100 / counts.len().max(1);
        // Of two delimiters with equal shares, the one with the larger count wins.
        if share > best.0 || (share == best.0 && mode > best.1) {
            best = (share, mode, delimiter);
        }
    }
    best.2
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;

    use super::{detect_delimiter, read};

    #[test]
    fn each_delimiter_is_detected() {
        for (text, expected) in [
            ("a,b\n1,2\n", b','),
            ("a;b\n1,5;2,5\n", b';'),
            ("a\tb\n1\t2", b'\t'),
            ("a|b\n1|2", b'|'),
            ("\"x;y\",b\n\"p;q\",2\n", b','),
        ] {
            assert_eq!(detect_delimiter(text), expected, "{text}");
        }
    }

    #[test]
    fn a_header_is_distinguished_from_data() {
        let table = read(b"\xef\xbb\xbfdate,revenue\n2024-01-01,5\n").unwrap();
        assert_eq!(table.columns, ["date", "revenue"]);
        assert_eq!(table.rows.first().unwrap().line, 2);
        let table = read(b"2024-01-01,5\n2024-01-02,6\n").unwrap();
        assert_eq!(table.columns, ["column_1", "column_2"]);
        assert_eq!(table.rows.len(), 2);
    }

    #[test]
    fn quotes_newlines_and_empty_lines_are_read() {
        let table = read(b"a,b\r\n\r\n\"x, \"\"y\"\"\nz\",1\r\n,\r\nw,2\r\n").unwrap();
        let cells: Vec<_> = table.rows.iter().map(|row| (row.line, row.cells.join("|"))).collect();
        assert_eq!(cells, [(3, "x, \"y\"\nz|1".to_owned()), (6, "w|2".to_owned())]);
    }

    #[test]
    fn invalid_rows_are_rejected_with_their_line() {
        for (text, line) in [
            (&b"a,b\n1,2\n3\n"[..], 3),
            (b"a,b\n1,2,3\n", 2),
            (b"a,b\n\"1,2\n3,4\n", 2),
            (b"a,b\n1,\xff\n", 2),
            (b"\xff\xfea\0", 1),
        ] {
            let cause = read(text).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidData);
            assert_eq!(cause.details["line"], line, "{cause}");
        }
        assert_eq!(read(b"").unwrap_err().code, ErrorCode::InvalidData);
        assert_eq!(read(b"a,b\n").unwrap_err().code, ErrorCode::InvalidData);
        let wide = vec!["x"; 300].join(",");
        assert_eq!(read(format!("{wide}\n{wide}\n").as_bytes()).unwrap_err().code, ErrorCode::PayloadTooLarge);
    }
}
