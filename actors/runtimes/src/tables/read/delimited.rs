//! Delimiter-separated text → grid.

use greenroom_protocol::Cause;

use super::records::{Malformed, Records};
use super::sniff;
use crate::tables::grid::{Cell, Grid, GridSource, RowCollector};
use crate::tables::note::{Note, preview, unreadable};

/// Reads the text.
///
/// # Errors
/// `invalid_data` with the line of a quote that is not closed or closes too soon; `payload_too_large` beyond
/// the bounds of a table.
pub(super) fn read(text: &str) -> Result<Grid, Cause> {
    // A file of DOS may end with a mark of its end.
    let text = text.trim_end_matches('\u{1a}');
    let (delimiter, records, notes) = match sniff::directive(text)? {
        Some(directive) => {
            let text = preview(&char::from(directive.delimiter).to_string());
            let note = Note::new(format!("Line 1 states the delimiter {text}.")).at_line(1);
            (directive.delimiter, Records::new(directive.rest, directive.delimiter, 2), vec![note])
        }
        None => {
            let delimiter = sniff::detect_delimiter(text);
            (delimiter, Records::new(text, delimiter, 1), Vec::new())
        }
    };
    let mut rows = RowCollector::default();
    for record in records {
        let record = record.map_err(Malformed::into_cause)?;
        rows.push(record.line, record.cells.iter().map(|cell| Cell::from_text(cell)).collect())?;
    }
    let rows = rows.into_rows();
    if rows.is_empty() {
        return Err(unreadable("the file has no rows"));
    }
    Ok(Grid { source: GridSource::Delimited { delimiter }, header: None, rows, notes, warnings: Vec::new() })
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;

    use super::read;
    use crate::tables::grid::{Cell, Grid, GridSource};

    fn cells(grid: &Grid) -> Vec<(u64, String)> {
        let text = |cell: &Cell| match cell {
            Cell::Text(text) => text.clone(),
            Cell::Empty => String::new(),
            other => panic!("{other:?}"),
        };
        grid.rows.iter().map(|row| (row.line, row.cells.iter().map(text).collect::<Vec<_>>().join("|"))).collect()
    }

    fn rows(text: &str) -> Vec<(u64, String)> {
        cells(&read(text).unwrap())
    }

    #[test]
    fn quotes_line_ends_and_empty_lines_are_read() {
        let expected = [(1, "a|b".to_owned()), (3, "x, \"y\"\nz|1".to_owned()), (6, "w|2".to_owned())];
        assert_eq!(rows("a,b\r\n\r\n\"x, \"\"y\"\"\nz\",1\r\n,\r\nw,2\r\n"), expected);
        assert_eq!(rows("a,b\r1,2\r3,4"), [(1, "a|b".into()), (2, "1|2".into()), (3, "3|4".into())]);
        assert_eq!(rows("a,b\n1,2\n\u{1a}"), [(1, "a|b".into()), (2, "1|2".into())]);
        assert_eq!(rows("a,b\n1,\"\""), [(1, "a|b".into()), (2, "1|".into())]);
    }

    #[test]
    fn a_quote_after_a_space_opens_a_cell() {
        let text = "date, region, revenue\n2024-10-01, \"North, East\", 100\n2024-11-01, \"South\" , 200\n";
        let expected = [
            (1, "date|region|revenue".to_owned()),
            (2, "2024-10-01|North, East|100".to_owned()),
            (3, "2024-11-01|South|200".to_owned()),
        ];
        assert_eq!(rows(text), expected);
    }

    #[test]
    fn a_quote_inside_a_plain_cell_is_text() {
        assert_eq!(rows("a,b\n5\" pipe,1\n"), [(1, "a|b".into()), (2, "5\" pipe|1".into())]);
    }

    #[test]
    fn a_malformed_quote_is_rejected_with_its_line() {
        for (text, line, expected) in [
            ("a,b\n\"1,2\n3,4\n", 2, "never closed"),
            ("a,b\n\"He said \"hi\" twice\",2\n", 2, "closing quote"),
            ("a,b\n\"x\ny\" z,2\n", 3, "closing quote"),
        ] {
            let cause = read(text).unwrap_err();
            assert_eq!((cause.code, &cause.details["line"]), (ErrorCode::InvalidData, &line.into()), "{cause}");
            assert!(cause.message.contains(expected), "{cause}");
        }
        assert_eq!(read("\n \n,,\n").unwrap_err().code, ErrorCode::InvalidData);
    }

    #[test]
    fn rows_may_differ_in_width() {
        let grid = read("title\n\na,b\n1,2,3\n").unwrap();
        assert_eq!(grid.rows.iter().map(|row| row.cells.len()).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(grid.source, GridSource::Delimited { delimiter: b',' });
    }

    #[test]
    fn the_delimiter_of_the_first_line_is_used_and_noted() {
        let grid = read("sep=;\nDatum;Umsatz\n01.10.2024;1.234,50\n").unwrap();
        assert_eq!(grid.source, GridSource::Delimited { delimiter: b';' });
        assert_eq!(cells(&grid), [(2, "Datum|Umsatz".into()), (3, "01.10.2024|1.234,50".into())]);
        assert_eq!(grid.notes.len(), 1);
        assert_eq!(grid.notes[0].line, Some(1));
        let tab = read("\"SEP=\\t\"\r\na\tb\r\n1\t2\r\n").unwrap();
        assert_eq!(tab.source, GridSource::Delimited { delimiter: b'\t' });
        let cause = read("sep=,\na;b\n1;2\n").unwrap_err();
        assert_eq!(cause.details["line"], 1, "{cause}");
    }
}
