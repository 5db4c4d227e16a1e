//! Lines above the header that are as wide as the table, and rows that are wider than the header.

use super::{grid, lines, read};
use crate::tables::classify::findings::Findings;
use crate::tables::classify::layout::lay_out;

#[test]
fn a_title_as_wide_as_the_table_is_no_header() {
    for (text, first) in [
        ("Created by,Bob\nDate,Revenue\n2024-10-01,5\n2024-11-01,6\n", 3),
        ("Created by,Bob\nRegion,Revenue\nNorth,5\nSouth,6\n", 3),
        ("Exported,2025-01-02\nRegion,Revenue\nNorth,5\nSouth,6\n", 3),
        ("Exported,2025-01-02\nRegion,Umsatz\nNorth,5\nSouth,6\n", 3),
        ("Report date,2025-01-02\nRegion,Revenue\nNorth,5\nSouth,6\nEast,7\nWest,8\nMid,9\n", 3),
        ("Report,Sales,2024\nDate,Region,Revenue\n2024-10-01,N,5\n2024-11-01,S,6\n", 3),
        ("Sales,2024\nDate,Revenue\n2024-10-01,5\n2024-11-01,6\n", 3),
        ("# export\n# user x,y\nDate,Revenue\n2024-10-01,5\n2024-11-01,6\n", 4),
        ("Company: X,Year: 2024,Unit: TEUR\nDate,Region,Revenue\n2024-10-01,N,5\n2024-11-01,S,6\n", 3),
        ("Total,40\nDate,Revenue\n2024-10-01,15\n2024-11-01,25\n", 3),
        ("Report period,2024-10-01,2024-12-31\nDate,Region,Revenue\n2024-10-01,N,15\n2024-11-01,S,25\n", 3),
        ("From,2024-10-01,To,2024-12-31\nDate,Region,Units,Revenue\n2024-10-01,N,1,5\n2024-11-01,S,2,6\n", 3),
        ("Rows,2\nRegion,Revenue\nNorth,5\nSouth,6\n", 3),
        ("Company,ACME\nCreated by,Bob\nExported,2025-01-02\nDate,Revenue\n2024-10-01,5\n2024-11-01,6\n", 5),
    ] {
        let (layout, findings) = read(text);
        assert_eq!(lines(&layout).first(), Some(&first), "{text}");
        let is_noted = |line: &str| findings.notes.iter().any(|note| note.message.contains(line));
        assert!(is_noted("above the header") && findings.warnings.is_empty(), "{text}: {findings:?}");
    }
}

#[test]
fn a_row_of_texts_below_the_header_is_no_header() {
    for (text, names) in [
        ("item,revenue\nApple,free\nPear,5\nPlum,6\n", &["item", "revenue"][..]),
        ("item,foo\nApple,free\nPear,5\nPlum,6\n", &["item", "foo"]),
        ("item,foo\nApple,price on request\nPear,5\nPlum,6\n", &["item", "foo"]),
        ("date,revenue\nstring,float\n2024-10-01,5\n2024-11-01,6\n", &["date", "revenue"]),
        ("region,revenue,weight\nland,EUR,kg\nN,1,2\nS,3,4\n", &["region", "revenue", "weight"]),
        ("Region,2024-01,2024-02\nNorth,closed,open\nSouth,5,6\nEast,7,8\n", &["Region", "2024-01", "2024-02"]),
        ("date,region,foo\n2024-10-01,N,5\ndatum,land,bar\n2024-10-02,S,6\n", &["date", "region", "foo"]),
        // Several tables below each other.
        ("date,region,foo\n2024-10-01,N,5\nproduct,units,x\nA,7,1\nB,8,1\n", &["date", "region", "foo"]),
        ("Region,Revenue\nNorth,5\nDate,Units\n2024-10-01,7\n2024-11-01,8\n", &["Region", "Revenue"]),
        ("foo,bar\nNorth,5\nSouth,6\nDate,Units\n2024-10-01,7\n2024-11-01,8\n", &["foo", "bar"]),
    ] {
        let (layout, _) = read(text);
        assert_eq!(layout.names, names, "{text}");
        assert_eq!(lines(&layout).first(), Some(&2), "{text}");
    }
    assert_eq!(lines(&read("North,5\nclosed,unknown\nSouth,6\nEast,7\n").0).first(), Some(&1));
}

#[test]
fn a_figure_that_its_commas_split_is_named() {
    for (text, line, parts) in [
        ("Date,Revenue\n2024-10-01,1,234.50\n2024-11-01,3,456.50\n", 2, &["3 cells", "2 names", "\"1,234.50\""][..]),
        ("Date,Revenue\n2024-10-01,1,234\n2024-11-01,3,456\n2024-12-01,999\n", 2, &["\"1,234\"", "in quotes"]),
        ("Date,Revenue\n2024-10-01,999\n2024-11-01,3,456\n2024-12-01,999\n", 3, &["2 columns", "\"3,456\""]),
        ("item,amount\nA,Rs. 1,00,000\nB,Rs. 2,50,000\n", 2, &["4 cells", "line 1 has 2 names", "\"Rs. 1,00,000\""]),
        ("item,units,revenue\nA,3,1,234\nB,5,2,345\n", 2, &["4 cells", "\"1,234\""]),
        ("Datum,Umsatz\n01.10.2024,1234,50\n02.10.2024,10,00\n", 2, &["\"1234,50\""]),
        ("a,b\nx,1,2\ny,3,4\n", 2, &["3 cells", "2 names", "every column has a name"]),
        ("Date,Revenue\n\n2024-10-01,1,234.50\n", 3, &["line 1 has 2 names"]),
    ] {
        let cause = lay_out(grid(text), &mut Findings::default()).unwrap_err();
        assert_eq!(cause.details["line"], line, "{text}: {cause}");
        assert!(parts.iter().all(|part| cause.message.contains(part)), "{text}: {cause}");
    }
}
