//! Reads definitions and policy bundles where the configuration, or the user of a command, has them.
//!
//! A directory is read as a whole, since that is quick. The objects of a bucket are read again only if their tags have
//! changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use greenroom_definitions::loader::{fingerprint, is_source_file};
use greenroom_definitions::yaml::FILE_BYTES_MAX;
use greenroom_definitions::{FileSet, Source};
use greenroom_protocol::{Cause, ContentHash, ErrorCode};
use greenroom_registry::generation_store::GENERATION_BYTES_MAX;
use greenroom_registry::source_files::{ListedFile, SourceError, SourceFiles, open_folder_source};
use greenroom_registry::{S3Settings, open_s3_source};
use greenroom_rego::Bundle;
use greenroom_rego::bundle::{BUNDLE_BYTES_MAX, BUNDLE_NAME, read_bytes};

use crate::compose::artifacts::s3_settings;
use crate::compose::blocking::run_blocking;
use crate::config::{BucketLocation, Config, SourceLocation};

/// Files that are read at the same time.
const READS_MAX: usize = 16;
/// The end of the name of a bundle, by which its own location differs from that of its directory.
const BUNDLE_SUFFIX: &str = ".tar.gz";

/// A file as it was read last.
#[derive(Clone)]
struct KnownFile {
    tag: String,
    content: Arc<[u8]>,
}

/// Reads one source. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SourceReader(Arc<Inner>);

struct Inner {
    location: SourceLocation,
    files: Arc<dyn SourceFiles>,
    /// The name of the bundle of a policy in the source.
    bundle: String,
    known: Mutex<BTreeMap<String, KnownFile>>,
}

impl SourceReader {
    /// Opens a source, and reads nothing yet.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] for a bucket without the settings of its server.
    pub(crate) fn open(location: &SourceLocation, config: &Config) -> Result<Self, Cause> {
        let (opened, bundle) = match location {
            SourceLocation::Path(path) => (open_folder_source(path), BUNDLE_NAME.to_owned()),
            SourceLocation::Bucket(bucket) => {
                let (folder, bundle) = folder_and_bundle(bucket);
                (open_bucket(&folder, config)?, bundle)
            }
        };
        Ok(Self::new(location.clone(), opened, bundle))
    }

    fn new(location: SourceLocation, files: Arc<dyn SourceFiles>, bundle: String) -> Self {
        Self(Arc::new(Inner { location, files, bundle, known: Mutex::default() }))
    }

    /// Where it reads.
    pub(crate) fn location(&self) -> &SourceLocation {
        &self.0.location
    }

    /// A hash that changes with the definitions of the source.
    ///
    /// # Errors
    /// Those of a bucket; a directory that cannot be read has a hash too.
    pub(crate) async fn definitions_fingerprint(&self) -> Result<ContentHash, Cause> {
        match &self.0.location {
            SourceLocation::Path(dir) => {
                let dir = dir.clone();
                run_blocking(move || fingerprint(&dir)).await
            }
            SourceLocation::Bucket(_) => Ok(hash_of(&self.list_definitions().await?)),
        }
    }

    /// A hash that changes with the policy bundle of the source.
    ///
    /// # Errors
    /// As [`SourceReader::definitions_fingerprint`].
    pub(crate) async fn policy_fingerprint(&self) -> Result<ContentHash, Cause> {
        match &self.0.location {
            SourceLocation::Path(path) => {
                let path = path.clone();
                run_blocking(move || Bundle::fingerprint(&path)).await
            }
            SourceLocation::Bucket(_) => Ok(hash_of(&self.list(|name| name == self.0.bundle).await?)),
        }
    }

    /// The definitions for a load.
    ///
    /// # Errors
    /// Those of a bucket; a directory is read by the load.
    pub(crate) async fn definitions(&self) -> Result<Source, Cause> {
        match &self.0.location {
            SourceLocation::Path(dir) => Ok(Source::Directory(dir.clone())),
            SourceLocation::Bucket(_) => self.definition_files().await.map(Source::Files),
        }
    }

    /// The files of all definitions, read into memory.
    ///
    /// # Errors
    /// Those of the source; [`ErrorCode::InvalidInput`] if they have more bytes than a generation.
    pub(crate) async fn definition_files(&self) -> Result<FileSet, Cause> {
        let listed = self.list_definitions().await?;
        let files = self.read(listed).await?;
        Ok(FileSet { name: PathBuf::from(self.0.location.to_string()), files })
    }

    /// The bytes of the policy bundle; of one that is too large, only so many that it is rejected.
    ///
    /// # Errors
    /// Those of the source; [`ErrorCode::InvalidPolicy`] for a directory without a bundle.
    pub(crate) async fn bundle_bytes(&self) -> Result<Vec<u8>, Cause> {
        match &self.0.location {
            SourceLocation::Path(path) => {
                let path = path.clone();
                run_blocking(move || read_bytes(&path)).await?.map_err(Cause::from)
            }
            SourceLocation::Bucket(_) => {
                self.0.files.get(&self.0.bundle, BUNDLE_BYTES_MAX).await.map_err(|error| error.cause())
            }
        }
    }

