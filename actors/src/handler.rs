//! The seam behind which native handlers stand: agents and tools that need no language model.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_definitions::agent::Agent;
use greenroom_protocol::{ArtifactRef, CallKey, Cause, Deadline, ErrorCode, Json, RunId, Timestamp, Values};
use greenroom_registry::artifacts::ArtifactStore;

/// Whether a handler gives its thread back while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerMode {
    /// It awaits; it runs on the runtime's workers.
    Async,
    /// It computes or parses; it runs on a blocking thread, of which there is a bounded number.
    Blocking,
}

/// What a handler is asked to do.
#[derive(Debug, Clone)]
pub struct HandlerInput {
    /// The agent as it was judged.
    pub agent: Arc<Agent>,
    /// Its inputs, validated.
    pub inputs: Values,
    /// The run's or team's context.
    pub context: Values,
    /// The idempotency key, the same for every retry.
    pub key: CallKey,
    /// The run that it belongs to.
    pub run: Option<RunId>,
    /// When it began.
    pub now: Timestamp,
    /// After which nobody waits.
    pub deadline: Deadline,
}

/// A file that an input names, read.
#[derive(Debug, Clone)]
pub struct File {
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// What its owner calls it; never a path.
    pub name: String,
    /// What it is, such as `text/csv`.
    pub media_type: String,
}

/// Reads files by path, within the folders that the configuration allows.
#[async_trait]
pub trait FileReader: Send + Sync {
    /// Reads one file.
    ///
    /// # Errors
    /// [`ErrorCode::PathNotAllowed`] outside the allowed folders, symbolic links followed first;
    /// [`ErrorCode::PayloadTooLarge`] above `bytes_max`.
    async fn read(&self, path: &str, bytes_max: u64) -> Result<File, Cause>;
}

/// What a handler may reach: files within roots, and artifacts. Nothing else is on the desk.
#[derive(Clone)]
pub struct FileAccess {
    files: Arc<dyn FileReader>,
    artifacts: Arc<dyn ArtifactStore>,
}

impl FileAccess {
    /// Lays the desk.
    #[must_use]
    pub fn new(files: Arc<dyn FileReader>, artifacts: Arc<dyn ArtifactStore>) -> Self {
        Self { files, artifacts }
    }

    /// Reads the file that an input names: an artifact, or a path within the allowed folders.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] if the value is neither; [`ErrorCode::UnknownRecord`] if the artifact is gone;
    /// otherwise as [`Files::read`].
    pub async fn open_file(&self, value: &Json, bytes_max: u64) -> Result<File, Cause> {
        if let Some(artifact) = ArtifactRef::from_json(value) {
            if artifact.bytes > bytes_max {
                let message = format!("the file has {} bytes, at most {bytes_max} are read", artifact.bytes);
                return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
            }
            let bytes = self.artifacts.get(&artifact.hash, bytes_max).await.map_err(|error| error.cause())?;
            let gone =
                || Cause::new(ErrorCode::UnknownRecord, format!("the artifact {} is gone", artifact.hash.short()));
            return Ok(File {
                bytes: bytes.ok_or_else(gone)?.into(),
                name: artifact.name,
                media_type: artifact.media_type,
            });
        }
        match value {
            Json::String(path) => self.files.read(path, bytes_max).await,
            _ => Err(Cause::new(ErrorCode::InvalidInput, "a file is given as an artifact or as a path")),
        }
    }

    /// Keeps bytes as an artifact.
    ///
    /// # Errors
    /// [`ErrorCode::StoreUnavailable`]; [`ErrorCode::PayloadTooLarge`].
    pub async fn store_artifact(&self, bytes: &[u8], name: &str, media_type: &str) -> Result<ArtifactRef, Cause> {
        self.artifacts.put(bytes.to_vec(), media_type, name).await.map_err(|error| error.cause())
    }
}

/// A native handler.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Its name in a definition's `implementation.handler`, such as `native.data_collection`.
    fn name(&self) -> &str;

    /// Whether it gives its thread back.
    fn mode(&self) -> HandlerMode;

    /// Does the work and gives the outputs, by name.
    ///
    /// # Errors
    /// A [`Cause`] whose code is one of [`ErrorCode::HandlerFailed`], [`ErrorCode::InvalidData`],
    /// [`ErrorCode::NoDataForPeriod`], [`ErrorCode::InvalidInput`] or what the desk answered.
    async fn run(&self, work: &HandlerInput, files: &FileAccess) -> Result<Values, Cause>;
}
