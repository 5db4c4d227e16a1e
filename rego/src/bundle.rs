//! Reads, bounds, hashes and unpacks a policy bundle. This module executes nothing of it.
//!
//! The bundle is what `opa build -t wasm` writes: a gzipped tar of `policy.wasm`, `data.json`,
//! `.manifest` and the sources. The product embeds its own bundle, so building it needs no OPA.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use greenroom_protocol::{Cause, ContentHash, ErrorCode, Json};
use serde::Deserialize;

use exact_numbers::InexactNumber;

pub mod complete_text;
mod exact_numbers;
pub mod memory;
pub mod source;

/// Maximum bytes of a packed bundle.
pub const BUNDLE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Maximum bytes of all unpacked files of a bundle together.
pub const UNPACKED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Maximum bytes of `data.json`: parsed, it takes nine times as much memory in every instance.
pub const DATA_BYTES_MAX: usize = 256 * 1024;
/// Maximum files in a bundle.
pub const FILES_MAX: usize = 256;
/// The bundle's file name in a policy directory.
pub const BUNDLE_NAME: &str = "guard.tar.gz";

/// The bundle that is embedded in the binary.
const EMBEDDED: &[u8] = include_bytes!("../bundle/guard.tar.gz");

/// Why a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The directory has only sources, and the process has no compiler for them.
    #[error("{} has no {BUNDLE_NAME}; compile the sources with `opa build -t wasm` first", path.display())]
    NotCompiled {
        /// The directory.
        path: PathBuf,
    },
    /// The bundle, or a part of it, exceeds a limit.
    #[error("{subject} has more than {max} {unit}")]
    TooLarge {
        /// The bundle or its part.
        subject: String,
        /// The limit.
        max: u64,
        /// The unit of the limit.
        unit: &'static str,
    },
    /// The bytes are not a gzipped tar.
    #[error("the bundle is not a gzipped tar")]
    Corrupt(#[source] std::io::Error),
    /// A file in the bundle is not a regular file, or its path leads out of the bundle.
    #[error("the bundle has a file with the path `{path}`")]
    Path {
        /// The path.
        path: String,
    },
    /// A file is missing.
    #[error("the bundle has no {name}")]
    Missing {
        /// The name of the file.
        name: &'static str,
    },
    /// A file is not the JSON that is expected.
    #[error("{name} of the bundle cannot be read: {error}")]
    Json {
        /// The name of the file.
        name: &'static str,
        /// The error of the JSON parser.
        error: serde_json::Error,
    },
    /// A number of `data.json` would be rounded.
    #[error("data.json of the bundle has the number {text} at `{path}`, which cannot be represented exactly")]
    Inexact {
        /// The path of the number.
        path: String,
        /// The number as written.
        text: String,
    },
    /// `policy.wasm` is not a module that imports a memory.
    #[error("policy.wasm is not a policy: {0}")]
    Module(#[from] memory::ModuleError),
}

impl From<BundleError> for Cause {
    fn from(error: BundleError) -> Self {
        let message = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Self::new(ErrorCode::InvalidPolicy, message)
    }
}

/// An unpacked bundle.
#[derive(Debug, Clone)]
pub struct Bundle {
    hash: ContentHash,
    revision: String,
    wasm: Vec<u8>,
    data: Json,
    sources: BTreeMap<String, Vec<u8>>,
    is_rego_v1: bool,
    is_embedded: bool,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    revision: String,
    /// The version of the language of all files, and of those that differ.
    rego_version: Option<u8>,
    #[serde(default)]
    file_rego_versions: BTreeMap<String, u8>,
}

impl Bundle {
    /// The bundle that is embedded in the binary.
    ///
    /// # Errors
    /// Never in a build whose tests have passed.
    pub fn embedded() -> Result<Self, BundleError> {
        Self::read(EMBEDDED)
    }

    /// Reads a bundle from a file, or from the `guard.tar.gz` of a directory.
    ///
    /// # Errors
    /// [`BundleError`]
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        Self::read(&read_bytes(path)?)
    }

    /// A hash that changes with the content of a file or directory, even if it is not a valid bundle:
    /// the hash of its bytes, or of the error if they cannot be read.
    #[must_use]
    pub fn fingerprint(path: &Path) -> ContentHash {
        match read_bytes(path) {
            Ok(bytes) => ContentHash::from_content(&bytes),
            Err(error) => ContentHash::from_content(error.to_string().as_bytes()),
        }
    }

    /// Reads a bundle from its packed bytes.
    ///
    /// # Errors
    /// [`BundleError`]
    pub fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() as u64 > BUNDLE_BYTES_MAX {
            return Err(BundleError::TooLarge { subject: "the bundle".into(), max: BUNDLE_BYTES_MAX, unit: "bytes" });
        }
        let mut files = unpack(bytes)?;
        let wasm = files.remove("policy.wasm").ok_or(BundleError::Missing { name: "policy.wasm" })?;
        let data = files.remove("data.json").ok_or(BundleError::Missing { name: "data.json" })?;
        if data.len() > DATA_BYTES_MAX {
            let max = DATA_BYTES_MAX as u64;
            return Err(BundleError::TooLarge { subject: "data.json of the bundle".into(), max, unit: "bytes" });
        }
        let manifest = files.remove(".manifest").ok_or(BundleError::Missing { name: ".manifest" })?;
        let json = |name, error| BundleError::Json { name, error };
        let inexact = |found: InexactNumber| BundleError::Inexact { path: found.path, text: found.text };
        let parsed = serde_json::from_slice(&data).map_err(|error| json("data.json", error))?;
        exact_numbers::find_inexact(&data)
            .map_err(|error| json("data.json", error))?
            .map_or(Ok(()), |found| Err(inexact(found)))?;
        let manifest: Manifest = serde_json::from_slice(&manifest).map_err(|error| json(".manifest", error))?;
        let hash = ContentHash::from_content(bytes);
        let revision = if manifest.revision.is_empty() { hash.short() } else { manifest.revision };
        files.retain(|name, _| Path::new(name).extension().is_some_and(|extension| extension == "rego"));
        let is_rego_v1 =
            manifest.rego_version == Some(1) && manifest.file_rego_versions.values().all(|version| *version == 1);
        let is_embedded = bytes == EMBEDDED;
        Ok(Self {
            hash,
            revision,
            wasm: memory::raise_minimum(wasm)?,
            data: parsed,
            sources: files,
            is_rego_v1,
            is_embedded,
        })
    }

    /// The hash of the bundle's bytes.
    #[must_use]
    pub const fn hash(&self) -> &ContentHash {
        &self.hash
    }

    /// The revision in its manifest, else the beginning of its hash.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The module, with at least [`memory::PAGES_MIN`] pages of memory declared.
    #[must_use]
    pub fn wasm(&self) -> &[u8] {
        &self.wasm
    }

    /// The document that rules read as `data`.
    #[must_use]
    pub const fn data(&self) -> &Json {
        &self.data
    }

    /// The sources that it was compiled from, by path.
    #[must_use]
    pub const fn sources(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.sources
    }

    /// True if the sources are written in Rego v1.
    #[must_use]
    pub const fn is_rego_v1(&self) -> bool {
        self.is_rego_v1
    }

    /// True if it is the bundle that is embedded in the binary, wherever it was read from.
    #[must_use]
    pub const fn is_embedded(&self) -> bool {
        self.is_embedded
    }
}

