//! Workbooks, as Excel and other programs write them.

use std::io::Write;

use greenroom_protocol::{Cause, ErrorCode};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::cells::column_letters;
use super::read;
use crate::tables::grid::{Cell, Grid, GridSource};
use crate::tables::unit::Unit;
use crate::tables::{TableOptions, read_facts};

/// A sheet of a test: its name, its attributes in the list of sheets, and its rows in XML.
struct SheetXml<'a>(&'a str, &'a str, &'a str);

const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006/relationships";

/// The number formats of the workbooks; the first one has this number.
const FORMATS: [&str; 7] =
    ["[h]:mm", "hh:mm", "#,##0.00 \"€\"", "00000", "#,##0,", "#,##0\" Mio. €\"", "[$-407]d. mmmm yyyy"];
const FIRST_FORMAT: u32 = 164;
/// The styles: 1 a date, 2 a duration, 3 a time, 4 per cent, 5 euros, 6 five digits, 7 dollars, 8 thousands, 9 millions,
/// 10 a date.
const STYLES: [u32; 11] = [0, 14, 164, 165, 10, 166, 167, 8, 168, 169, 170];

fn workbook(sheets: &[SheetXml<'_>]) -> Vec<u8> {
    let mut list = String::new();
    let mut relations = format!("<Relationship Id=\"styles\" Type=\"{RELATIONS}/styles\" Target=\"styles.xml\"/>");
    let mut files = Vec::new();
    for (SheetXml(name, attributes, rows), number) in sheets.iter().zip(1..) {
        list.push_str(&format!("<sheet name=\"{name}\" sheetId=\"{number}\" {attributes} r:id=\"s{number}\"/>"));
        relations.push_str(&format!(
            "<Relationship Id=\"s{number}\" Type=\"{RELATIONS}/worksheet\" Target=\"worksheets/s{number}.xml\"/>"
        ));
        let data =
            if rows.contains("<sheetData>") { (*rows).to_owned() } else { format!("<sheetData>{rows}</sheetData>") };
        let sheet = format!("<worksheet xmlns=\"{MAIN}\">{data}</worksheet>");
        files.push((format!("xl/worksheets/s{number}.xml"), sheet));
    }
    let formats: String = (FIRST_FORMAT..)
        .zip(FORMATS)
        .map(|(id, code)| format!("<numFmt numFmtId=\"{id}\" formatCode=\"{}\"/>", code.replace('"', "&quot;")))
        .collect();
    let styles: String = STYLES.iter().map(|id| format!("<xf numFmtId=\"{id}\"/>")).collect();
    let styles = format!("<numFmts>{formats}</numFmts><cellXfs>{styles}</cellXfs>");
    files.push(("xl/styles.xml".to_owned(), format!("<styleSheet xmlns=\"{MAIN}\">{styles}</styleSheet>")));
    files.push((
        "xl/workbook.xml".to_owned(),
        format!("<workbook xmlns=\"{MAIN}\" xmlns:r=\"{RELATIONS}\"><sheets>{list}</sheets></workbook>"),
    ));
    files.push((
        "xl/_rels/workbook.xml.rels".to_owned(),
        format!("<Relationships xmlns=\"{PACKAGE}\">{relations}</Relationships>"),
    ));
    let root = format!("<Relationship Id=\"r1\" Type=\"{RELATIONS}/officeDocument\" Target=\"xl/workbook.xml\"/>");
    files.push(("_rels/.rels".to_owned(), format!("<Relationships xmlns=\"{PACKAGE}\">{root}</Relationships>")));
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn text(position: &str, text: &str) -> String {
    format!("<c r=\"{position}\" t=\"inlineStr\"><is><t>{text}</t></is></c>")
}

fn number(position: &str, number: &str) -> String {
    format!("<c r=\"{position}\"><v>{number}</v></c>")
}

fn styled(position: &str, style: usize, number: &str) -> String {
    format!("<c r=\"{position}\" s=\"{style}\"><v>{number}</v></c>")
}

fn row(number: u32, cells: &[String]) -> String {
    format!("<row r=\"{number}\">{}</row>", cells.concat())
}

fn sales() -> String {
    let date = "<c r=\"A2\" s=\"1\"><v>45566</v></c>".to_owned();
    row(1, &[text("A1", "date"), text("B1", "revenue")]) + &row(2, &[date, number("B2", "0.30000000000000004")])
}

fn grid(bytes: &[u8]) -> Grid {
    read(bytes, None).unwrap()
}

fn cause(bytes: &[u8]) -> Cause {
    read(bytes, None).unwrap_err()
}

#[test]
fn a_sheet_is_read_with_typed_dates_and_numbers() {
    let grid = grid(&workbook(&[SheetXml("Sales", "", &sales())]));
    assert_eq!(grid.source, GridSource::Workbook { sheet: "Sales".to_owned() });
    assert_eq!((grid.header, grid.notes), (None, Vec::new()));
    assert_eq!(grid.rows[0].cells, [Cell::Text("date".to_owned()), Cell::Text("revenue".to_owned())]);
    assert_eq!(grid.rows[1].cells, [Cell::Date(jiff::civil::date(2024, 10, 1).into()), Cell::Number("0.3".to_owned())]);
}

#[test]
fn the_table_may_begin_anywhere_and_its_rows_are_equally_wide() {
    let rows = row(3, &[text("C3", "title")])
        + &row(5, &[text("C5", "region"), text("D5", "revenue")])
        + &row(6, &[text("C6", "North"), number("D6", "5"), "<c r=\"XFD6\" s=\"1\"/>".to_owned()]);
    let grid = grid(&workbook(&[SheetXml("Sales", "", &rows)]));
    let shape: Vec<_> = grid.rows.iter().map(|row| (row.line, row.cells.len())).collect();
    assert_eq!(shape, [(3, 2), (5, 2), (6, 2)]);
}

#[test]
fn the_only_sheet_with_figures_is_read_and_the_others_are_noted() {
    let notes = row(1, &[text("A1", "Please read")]) + &row(2, &[text("A2", "these words")]);
    let sheets =
        [SheetXml("Notes", "", &notes), SheetXml("Sales", "", &sales()), SheetXml("Old", "state=\"hidden\"", &sales())];
    let grid = grid(&workbook(&sheets));
    assert_eq!(grid.source, GridSource::Workbook { sheet: "Sales".to_owned() });
    let message = &grid.notes[0].message;
    assert!(
        message.contains("\"Sales\"") && message.contains("\"Notes\"") && message.contains("\"Old\" (hidden)"),
        "{message}"
    );
}

#[test]
fn of_several_sheets_the_caller_names_one() {
    let sheets = [
        SheetXml("North", "", &sales()),
        SheetXml("South", "", &sales()),
        SheetXml("Old", "state=\"hidden\"", &sales()),
    ];
    let bytes = workbook(&sheets);
    let several = cause(&bytes);
    assert_eq!(several.code, ErrorCode::InvalidInput);
    assert!(several.message.contains("\"North\" with 2 rows, \"South\" with 2 rows"), "{several}");
    for name in ["South", "Old"] {
        assert_eq!(read(&bytes, Some(name)).unwrap().source, GridSource::Workbook { sheet: name.to_owned() });
    }
    let unknown = read(&bytes, Some("West")).unwrap_err();
    assert!(unknown.message.contains("\"North\", \"South\", \"Old\""), "{unknown}");
}

#[test]
fn a_sheet_without_visible_rows_is_rejected() {
    let hidden = workbook(&[SheetXml("Empty", "", ""), SheetXml("Old", "state=\"veryHidden\"", &sales())]);
    assert_eq!(cause(&hidden).code, ErrorCode::InvalidData);
}

#[test]
fn errors_durations_times_and_booleans_remain_what_they_are() {
    let rows = row(1, &[text("A1", "a"), text("B1", "b"), text("C1", "c"), text("D1", "d")])
        + &row(
            2,
            &[
                "<c r=\"A2\" t=\"e\"><f>1/0</f><v>#DIV/0!</v></c>".to_owned(),
                "<c r=\"B2\" s=\"2\"><v>1.5</v></c>".to_owned(),
                "<c r=\"C2\" s=\"3\"><v>0.4375</v></c>".to_owned(),
                "<c r=\"D2\" t=\"b\"><v>1</v></c>".to_owned(),
                number("E2", "1"),
            ],
        );
    let grid = grid(&workbook(&[SheetXml("S", "", &rows)]));
    let expected = [
        Cell::Error("#DIV/0!".to_owned()),
        Cell::Text("36:00:00".to_owned()),
        Cell::Text("10:30:00".to_owned()),
        Cell::Boolean(true),
        Cell::Number("1".to_owned()),
    ];
    assert_eq!(grid.rows[1].cells, expected);
}

#[test]
fn a_formula_without_a_stored_value_is_an_error_and_no_empty_cell() {
    let formula = |position: &str| format!("<c r=\"{position}\"><f>A2*2</f></c>");
    let rows = row(1, &[text("A1", "n"), text("B1", "twice")])
        + &row(2, &[number("A2", "1"), formula("B2")])
        + &row(3, &[number("A3", "1"), formula("B3")]);
    let grid = grid(&workbook(&[SheetXml("S", "", &rows)]));
    assert!(matches!(grid.rows[1].cells[1], Cell::Error(_)));
    let message = &grid.notes[0].message;
    assert!(message.contains("2 cells, the first of them B2 in line 2"), "{message}");
}

#[test]
fn a_damaged_workbook_is_rejected() {
    let bytes = workbook(&[SheetXml("Sales", "", &sales())]);
    assert_eq!(cause(&bytes[..bytes.len() / 2]).code, ErrorCode::InvalidData);
    let unordered = row(3, &[number("A3", "1")]) + &row(2, &[number("A2", "1")]);
    assert!(cause(&workbook(&[SheetXml("S", "", &unordered)])).message.contains("not in order"));
    let wide = row(1, &[number("XFD1", "1")]);
    assert_eq!(cause(&workbook(&[SheetXml("S", "", &wide)])).code, ErrorCode::PayloadTooLarge);
}

#[test]
fn columns_have_the_letters_of_a_spreadsheet() {
    assert_eq!([0, 25, 26, 701, 702].map(column_letters), ["A", "Z", "AA", "ZZ", "AAA"]);
}

fn messages(grid: &Grid) -> String {
    grid.notes.iter().map(|note| note.message.as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_figure_is_what_its_number_format_shows() {
    let rows = row(1, &[text("A1", "a"), text("B1", "b"), text("C1", "c"), text("D1", "d"), text("E1", "e")])
        + &row(
            2,
            &[
                styled("A2", 4, "0.25"),
                styled("B2", 5, "1200.5"),
                styled("C2", 6, "1067"),
                styled("D2", 7, "-3"),
                styled("E2", 8, "1234567"),
            ],
        )
        + &row(
            3,
            &[
                styled("A3", 4, "0.07"),
                styled("B3", 9, "5"),
                styled("C3", 6, "80331"),
                styled("D3", 10, "45566"),
                number("E3", "7"),
            ],
        );
    let grid = grid(&workbook(&[SheetXml("S", "", &rows)]));
    let measured = |digits: &str, unit| Cell::Measured(digits.to_owned(), unit);
    let (percent, euro, dollar) = (Unit::Share("%"), Unit::Currency("€"), Unit::Currency("$"));
    let plain = |digits: &str| Cell::Number(digits.to_owned());
    assert_eq!(
        grid.rows[1].cells,
        [
            measured("25", percent),
            measured("1200.5", euro),
            Cell::Text("01067".to_owned()),
            measured("-3", dollar),
            plain("1234567")
        ]
    );
    let date = Cell::Date(jiff::civil::date(2024, 10, 1).into());
    assert_eq!(
        grid.rows[2].cells,
        [measured("7", percent), measured("5000000", euro), plain("80331"), date, plain("7")]
    );
    let messages = messages(&grid);
    for part in [
        "shows A2 in line 2 as 25%",
        "shows B2 in line 2 with the unit €",
        "C2 in line 2 is read as the code 01067",
        "D2 in line 2 with the unit $",
        "divided by a thousand or more, such as E2",
    ] {
        assert!(messages.contains(part), "{part}: {messages}");
    }
}

#[test]
fn percentages_and_currencies_of_a_workbook_are_not_added_up_like_numbers() {
    let header = row(1, &[text("A1", "region"), text("B1", "quota"), text("C1", "betrag")]);
    let rows = header
        + &row(2, &[text("A2", "N"), styled("B2", 4, "0.25"), styled("C2", 5, "10")])
        + &row(3, &[text("A3", "S"), styled("B3", 4, "0.75"), styled("C3", 7, "20")]);
    let facts = read_facts("x.xlsx", &workbook(&[SheetXml("S", "", &rows)]), &TableOptions::default()).unwrap();
    let quota = facts.measure("quota").unwrap();
    assert_eq!(
        (quota.unit.as_deref(), &quota.total, quota.mean.as_ref().unwrap().as_f64()),
        (Some("%"), &None, Some(50.0))
    );
    assert_eq!(facts.headline, ["betrag (€)", "betrag ($)"]);
}

#[test]
fn hidden_rows_and_columns_are_read_and_noted() {
    let rows = row(1, &[text("A1", "region"), text("B1", "secret"), text("C1", "n")])
        + "<row r=\"2\" hidden=\"1\">"
        + &text("A2", "N")
        + &number("B2", "1")
        + &number("C2", "5")
        + "</row>"
        + &row(3, &[text("A3", "S"), number("B3", "1"), number("C3", "6")])
        + "<row r=\"9\" hidden=\"1\"/>";
    let sheet = format!(
        "<cols><col min=\"2\" max=\"2\" hidden=\"1\"/><col min=\"5\" max=\"6\" hidden=\"1\"/></cols><sheetData>{rows}</sheetData>"
    );
    let grid = grid(&workbook(&[SheetXml("S &amp; T", "", &sheet)]));
    assert_eq!(grid.rows.len(), 3);
    let messages = messages(&grid);
    assert!(messages.contains("1 row is hidden in the workbook") && messages.contains("line 2"), "{messages}");
    assert!(messages.contains("1 column is hidden in the workbook and read like the others: \"B\""), "{messages}");
}

#[test]
fn the_text_of_merged_cells_holds_for_each_of_their_rows_and_a_figure_counts_once() {
    let rows = row(1, &[text("A1", "region"), text("B1", "n"), text("C1", "bonus")])
        + &row(2, &[text("A2", "N"), number("B2", "5"), number("C2", "7")])
        + &row(3, &[number("B3", "6")])
        + &row(4, &[text("A4", "S"), number("B4", "7")]);
    let merged =
        "<mergeCells><mergeCell ref=\"A2:A3\"/><mergeCell ref=\"C2:C3\"/><mergeCell ref=\"B9:A1\"/></mergeCells>";
    let grid = grid(&workbook(&[SheetXml("S", "", &format!("<sheetData>{rows}</sheetData>{merged}"))]));
    assert_eq!(grid.rows[2].cells, [Cell::Text("N".to_owned()), Cell::Number("6".to_owned()), Cell::Empty]);
    assert!(messages(&grid).contains("1 merged cell, the first of them A2:A3"), "{}", messages(&grid));
}
