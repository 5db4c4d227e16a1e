//! The true format of a file, by its content: an Excel workbook, text, or a format that is not read.

use std::borrow::Cow;
use std::io::Cursor;

use greenroom_protocol::Cause;
use zip::ZipArchive;

use crate::tables::note;

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileFormat {
    /// Probably text, in whichever encoding.
    Text,
    /// An Excel workbook (`.xlsx`, `.xlsm`).
    Workbook,
}

/// What the file of an unread format must become.
const ADVICE: &str = "save it as CSV, JSON or an Excel workbook (.xlsx)";
/// Formats by their first bytes.
const SIGNATURES: [(&[u8], &str); 21] = [
    (b"PAR1", "a Parquet file"),
    (b"%PDF-", "a PDF document"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard (.zst)"),
    (b"BZh", "compressed by bzip2 (.bz2)"),
    (b"\xfd7zXZ\0", "compressed by xz (.xz)"),
    (b"\x04\x22\x4d\x18", "compressed by LZ4 (.lz4)"),
    (b"\x1f\x9d", "compressed by `compress` (.Z)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive (.7z)"),
    (b"Rar!\x1a\x07", "a RAR archive (.rar)"),
    (b"ARROW1", "an Arrow file (.arrow, .feather)"),
    (b"FEA1", "a Feather file (.feather)"),
    (b"Obj\x01", "an Avro file (.avro)"),
    (b"ORC", "an ORC file (.orc)"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"{\\rtf", "an RTF document"),
    (b"\x7fELF", "a program"),
    (b"PK\x05\x06", "an empty ZIP archive"),
];

/// Detects the format.
///
/// # Errors
/// `invalid_data` with the name of a format that is not read.
pub(super) fn detect(bytes: &[u8]) -> Result<FileFormat, Cause> {
    if bytes.starts_with(b"PK\x03\x04") {
        return detect_in_zip(bytes);
    }
    if bytes.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return Err(rejected(ole_name(bytes)));
    }
    // The bytes of a column of text may begin like a short signature: `ORC-12,5`.
    let is_binary = |signature: &[u8]| !signature.is_ascii() || signature.len() > 4 || bytes.contains(&0);
    if let Some((_, name)) = SIGNATURES.iter().find(|(start, _)| bytes.starts_with(start) && is_binary(start)) {
        return Err(rejected(name));
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Err(rejected("a tar archive"));
    }
    Ok(FileFormat::Text)
}

/// Rejects markup, which some programs name `.xls`.
///
/// # Errors
/// `invalid_data` with the name of the format.
pub(super) fn reject_markup(text: &str) -> Result<(), Cause> {
    let start: String = text.trim_start().chars().take(16).collect::<String>().to_ascii_lowercase();
    if ["<!doctype html", "<html", "<table", "<body", "<head"].iter().any(|tag| start.starts_with(tag)) {
        return Err(rejected("an HTML page"));
    }
    if start.starts_with("<?xml") {
        return Err(rejected("an XML document"));
    }
    Ok(())
}

fn rejected(name: impl std::fmt::Display) -> Cause {
    note::unreadable(format!("the file is {name} and cannot be read as a table; {ADVICE}"))
}

/// The kind of a ZIP archive, by the names in it.
fn detect_in_zip(bytes: &[u8]) -> Result<FileFormat, Cause> {
    let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
        note::unreadable(format!("the file begins like a ZIP archive or a workbook and is damaged: {error}"))
    })?;
    let names: Vec<String> = archive.file_names().filter_map(Result::ok).map(Cow::into_owned).collect();
    let has = |wanted: &str| names.iter().any(|name| name.trim_start_matches('/').eq_ignore_ascii_case(wanted));
    let has_start = |wanted: &str| names.iter().any(|name| name.starts_with(wanted));
    if has("xl/workbook.xml") {
        return Ok(FileFormat::Workbook);
    }
    Err(if has("xl/workbook.bin") {
        rejected("a binary Excel workbook (.xlsb)")
    } else if has("content.xml") && has("mimetype") {
        rejected("an OpenDocument file (.ods)")
    } else if has_start("word/") {
        rejected("a Word document (.docx)")
    } else if has_start("ppt/") {
        rejected("a PowerPoint presentation (.pptx)")
    } else if has_start("Index/") {
        rejected("an Apple Numbers document (.numbers)")
    } else {
        let listed = crate::tables::grid::list(names.iter().map(String::as_str));
        note::unreadable(format!("the file is a ZIP archive of {listed}; unpack it and send one of its files"))
    })
}

/// The kind of an OLE compound file, by the names of its streams.
fn ole_name(bytes: &[u8]) -> &'static str {
    let utf16 = |name: &str| -> Vec<u8> { name.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let has = |name: &str| {
        let name = utf16(name);
        bytes.windows(name.len()).any(|window| window == name)
    };
    if has("EncryptedPackage") {
        "a workbook that is protected by a password"
    } else if has("WordDocument") {
        "an old Word document (.doc)"
    } else {
        "an old Excel workbook (.xls)"
    }
}