/// The packed bytes of a bundle: of a file, or of the `guard.tar.gz` of a directory.
///
/// # Errors
/// [`BundleError::Unreadable`] and [`BundleError::NotCompiled`]. A file that is too large is read only in part, and
/// [`Bundle::read`] rejects it.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, BundleError> {
    let unreadable = |path: &Path, source| BundleError::Unreadable { path: path.to_owned(), source };
    let file = if path.is_dir() { path.join(BUNDLE_NAME) } else { path.to_owned() };
    let reader = match std::fs::File::open(&file) {
        Ok(reader) => reader,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.is_dir() => {
            return Err(BundleError::NotCompiled { path: path.to_owned() });
        }
        Err(error) => return Err(unreadable(&file, error)),
    };
    let mut bytes = Vec::new();
    reader.take(BUNDLE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&file, error))?;
    Ok(bytes)
}

/// Unpacks every file of the tar, by its path without a leading slash.
fn unpack(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, BundleError> {
    // The limit is one byte more than allowed, so that a truncated stream differs from one that is too
    // large.
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(UNPACKED_BYTES_MAX + 1));
    let mut files = BTreeMap::new();
    let mut unpacked = 0_u64;
    for entry in archive.entries().map_err(BundleError::Corrupt)? {
        let mut entry = entry.map_err(BundleError::Corrupt)?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let path = relative_path(&entry.path().map_err(BundleError::Corrupt)?, entry.header().entry_type())?;
        unpacked = unpacked.saturating_add(entry.size());
        if unpacked > UNPACKED_BYTES_MAX {
            let subject = "the unpacked bundle".into();
            return Err(BundleError::TooLarge { subject, max: UNPACKED_BYTES_MAX, unit: "bytes" });
        }
        if files.len() >= FILES_MAX {
            return Err(BundleError::TooLarge { subject: "the bundle".into(), max: FILES_MAX as u64, unit: "files" });
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(BundleError::Corrupt)?;
        files.insert(path, content);
    }
    Ok(files)
}

/// Converts a path to one inside the bundle. OPA writes absolute paths; a path with `..` is rejected.
fn relative_path(path: &Path, kind: tar::EntryType) -> Result<String, BundleError> {
    let path_error = || BundleError::Path { path: path.display().to_string() };
    if !kind.is_file() {
        return Err(path_error());
    }
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or_else(path_error)?),
            Component::ParentDir | Component::Prefix(_) => return Err(path_error()),
        }
    }
    if names.is_empty() { Err(path_error()) } else { Ok(names.join("/")) }
}
