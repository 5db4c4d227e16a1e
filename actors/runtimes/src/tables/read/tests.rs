//! Files of every format: read, or rejected under the true name of their format.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use greenroom_protocol::{Cause, ErrorCode};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{INFLATED_BYTES_MAX, read};
use crate::tables::grid::{Cell, Grid, GridSource};

const CSV: &str = "date,revenue\n2024-10-01,5\n";

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn grid(bytes: &[u8]) -> Grid {
    read(bytes, None).unwrap()
}

fn cause(bytes: &[u8]) -> Cause {
    let cause = read(bytes, None).unwrap_err();
    assert!(matches!(cause.code, ErrorCode::InvalidData | ErrorCode::PayloadTooLarge), "{cause}");
    cause
}

#[test]
fn a_compressed_file_has_the_cells_of_the_plain_one() {
    assert_eq!(grid(&gzip(CSV.as_bytes())), grid(CSV.as_bytes()));
    let mut members = gzip(b"date,revenue\n");
    members.extend(gzip(b"2024-10-01,5\n"));
    assert_eq!(grid(&members), grid(CSV.as_bytes()));
}

#[test]
fn a_damaged_or_nested_gzip_file_is_rejected() {
    let whole = gzip(CSV.as_bytes());
    assert!(cause(&whole[..whole.len() - 9]).message.contains("gzip"));
    assert!(cause(&gzip(&whole)).message.contains("gzip twice"));
    assert!(cause(&gzip(b"%PDF-1.7\n\0")).message.contains("PDF"));
}

#[test]
fn a_gzip_file_that_expands_beyond_the_bound_is_rejected() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![b'1'; 1 << 20];
    for _ in 0..=(INFLATED_BYTES_MAX >> 20) {
        encoder.write_all(&zeros).unwrap();
    }
    assert_eq!(cause(&encoder.finish().unwrap()).code, ErrorCode::PayloadTooLarge);
}

#[test]
fn text_is_read_in_each_encoding_with_the_same_cells() {
    let text = "Datum;Ort;Umsatz\n01.10.2024;Köln;1,5\n";
    let expected = grid(text.as_bytes());
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked: Vec<u8> = [0xff, 0xfe].into_iter().chain(utf16.iter().copied()).collect();
    let windows: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    for (bytes, notes) in [(utf16, 1), (marked, 0), (windows, 1)] {
        let read = grid(&bytes);
        assert_eq!((&read.rows, &read.source), (&expected.rows, &expected.source));
        assert_eq!(read.notes.len(), notes);
    }
    assert!(expected.notes.is_empty());
}

#[test]
fn a_format_that_is_not_read_is_rejected_under_its_name() {
    let ole = |stream: &str| {
        let mut bytes = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
        bytes.extend(stream.encode_utf16().flat_map(u16::to_le_bytes));
        bytes
    };
    let cases: [(Vec<u8>, &str); 16] = [
        (b"PAR1\x15\x04\x15\0".to_vec(), "Parquet"),
        (b"%PDF-1.7\n%\xe2\xe3".to_vec(), "PDF"),
        (b"\x28\xb5\x2f\xfd\x04\x00".to_vec(), "Zstandard"),
        (b"BZh91AY&SY\0".to_vec(), "bzip2"),
        (b"\xfd7zXZ\0\0".to_vec(), "xz"),
        (b"7z\xbc\xaf\x27\x1c".to_vec(), "7-Zip"),
        (b"SQLite format 3\0".to_vec(), "SQLite"),
        (ole("Workbook"), "old Excel workbook (.xls)"),
        (ole("EncryptedPackage"), "password"),
        (archive(&[("mimetype", "application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", "<a/>")]), ".ods"),
        (archive(&[("xl/workbook.bin", "")]), ".xlsb"),
        (archive(&[("word/document.xml", "")]), "Word"),
        (archive(&[("sales.csv", CSV)]), "ZIP archive of \"sales.csv\""),
        (b"<!DOCTYPE html><table><tr><td>1</td></tr></table>".to_vec(), "HTML"),
        (b"<?xml version=\"1.0\"?><Workbook/>".to_vec(), "XML"),
        (b"PK\x03\x04\0\0".to_vec(), "damaged"),
    ];
    for (bytes, expected) in cases {
        let cause = cause(&bytes);
        assert!(cause.message.contains(expected), "{expected}: {cause}");
    }
}

#[test]
fn text_that_begins_like_a_short_signature_is_text() {
    for text in ["ORC,revenue\na,1\n", "BZh,revenue\na,1\n", "PAR1,revenue\na,1\n", "[Date],[Revenue]\n2024-10-01,5\n"]
    {
        assert_eq!(grid(text.as_bytes()).source, GridSource::Delimited { delimiter: b',' }, "{text}");
    }
}

#[test]
fn a_zero_byte_is_rejected_with_its_line() {
    let cause = cause(b"date,revenue\n2024-10-01,5\0\n");
    assert_eq!(cause.details["line"], 2, "{cause}");
}

#[test]
fn delimited_text_has_one_table_without_a_name() {
    let cause = read(CSV.as_bytes(), Some("Sales")).unwrap_err();
    assert_eq!(cause.code, ErrorCode::InvalidInput);
    assert_eq!(grid(CSV.as_bytes()).rows[1].cells[1], Cell::Text("5".to_owned()));
}

#[test]
fn a_file_that_is_one_json_literal_is_refused_with_its_value() {
    for (text, value) in [("null", "`null`"), (" true\n", "`true`"), ("false", "`false`")] {
        let cause = read(text.as_bytes(), None).unwrap_err();
        assert!(cause.message.contains(value) && cause.message.contains("no records"), "{cause}");
    }
}