    /// The policy bundle.
    ///
    /// # Errors
    /// Those of the source; [`ErrorCode::InvalidPolicy`].
    pub(crate) async fn bundle(&self) -> Result<Bundle, Cause> {
        Bundle::read(&self.bundle_bytes().await?).map_err(Cause::from)
    }

    async fn list_definitions(&self) -> Result<Vec<ListedFile>, Cause> {
        self.list(|name| is_source_file(Path::new(name))).await
    }

    async fn list(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<ListedFile>, Cause> {
        let mut listed = self.0.files.list().await.map_err(|error| error.cause())?;
        listed.retain(|file| is_wanted(&file.name));
        Ok(listed)
    }

    /// Reads files, except for those that have the tag of the last time.
    async fn read(&self, listed: Vec<ListedFile>) -> Result<BTreeMap<String, Arc<[u8]>>, Cause> {
        let mut reads = stream::iter(listed).map(|file| self.read_one(file)).buffer_unordered(READS_MAX);
        let (mut files, mut bytes) = (BTreeMap::new(), 0_usize);
        while let Some((name, file)) = reads.try_next().await? {
            bytes = bytes.saturating_add(file.content.len());
            if bytes > GENERATION_BYTES_MAX {
                let message = format!("{} has more than {GENERATION_BYTES_MAX} bytes", self.0.location);
                return Err(Cause::new(ErrorCode::InvalidInput, message));
            }
            files.insert(name, file);
        }
        let contents = files.iter().map(|(name, file)| (name.clone(), Arc::clone(&file.content))).collect();
        *self.known() = files;
        Ok(contents)
    }

    async fn read_one(&self, file: ListedFile) -> Result<(String, KnownFile), Cause> {
        let ListedFile { name, tag } = file;
        let known = self.known().get(&name).filter(|known| known.tag == tag).cloned();
        if let Some(known) = known {
            return Ok((name, known));
        }
        let read = self.0.files.get(&name, FILE_BYTES_MAX as u64).await;
        let content = Arc::from(read.map_err(|error: SourceError| error.cause())?);
        Ok((name, KnownFile { tag, content }))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, KnownFile>> {
        // It is replaced in one step.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What replaces the embedded definitions and the embedded policy of a pod.
#[derive(Clone)]
pub(crate) struct OwnSources {
    pub(crate) definitions: Option<SourceReader>,
    pub(crate) policy: Option<SourceReader>,
}

impl OwnSources {
    /// Opens those of the configuration.
    ///
    /// # Errors
    /// As [`SourceReader::open`].
    pub(crate) fn open(config: &Config) -> Result<Self, Cause> {
        let open = |location: &Option<SourceLocation>| {
            location.as_ref().map(|location| SourceReader::open(location, config)).transpose()
        };
        Ok(Self { definitions: open(&config.definitions)?, policy: open(&config.policy)? })
    }

    /// The definitions for a load.
    ///
    /// # Errors
    /// As [`SourceReader::definitions`].
    pub(crate) async fn definitions(&self) -> Result<Source, Cause> {
        match &self.definitions {
            Some(reader) => reader.definitions().await,
            None => Ok(Source::Embedded),
        }
    }

    /// The policy bundle.
    ///
    /// # Errors
    /// As [`SourceReader::bundle`].
    pub(crate) async fn bundle(&self) -> Result<Bundle, Cause> {
        match &self.policy {
            Some(reader) => reader.bundle().await,
            None => Bundle::embedded().map_err(Cause::from),
        }
    }
}

/// The hash of names and tags.
fn hash_of(listed: &[ListedFile]) -> ContentHash {
    let lines: String = listed.iter().map(|file| format!("{:?}\n", (&file.name, &file.tag))).collect();
    ContentHash::from_content(lines.as_bytes())
}

/// The folder of a policy in a bucket, and the name of its bundle, which the location may have itself.
fn folder_and_bundle(location: &BucketLocation) -> (BucketLocation, String) {
    match location.prefix.rsplit_once('/') {
        Some((prefix, name)) if name.ends_with(BUNDLE_SUFFIX) => {
            (BucketLocation { bucket: location.bucket.clone(), prefix: prefix.to_owned() }, name.to_owned())
        }
        Some(_) | None => (location.clone(), BUNDLE_NAME.to_owned()),
    }
}

/// Opens the objects of a bucket, with the server and the keys of the bucket of artifacts.
fn open_bucket(location: &BucketLocation, config: &Config) -> Result<Arc<dyn SourceFiles>, Cause> {
    let BucketLocation { bucket, prefix } = location.clone();
    let Some(s3) = &config.artifacts.s3 else {
        let message = format!(
            "s3://{bucket}/{prefix} is read with the settings `s3.bucket`, `s3.access_key_id` and \
             `s3.secret_access_key`, and the first of them is missing"
        );
        return Err(Cause::new(ErrorCode::InvalidConfiguration, message));
    };
    open_s3_source(S3Settings { bucket, prefix, ..s3_settings(s3) }).map_err(|error| error.cause())
}

#[cfg(test)]
mod tests;
