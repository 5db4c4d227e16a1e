//! Headers of every kind, and what stands around them.

use super::{Layout, lay_out};
use crate::tables::classify::findings::Findings;
use crate::tables::grid::{Cell, Grid, GridRow, GridSource};

mod number_names;
mod titles;

fn grid(text: &str) -> Grid {
    let rows = (1_u64..).zip(text.lines()).filter(|(_, line)| !line.is_empty());
    let rows = rows.map(|(line, text)| GridRow { line, cells: text.split(',').map(Cell::from_text).collect() });
    Grid {
        source: GridSource::Delimited { delimiter: b',' },
        header: None,
        rows: rows.collect(),
        notes: Vec::new(),
        warnings: Vec::new(),
    }
}

fn read(text: &str) -> (Layout, Findings) {
    let mut findings = Findings::default();
    let layout = lay_out(grid(text), &mut findings).unwrap_or_else(|cause| panic!("{cause}: {text}"));
    (layout, findings)
}

fn lines(layout: &Layout) -> Vec<u64> {
    layout.rows.iter().map(|row| row.line).collect()
}

#[test]
fn a_header_may_hold_years_periods_or_numbers() {
    for (text, names) in [
        ("region,2023,2024\nNorth,100,150\nSouth,200,250\n", ["region", "2023", "2024"]),
        (",2023,2024\nNorth,100,150\nSouth,200,250\n", ["column_1", "2023", "2024"]),
        ("region,2024,2023\nNorth,100,150\n", ["region", "2024", "2023"]),
        ("region,Q3 2024,Q4 2024\nNorth,100,150\n", ["region", "Q3 2024", "Q4 2024"]),
        ("region,2024-01,2024-02\nNorth,100,150\n", ["region", "2024-01", "2024-02"]),
        ("region,2024-01-31,Total\nNorth,100,150\n", ["region", "2024-01-31", "Total"]),
        ("region,2023,2024\nNorth,2010,1995\nSouth,1990,2005\n", ["region", "2023", "2024"]),
        ("region,FY23,FY24\nNorth,100,150\n", ["region", "FY23", "FY24"]),
    ] {
        let (layout, _) = read(text);
        assert_eq!(layout.names, names, "{text}");
        assert!(layout.has_header && lines(&layout).first() == Some(&2), "{text}");
    }
    let (layout, findings) = read("store,1,2,3\nA,10,20,30\nB,5,6,7\n");
    assert_eq!(layout.names, ["store", "1", "2", "3"]);
    assert_eq!(findings.warnings.len(), 1, "{findings:?}");
}

#[test]
fn rows_of_data_are_no_header() {
    for text in [
        "2024-01-01,5\n2024-01-02,6\n",
        "North,100,150\nSouth,200,250\n",
        "Acme,1999\nBolt,2004\n",
        "2024,100\n2023,200\n",
        "North,1,2\nSouth,3,4\n",
        "North,7\n",
    ] {
        let (layout, findings) = read(text);
        assert!(!layout.has_header, "{text}: {:?}", layout.names);
        assert_eq!(layout.names.first().map(String::as_str), Some("column_1"));
        assert_eq!(lines(&layout).first(), Some(&1));
        assert!(
            findings.warnings[0].message.starts_with("No row of the file names the columns: line 1"),
            "{findings:?}"
        );
    }
}

#[test]
fn lines_above_the_header_are_noted() {
    for (text, header, noted) in [
        (
            "Sales by region\nCreated 2025-01-02 08:00\n\nDate,Region,Revenue\n2024-10-01,N,5\n",
            4,
            "Lines 1 and 2 are above",
        ),
        ("Sales by region,,\nDate,Region,Revenue\n2024-10-01,N,5\n2024-10-02,N,5\n", 2, "Line 1 is above the header"),
        ("Created:,2025-01-02,\nDate,Region,Revenue\n2024-10-01,N,5\n2024-10-02,N,5\n", 2, "Line 1 is above"),
        ("Created:,2025-01-02\nname,revenue\nA,5\nB,6\n", 2, "Line 1 is above"),
        ("Report,2023\n\nregion,2023,2024\nN,5,6\nS,5,6\n", 3, "Line 1 is above"),
    ] {
        let (layout, findings) = read(text);
        assert_eq!(lines(&layout).first(), Some(&(header + 1)), "{text}");
        let messages: Vec<&str> = findings.notes.iter().map(|note| note.message.as_str()).collect();
        assert!(messages.iter().any(|message| message.starts_with(noted)), "{messages:?}");
    }
}

#[test]
fn a_header_that_repeats_and_captions_are_not_data() {
    let text =
        "Sales\ndate,region,revenue\n2024-10-01,N,5\nSales\nDate,Region,Revenue\n2024-10-02,S,6\nSource: ERP,,\n";
    let (layout, findings) = read(text);
    assert_eq!(lines(&layout), [3, 6]);
    let messages: Vec<&str> = findings.notes.iter().map(|note| note.message.as_str()).collect();
    assert!(messages.contains(&"The header in line 2 repeats in line 5; it is not counted as data."), "{messages:?}");
    assert!(
        messages.iter().any(|message| message.starts_with("Lines 4 and 7 are a text without a figure")),
        "{messages:?}"
    );
}

#[test]
fn names_may_be_missing_or_repeated() {
    let (layout, findings) = read("date,,revenue,revenue\n2024-10-01,x,5,6\n");
    assert_eq!(layout.names, ["date", "column_2", "revenue", "revenue_2"]);
    assert_eq!((findings.notes.len(), findings.warnings.len()), (1, 1));
    let (layout, _) = read("a,b,\n1,2,\n3,4,\n");
    assert_eq!(layout.names, ["a", "b"], "a column without a name and without a cell is none");
    let (layout, _) = read("a,b,\nx,2,3\ny,4,5\n");
    assert_eq!(layout.names, ["a", "b", "column_3"]);
}

#[test]
fn a_row_of_another_width_is_rejected_with_its_line() {
    for (text, line) in [("a,b\n1,2\n3\n", 3), ("a,b\n1,2\n3,4,5\n", 3), ("a,b,c\n1,2,3\n4,5\n6,7,8\n", 3)] {
        let cause = lay_out(grid(text), &mut Findings::default()).unwrap_err();
        assert_eq!(cause.details["line"], line, "{cause}");
    }
}

#[test]
fn the_rows_of_a_workbook_may_be_short() {
    let mut sheet = grid("date,note,n\n2024-10-01,,5\n");
    sheet.source = GridSource::Workbook { sheet: "x".to_owned() };
    sheet.rows.push(GridRow { line: 3, cells: vec![Cell::from_text("2024-10-02"), Cell::from_text("y")] });
    assert_eq!(lay_out(sheet, &mut Findings::default()).unwrap().rows[1].cells.len(), 3);
}
