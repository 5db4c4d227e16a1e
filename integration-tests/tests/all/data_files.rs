//! Data files of every format, from the command line to the facts: whole, also if they are binary, and with
//! every choice about them in the notes.

use std::io::Write;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_protocol::Json;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const REPORT: [&str; 3] = ["run", "workflow", "generate_quarterly_report"];
const CSV: &str = "Datum;Ort;Umsatz\n14.10.2024;Köln;1,5\n15.11.2024;Köln;2,5\n";

/// The facts of a file; `more` has further arguments.
async fn facts(terminal: &CliHarness, name: &str, contents: impl AsRef<[u8]>, more: &[&str]) -> Result<Json> {
    terminal.write_file(name, contents)?;
    let source = format!("data_source=@{name}");
    let words = [&REPORT[..], &["--input", &source], more].concat();
    let reply = terminal.run(&words).await?.expect_success().with_context(|| name.to_owned())?;
    Ok(reply["outputs"]["facts"].clone())
}

/// The error of a file that is rejected with this exit code.
async fn error(
    terminal: &CliHarness,
    name: &str,
    contents: impl AsRef<[u8]>,
    more: &[&str],
    exit: i32,
) -> Result<Json> {
    terminal.write_file(name, contents)?;
    let source = format!("data_source=@{name}");
    let words = [&REPORT[..], &["--input", &source], more].concat();
    terminal.run(&words).await?.expect_error(exit).with_context(|| name.to_owned())
}

fn total(facts: &Json) -> Option<f64> {
    facts["measures"][0]["total"].as_f64()
}

fn notes(facts: &Json) -> String {
    let messages = ["notes", "warnings"].iter().flat_map(|name| facts[*name].as_array().into_iter().flatten());
    messages.filter_map(|note| note["message"].as_str()).collect::<Vec<_>>().join("\n")
}

/// A workbook whose sheets have a date column and a number column.
fn workbook(sheets: &[(&str, u32)]) -> Result<Vec<u8>> {
    let office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let package = "http://schemas.openxmlformats.org/package/2006/relationships";
    let text = |position: &str, text: &str| format!("<c r=\"{position}\" t=\"inlineStr\"><is><t>{text}</t></is></c>");
    let (mut list, mut relations, mut files) = (String::new(), String::new(), Vec::new());
    for ((name, amount), number) in sheets.iter().zip(1..) {
        list.push_str(&format!("<sheet name=\"{name}\" sheetId=\"{number}\" r:id=\"s{number}\"/>"));
        relations.push_str(&format!(
            "<Relationship Id=\"s{number}\" Type=\"{office}/worksheet\" Target=\"s{number}.xml\"/>"
        ));
        let header = [text("A1", "date"), text("B1", "revenue")].concat();
        let row = |row: u32, day: u32| {
            format!(
                "<row r=\"{row}\"><c r=\"A{row}\" s=\"1\"><v>{day}</v></c><c r=\"B{row}\"><v>{amount}</v></c></row>"
            )
        };
        let rows = format!("<row r=\"1\">{header}</row>{}{}", row(2, 45_566), row(3, 45_600));
        files.push((
            format!("xl/s{number}.xml"),
            format!("<worksheet xmlns=\"{main}\"><sheetData>{rows}</sheetData></worksheet>"),
        ));
    }
    relations.push_str(&format!("<Relationship Id=\"st\" Type=\"{office}/styles\" Target=\"styles.xml\"/>"));
    let styles = "<cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/></cellXfs>";
    let root = format!("<Relationship Id=\"r1\" Type=\"{office}/officeDocument\" Target=\"xl/workbook.xml\"/>");
    files.push(("xl/styles.xml".to_owned(), format!("<styleSheet xmlns=\"{main}\">{styles}</styleSheet>")));
    files.push((
        "xl/workbook.xml".to_owned(),
        format!("<workbook xmlns=\"{main}\" xmlns:r=\"{office}\"><sheets>{list}</sheets></workbook>"),
    ));
    files.push((
        "xl/_rels/workbook.xml.rels".to_owned(),
        format!("<Relationships xmlns=\"{package}\">{relations}</Relationships>"),
    ));
    files.push(("_rels/.rels".to_owned(), format!("<Relationships xmlns=\"{package}\">{root}</Relationships>")));
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(name, SimpleFileOptions::default())?;
        writer.write_all(content.as_bytes())?;
    }
    Ok(writer.finish()?.into_inner())
}

#[tokio::test]
async fn a_table_has_the_same_total_in_each_encoding_and_compressed() -> Result<()> {
    let terminal = CliHarness::open()?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(CSV.as_bytes())?;
    let utf16: Vec<u8> = CSV.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked: Vec<u8> = [0xff, 0xfe].into_iter().chain(utf16.iter().copied()).collect();
    let windows: Vec<u8> =
        CSV.bytes().filter(|byte| *byte != 0xc3).map(|byte| if byte == 0xb6 { 0xf6 } else { byte }).collect();
    for (name, bytes, note) in [
        ("utf8.csv", CSV.as_bytes().to_vec(), ""),
        ("utf16.csv", utf16, "UTF-16"),
        ("marked.csv", marked, ""),
        ("windows.csv", windows, "Windows-1252"),
        ("packed.csv.gz", encoder.finish()?, ""),
    ] {
        let facts = facts(&terminal, name, bytes, &["--context", "quarter=Q4 2024"]).await?;
        assert_eq!(total(&facts), Some(4.0), "{name}: {facts:#}");
        assert!(facts.to_string().contains("Köln"), "{name}: {facts:#}");
        assert!(notes(&facts).contains(note), "{name}: {}", notes(&facts));
    }
    Ok(())
}

