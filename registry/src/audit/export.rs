//! An exported copy of an audit: a file of lines of JSON, which anyone verifies with the public key, without the database.
//!
//! The first line names the database and its key. Then come the root chain, or the signed heads of a database that has
//! one chain only; then the records, ordered by chain and number; the last line has their numbers, so that a copy that
//! was cut off is noticed.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use greenroom_protocol::ContentHash;
use serde::{Deserialize, Serialize};

use crate::audit::ChainKey;
use crate::audit::chain::ChainRow;
use crate::audit::chains::{ChainsVerifier, RootVerifier};
use crate::audit::head::SignedHead;
use crate::audit::verify::{ChainReport, ChainVerifier};
use crate::error::StoreError;

/// The version of the format.
const FORMAT: u32 = 1;
/// Bytes of one line: the largest record that is read.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExportReport {
    /// Records of the root chain; zero for a database that has one chain only.
    pub root: u64,
    /// Records of all other chains.
    pub records: u64,
}

/// A record with its hash.
#[derive(Debug, Serialize, Deserialize)]
struct RecordLine {
    number: u64,
    hash: ContentHash,
    record: String,
}

impl RecordLine {
    fn from_row(row: &ChainRow) -> Self {
        Self { number: row.number, hash: row.hash, record: row.record.clone() }
    }

    fn into_row(self) -> ChainRow {
        ChainRow { number: self.number, hash: self.hash, record: self.record }
    }
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    /// The database, and the public key that signs or certifies.
    Database { format: u32, database: String, key: String },
    /// A record of the root chain.
    Root {
        #[serde(flatten)]
        row: RecordLine,
    },
    /// A signed head of the only chain.
    Head { head: SignedHead },
    /// A record of a chain.
    Record {
        chain: u64,
        #[serde(flatten)]
        row: RecordLine,
    },
    /// The last line.
    End {
        #[serde(flatten)]
        report: ExportReport,
    },
}

/// Writes an exported copy to a new file, which is removed if it is not completed.
pub(crate) struct ExportWriter {
    path: PathBuf,
    file: BufWriter<File>,
    report: ExportReport,
    is_complete: bool,
}

impl Drop for ExportWriter {
    fn drop(&mut self) {
        if !self.is_complete {
            // A file that remains is noticed by its missing last line.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl ExportWriter {
    /// Creates the file, which must not exist.
    pub(crate) fn create(path: &Path, database: &str, key: &str) -> Result<Self, StoreError> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = BufWriter::new(file.map_err(|error| StoreError::from_io(path, &error))?);
        let mut export = Self { path: path.to_owned(), file, report: ExportReport::default(), is_complete: false };
        export.write(&Line::Database { format: FORMAT, database: database.to_owned(), key: key.to_owned() })?;
        Ok(export)
    }

    /// Adds a record of the root chain.
    pub(crate) fn add_root(&mut self, row: &ChainRow) -> Result<(), StoreError> {
        self.report.root += 1;
        self.write(&Line::Root { row: RecordLine::from_row(row) })
    }

    /// Adds a signed head of the only chain.
    pub(crate) fn add_head(&mut self, head: SignedHead) -> Result<(), StoreError> {
        self.write(&Line::Head { head })
    }

    /// Adds a record of a chain.
    pub(crate) fn add_record(&mut self, chain: u64, row: &ChainRow) -> Result<(), StoreError> {
        self.report.records += 1;
        self.write(&Line::Record { chain, row: RecordLine::from_row(row) })
    }

    /// Ends the file, and waits until it is on the disk.
    pub(crate) fn finish(mut self) -> Result<ExportReport, StoreError> {
        let report = self.report;
        self.write(&Line::End { report })?;
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|error| StoreError::from_io(&self.path, &error))?;
        self.is_complete = true;
        Ok(report)
    }

    fn write(&mut self, line: &Line) -> Result<(), StoreError> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(|error| StoreError::from_io(&self.path, &error))
    }
}

