//! Packs the complete Rego text into a bundle. `opa build` leaves the rules of the entrypoints out of the text that it
//! packs beside the module, so it cannot be derived what they read.

use std::collections::BTreeMap;

use flate2::Compression;
use flate2::write::GzEncoder;
use greenroom_protocol::{Cause, ErrorCode};
use serde::Deserialize;

use super::{Bundle, BundleError, unpack};
use crate::rego_text::{Difference, RegoText, TextProblem};

/// The signature of a bundle. It does not hold for a bundle with another text.
const SIGNATURES: &str = ".signatures.json";
/// The mode of the files in a bundle, as `opa build` sets it.
const FILE_MODE: u32 = 0o600;

/// Why the complete text is not packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The bundle cannot be read, or exceeds a limit with the complete text.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The Rego text of the bundle, or of the sources, cannot be read.
    #[error(transparent)]
    Text(#[from] TextProblem),
    /// The sources are other ones.
    #[error("{0}: these sources are not what the bundle was built from")]
    Sources(Difference),
    /// The archive cannot be written.
    #[error("the bundle cannot be packed: {0}")]
    Archive(std::io::Error),
}

impl From<PackError> for Cause {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Bundle(error) => error.into(),
            PackError::Text(_) | PackError::Sources(_) | PackError::Archive(_) => {
                Self::new(ErrorCode::InvalidPolicy, error.to_string())
            }
        }
    }
}

/// The entrypoints in the manifest of a bundle.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    wasm: Vec<Entrypoint>,
}

#[derive(Deserialize)]
struct Entrypoint {
    entrypoint: String,
}

/// Packs a bundle again, each of its Rego files with the content of its source. The rules of the two have to be the
/// same, except for those of the entrypoints, which the text of the bundle may lack. The bytes depend on the bundle and
/// the sources only. A signature is left out.
///
/// # Errors
/// [`PackError`]: the bundle, or a source, cannot be read, or the bundle was not built from these sources.
pub fn pack(bytes: &[u8], sources: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, PackError> {
    let bundle = Bundle::read(bytes)?;
    if !bundle.is_rego_v1() {
        return Err(TextProblem::Language.into());
    }
    let mut files = unpack(bytes)?;
    let entrypoints = list_entrypoints(&files)?;
    let (text, complete) = (RegoText::read(bundle.sources())?, RegoText::read(sources)?);
    let pairs = text.match_sources(&complete, &entrypoints).map_err(PackError::Sources)?;
    for (file, source) in pairs {
        if let Some(content) = sources.get(source) {
            files.insert(file.to_owned(), content.clone());
        }
    }
    files.remove(SIGNATURES);
    let bytes = archive(&files).map_err(PackError::Archive)?;
    Bundle::read(&bytes)?;
    Ok(bytes)
}

fn list_entrypoints(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<String>, BundleError> {
    let name = ".manifest";
    let manifest = files.get(name).ok_or(BundleError::Missing { name })?;
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(|error| BundleError::Json { name, error })?;
    Ok(manifest.wasm.into_iter().map(|resolver| resolver.entrypoint).collect())
}

/// A gzipped tar of these files, in the order of their paths and without times.
fn archive(files: &BTreeMap<String, Vec<u8>>) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(FILE_MODE);
        header.set_mtime(0);
        builder.append_data(&mut header, path, content.as_slice())?;
    }
    builder.into_inner()?.finish()
}