#[tokio::test]
async fn a_workbook_is_read_and_of_several_sheets_one_is_named() -> Result<()> {
    let terminal = CliHarness::open()?;
    let one = facts(&terminal, "one.xlsx", workbook(&[("Sales", 5)])?, &["--context", "quarter=Q4 2024"]).await?;
    assert_eq!((total(&one), &one["date_column"]), (Some(10.0), &"date".into()), "{one:#}");
    let several = workbook(&[("North", 5), ("South", 7)])?;
    let refused = error(&terminal, "two.xlsx", &several, &[], 1).await?;
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.contains("\"North\"") && message.contains("`table`"), "{refused:#}");
    let south = facts(&terminal, "two.xlsx", &several, &["--input", "table=South"]).await?;
    assert_eq!(total(&south), Some(14.0), "{south:#}");
    Ok(())
}

#[tokio::test]
async fn a_format_that_is_not_read_is_rejected_under_its_name() -> Result<()> {
    let terminal = CliHarness::open()?;
    for (name, bytes, expected) in [
        ("report.csv", &b"%PDF-1.7\n%\xe2\xe3\0"[..], "PDF"),
        ("old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "old Excel workbook"),
        ("table.xls", b"<html><table><tr><td>1</td></tr></table></html>", "HTML"),
        ("zero.csv", b"day,sold\n2025-01-02,3\0\n", "line 2"),
    ] {
        let error = error(&terminal, name, bytes, &[], 1).await?;
        assert_eq!(error["code"], "invalid_data", "{error:#}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(expected)), "{error:#}");
    }
    Ok(())
}

#[tokio::test]
async fn the_right_list_of_a_json_document_is_the_table() -> Result<()> {
    let terminal = CliHarness::open()?;
    let rows = "[{\"date\":\"2024-10-01\",\"revenue\":5},{\"date\":\"2024-11-01\",\"revenue\":6}]";
    let document = format!("{{\"count\":2,\"data\":{rows},\"tags\":[{{\"name\":\"a\"}},{{\"name\":\"b\"}}]}}");
    let chosen = facts(&terminal, "chosen.json", document, &[]).await?;
    assert_eq!(total(&chosen), Some(11.0), "{chosen:#}");
    assert!(notes(&chosen).contains("\"tags\" is not read"), "{}", notes(&chosen));
    let document = format!("{{\"orders\":{rows},\"returns\":{rows}}}");
    let refused = error(&terminal, "two.json", &document, &[], 1).await?;
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.contains("\"orders\" with 2 records") && message.contains("`table`"), "{refused:#}");
    let named = facts(&terminal, "two.json", &document, &["--input", "table=orders"]).await?;
    assert_eq!(total(&named), Some(11.0), "{named:#}");
    Ok(())
}

#[tokio::test]
async fn an_ambiguous_decimal_mark_is_stated_and_the_caller_may_decide_it() -> Result<()> {
    let terminal = CliHarness::open()?;
    let csv = "Datum;Preis\n14.10.2024;1.250\n15.10.2024;2.375\n";
    let undecided = facts(&terminal, "m.csv", csv, &[]).await?;
    let warnings = undecided["warnings"].to_string();
    assert!(warnings.contains("`decimal_mark` with `,`"), "{warnings}");
    let mean = |facts: &Json| facts["measures"][0]["mean"].as_f64();
    assert_eq!(mean(&undecided), Some(1.8125), "{undecided:#}");
    for statement in [["--input", "decimal_mark=,"], ["--context", "decimal_mark=,"]] {
        let decided = facts(&terminal, "m.csv", csv, &statement).await?;
        assert_eq!(mean(&decided), Some(1812.5), "{decided:#}");
        assert_eq!(decided["warnings"], Json::Array(Vec::new()), "{decided:#}");
    }
    let refused = error(&terminal, "m.csv", csv, &["--input", "decimal_mark=comma"], 2).await?;
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("decimal_mark")), "{refused:#}");
    Ok(())
}

#[tokio::test]
async fn doubtful_dates_are_stated_and_the_caller_may_decide_them() -> Result<()> {
    let terminal = CliHarness::open()?;
    let csv = "Date,Amount\n05/10/2024,100\n06/10/2024,200\n07/11/2024,300\n";
    let undecided = facts(&terminal, "d.csv", csv, &[]).await?;
    assert!(notes(&undecided).contains("month-first"), "{}", notes(&undecided));
    let quarter = ["--context", "quarter=Q4 2024", "--input", "date_order=day_first"];
    let decided = facts(&terminal, "d.csv", csv, &quarter).await?;
    assert_eq!(total(&decided), Some(600.0), "{decided:#}");
    let fiscal = "Quarter,Revenue\nFY24 Q1,100\nFY24 Q2,200\n";
    let undated = facts(&terminal, "f.csv", fiscal, &[]).await?;
    assert!(notes(&undated).contains("`fiscal_year_start`"), "{}", notes(&undated));
    let first = ["--input", "quarter=FY24 Q1", "--input", "fiscal_year_start=10"];
    let dated = facts(&terminal, "f.csv", fiscal, &first).await?;
    assert_eq!((total(&dated), &dated["period"]["from"]), (Some(100.0), &"2023-10-01".into()), "{dated:#}");
    let week = "Week,Revenue\n40,100\n41,200\n";
    let undated = facts(&terminal, "w.csv", week, &[]).await?;
    assert!(notes(&undated).contains("\"Week\"") && undated["measures"].as_array().is_some_and(|all| all.len() == 1));
    Ok(())
}