/// How far an exported copy is verified.
enum Progress<'k> {
    /// The root chain, as far as there is one, and the signed heads of an only chain.
    Root(RootVerifier<'k>, Vec<SignedHead>),
    /// The records of several chains.
    Chains(ChainsVerifier),
    /// The records of the only chain.
    Chain(ChainVerifier),
}

impl<'k> Progress<'k> {
    /// Verifies the next line; `None` if no such line may follow.
    fn add(self, line: Line, key: &'k ChainKey, found: &mut ExportReport) -> Option<Self> {
        match (self, line) {
            (Self::Root(mut root, heads), Line::Root { row }) => {
                found.root += 1;
                root.add(&row.into_row());
                Some(Self::Root(root, heads))
            }
            (Self::Root(root, mut heads), Line::Head { head }) => {
                heads.push(head);
                Some(Self::Root(root, heads))
            }
            (progress, Line::Record { chain, row }) => {
                found.records += 1;
                let mut progress = progress.into_records(key, found.root);
                match &mut progress {
                    Self::Chains(chains) => chains.add(chain, &row.into_row()),
                    Self::Chain(verifier) => verifier.verify_next(&row.into_row()),
                    Self::Root(..) => return None,
                }
                Some(progress)
            }
            (_, Line::Database { .. } | Line::Root { .. } | Line::Head { .. } | Line::End { .. }) => None,
        }
    }

    /// Begins with the records. A database without a root chain has one chain only.
    fn into_records(self, key: &'k ChainKey, root: u64) -> Self {
        match self {
            Self::Root(_, heads) if root == 0 => Self::Chain(ChainVerifier::new(key.verifying_key(), heads)),
            Self::Root(root, _) => Self::Chains(root.finish()),
            other @ (Self::Chains(_) | Self::Chain(_)) => other,
        }
    }
}

/// Verifies an exported copy. A violation is no error: the report contains it.
pub(crate) fn verify_export(path: &Path, key: &ChainKey) -> Result<ChainReport, StoreError> {
    let damaged = |problem: &str| StoreError::Corrupt(format!("{} {problem}", path.display()));
    let file = File::open(path).map_err(|error| StoreError::from_io(path, &error))?;
    let mut lines = BufReader::new(file);
    let Some(Line::Database { format, database, key: own }) = read_line(&mut lines, path)? else {
        return Err(damaged("is no exported copy of an audit"));
    };
    if format != FORMAT {
        return Err(StoreError::Version(format!("{} has the format {format}", path.display())));
    }
    if own != key.to_hex() {
        let problem = "its audit is signed by another key than the given one";
        return Err(StoreError::OtherDirectory(format!("{}: {problem}", path.display())));
    }
    // The head that is saved beside a database may be newer than its copy.
    let mut progress = Progress::Root(RootVerifier::new(key, database, None), Vec::new());
    let mut found = ExportReport::default();
    loop {
        let line = read_line(&mut lines, path)?.ok_or_else(|| damaged("is not complete"))?;
        if let Line::End { report } = &line {
            if *report == found {
                break;
            }
            return Err(damaged("does not have the records that it had"));
        }
        let next = progress.add(line, key, &mut found);
        progress = next.ok_or_else(|| damaged("has lines in another order"))?;
    }
    match progress.into_records(key, found.root) {
        Progress::Chains(chains) => Ok(chains.finish()),
        Progress::Chain(verifier) => Ok(verifier.finish()),
        Progress::Root(..) => Err(damaged("has no chain")),
    }
}

/// Reads the next line; none at the end of the file.
fn read_line(lines: &mut impl BufRead, path: &Path) -> Result<Option<Line>, StoreError> {
    let mut text = Vec::new();
    let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text);
    read.map_err(|error| StoreError::from_io(path, &error))?;
    if text.is_empty() {
        return Ok(None);
    }
    let line = serde_json::from_slice(&text);
    line.map(Some).map_err(|error| StoreError::Corrupt(format!("{} has an invalid line: {error}", path.display())))
}

#[cfg(test)]
mod tests;
