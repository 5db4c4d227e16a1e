//! A policy bundle: read, bounded, hashed and unpacked. Nothing in it is run here.
//!
//! The bundle is what `opa build -t wasm` writes: a gzipped tar of `policy.wasm`, `data.json`,
//! `.manifest` and the sources. The product embeds its own, so building it needs no OPA.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use greenroom_protocol::{Cause, ContentHash, ErrorCode, Json};
use serde::Deserialize;

pub mod memory;
pub mod source;

/// Bytes of a bundle as it lies on disk, at most.
pub const BUNDLE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of everything in a bundle together, at most.
pub const UNPACKED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of `data.json`, at most: parsed, it takes nine times as much in every instance.
pub const DATA_BYTES_MAX: usize = 256 * 1024;
/// Files in a bundle, at most.
pub const FILES_MAX: usize = 256;
/// The bundle's name in a policy directory.
pub const BUNDLE_NAME: &str = "guard.tar.gz";

/// The bundle that the binary carries.
const EMBEDDED: &[u8] = include_bytes!("../bundle/guard.tar.gz");

/// Why a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There are only sources: the process has no compiler for them.
    #[error("{} has no {BUNDLE_NAME}; compile the sources with `opa build -t wasm` first", path.display())]
    NotCompiled {
        /// The directory.
        path: PathBuf,
    },
    /// Something is larger than it may be.
    #[error("{what} has more than {max} {unit}")]
    TooLarge {
        /// What.
        what: String,
        /// How much is allowed.
        max: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The bytes are not a gzipped tar.
    #[error("the bundle is not a gzipped tar")]
    Corrupt(#[source] std::io::Error),
    /// A file in it has a path that leads out of it.
    #[error("the bundle holds a file with the path `{path}`")]
    Path {
        /// The path.
        path: String,
    },
    /// A file is missing.
    #[error("the bundle has no {name}")]
    Missing {
        /// Which.
        name: &'static str,
    },
    /// A file is not the JSON it should be.
    #[error("{name} of the bundle cannot be read: {error}")]
    Json {
        /// Which.
        name: &'static str,
        /// Why.
        error: serde_json::Error,
    },
    /// `policy.wasm` is not a module with an imported memory.
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

/// A bundle, unpacked.
#[derive(Debug, Clone)]
pub struct Bundle {
    hash: ContentHash,
    revision: String,
    wasm: Vec<u8>,
    data: Json,
    sources: BTreeMap<String, Vec<u8>>,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    revision: String,
}

impl Bundle {
    /// The bundle that the binary carries.
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
        Self::read(&bytes_at(path)?)
    }

    /// What tells one content of a file or directory from another, also where neither can be read as
    /// a bundle: the hash of its bytes, or of why there are none.
    #[must_use]
    pub fn fingerprint(path: &Path) -> ContentHash {
        match bytes_at(path) {
            Ok(bytes) => ContentHash::of(&bytes),
            Err(error) => ContentHash::of(error.to_string().as_bytes()),
        }
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// [`BundleError`]
    pub fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() as u64 > BUNDLE_BYTES_MAX {
            return Err(BundleError::TooLarge { what: "the bundle".into(), max: BUNDLE_BYTES_MAX, unit: "bytes" });
        }
        let mut files = unpack(bytes)?;
        let wasm = files.remove("policy.wasm").ok_or(BundleError::Missing { name: "policy.wasm" })?;
        let data = files.remove("data.json").ok_or(BundleError::Missing { name: "data.json" })?;
        if data.len() > DATA_BYTES_MAX {
            let max = DATA_BYTES_MAX as u64;
            return Err(BundleError::TooLarge { what: "data.json of the bundle".into(), max, unit: "bytes" });
        }
        let manifest = files.remove(".manifest").ok_or(BundleError::Missing { name: ".manifest" })?;
        let json = |name, error| BundleError::Json { name, error };
        let data = serde_json::from_slice(&data).map_err(|error| json("data.json", error))?;
        let manifest: Manifest = serde_json::from_slice(&manifest).map_err(|error| json(".manifest", error))?;
        let hash = ContentHash::of(bytes);
        let revision = if manifest.revision.is_empty() { hash.short() } else { manifest.revision };
        files.retain(|name, _| Path::new(name).extension().is_some_and(|extension| extension == "rego"));
        Ok(Self { hash, revision, wasm: memory::raise_minimum(wasm)?, data, sources: files })
    }

    /// The hash of the bundle's bytes.
    #[must_use]
    pub const fn hash(&self) -> &ContentHash {
        &self.hash
    }

    /// The revision that its builder gave it, else the beginning of its hash.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The module, with at least [`memory::PAGES_MIN`] pages of memory declared.
    #[must_use]
    pub fn wasm(&self) -> &[u8] {
        &self.wasm
    }

    /// What rules read as `data`.
    #[must_use]
    pub const fn data(&self) -> &Json {
        &self.data
    }

    /// The sources that it was compiled from, by path.
    #[must_use]
    pub const fn sources(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.sources
    }
}

/// The bytes of a file, or of the `guard.tar.gz` of a directory.
fn bytes_at(path: &Path) -> Result<Vec<u8>, BundleError> {
    let unreadable = |path: &Path, source| BundleError::Unreadable { path: path.to_owned(), source };
    let file = if path.is_dir() { path.join(BUNDLE_NAME) } else { path.to_owned() };
    let opened = match std::fs::File::open(&file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.is_dir() => {
            return Err(BundleError::NotCompiled { path: path.to_owned() });
        }
        Err(error) => return Err(unreadable(&file, error)),
    };
    let mut bytes = Vec::new();
    opened.take(BUNDLE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&file, error))?;
    Ok(bytes)
}

/// Every regular file of the tar, by its path without a leading slash.
fn unpack(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, BundleError> {
    // One byte more than allowed is let through, so that a cut stream is told from a large one.
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(UNPACKED_BYTES_MAX + 1));
    let mut files = BTreeMap::new();
    let mut unpacked = 0_u64;
    for entry in archive.entries().map_err(BundleError::Corrupt)? {
        let mut entry = entry.map_err(BundleError::Corrupt)?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let path = inside(&entry.path().map_err(BundleError::Corrupt)?, entry.header().entry_type())?;
        unpacked = unpacked.saturating_add(entry.size());
        if unpacked > UNPACKED_BYTES_MAX {
            let what = "the unpacked bundle".into();
            return Err(BundleError::TooLarge { what, max: UNPACKED_BYTES_MAX, unit: "bytes" });
        }
        if files.len() >= FILES_MAX {
            return Err(BundleError::TooLarge { what: "the bundle".into(), max: FILES_MAX as u64, unit: "files" });
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(BundleError::Corrupt)?;
        files.insert(path, content);
    }
    Ok(files)
}

/// OPA writes absolute names; nothing else that leads anywhere is taken.
fn inside(path: &Path, kind: tar::EntryType) -> Result<String, BundleError> {
    let refuse = || BundleError::Path { path: path.display().to_string() };
    if !kind.is_file() {
        return Err(refuse());
    }
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or_else(refuse)?),
            Component::ParentDir | Component::Prefix(_) => return Err(refuse()),
        }
    }
    if names.is_empty() { Err(refuse()) } else { Ok(names.join("/")) }
}
