//! The trait of native handlers, the code behind agents that need no language model, and the access to
//! files that handlers and tools get.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use greenroom_definitions::agent::Agent;
use greenroom_protocol::{
    ArtifactRef, CallKey, Cause, ContentHash, Deadline, ErrorCode, Json, RunId, TenantId, Timestamp, Values,
};
use greenroom_registry::artifacts::{ArtifactOwner, ArtifactStore};
use greenroom_registry::runs::RunStore;

/// Whether a handler or tool yields its thread while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerMode {
    /// It awaits; it runs on tokio's worker threads.
    Async,
    /// It computes or parses; it runs on a blocking thread, of which there is a bounded number.
    Blocking,
}

/// The input of one call of a handler.
#[derive(Debug, Clone)]
pub struct HandlerInput {
    /// The authorized version of the agent.
    pub agent: Arc<Agent>,
    /// Its validated inputs.
    pub inputs: Values,
    /// The context of the run or the team.
    pub context: Values,
    /// The idempotency key, the same for every retry.
    pub key: CallKey,
    /// The run that this call belongs to.
    pub run: Option<RunId>,
    /// When the attempt began.
    pub now: Timestamp,
    /// When the caller stops waiting.
    pub deadline: Deadline,
}

/// The content of a file that an input names.
#[derive(Debug, Clone)]
pub struct File {
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Its base name; never a path.
    pub name: String,
    /// Its media type, such as `text/csv`.
    pub media_type: String,
}

/// Reads files by path, within the folders that the configuration allows.
#[async_trait]
pub trait FileReader: Send + Sync {
    /// Reads one file.
    ///
    /// # Errors
    /// [`ErrorCode::PathNotAllowed`] outside the allowed folders, after symbolic links are resolved;
    /// [`ErrorCode::PayloadTooLarge`] above `bytes_max`.
    async fn read(&self, path: &str, bytes_max: u64) -> Result<File, Cause>;
}

/// The files within the allowed folders and the artifacts of all tenants, from which each execution gets
/// what it may access.
#[derive(Clone)]
pub struct FileSources {
    files: Arc<dyn FileReader>,
    artifacts: Arc<dyn ArtifactStore>,
    runs: Arc<dyn RunStore>,
}

impl FileSources {
    /// These files and artifacts; the runs say whether what an agent stores for one is personal data.
    #[must_use]
    pub fn new(files: Arc<dyn FileReader>, artifacts: Arc<dyn ArtifactStore>, runs: Arc<dyn RunStore>) -> Self {
        Self { files, artifacts, runs }
    }

    /// The access of an agent that works for a tenant, in a run or without one. What an agent with personal data
    /// stores and reads is personal data.
    #[must_use]
    pub fn for_agent(&self, tenant: &TenantId, agent: &Agent, run: Option<&RunId>) -> FileAccess {
        self.for_owner(ArtifactOwner { tenant: tenant.clone(), personal_data: agent.has_personal_data() }, run)
    }

    /// The access of the owner of the artifacts that it stores.
    #[must_use]
    pub fn for_owner(&self, owner: ArtifactOwner, run: Option<&RunId>) -> FileAccess {
        let has_read_personal_data = Arc::new(AtomicBool::new(false));
        FileAccess { sources: self.clone(), owner: Arc::new(owner), run: run.cloned(), has_read_personal_data }
    }
}

/// What handlers and tools may read and store: files within the allowed folders, and the artifacts of one
/// tenant. What is stored after personal data was read, or in a run with personal data, is personal data.
#[derive(Clone)]
pub struct FileAccess {
    sources: FileSources,
    owner: Arc<ArtifactOwner>,
    run: Option<RunId>,
    has_read_personal_data: Arc<AtomicBool>,
}

impl FileAccess {
    /// Reads the file that an input names: an artifact, or a path within the allowed folders.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] if the value is neither; [`ErrorCode::UnknownRecord`] if the tenant has no
    /// such artifact; otherwise as [`FileReader::read`].
    pub async fn open_file(&self, value: &Json, bytes_max: u64) -> Result<File, Cause> {
        if let Some(artifact) = ArtifactRef::from_json(value) {
            let (artifacts, tenant) = (&self.sources.artifacts, &self.owner.tenant);
            let bytes = artifacts.get(tenant, &artifact.hash, bytes_max).await.map_err(|error| error.cause())?;
            let bytes = bytes.ok_or_else(|| unknown_artifact_error(&artifact.hash))?;
            self.note_personal_data(&artifact.hash).await?;
            return Ok(File { bytes: bytes.into(), name: artifact.name, media_type: artifact.media_type });
        }
        match value {
            Json::String(path) => self.sources.files.read(path, bytes_max).await,
            _ => Err(Cause::new(ErrorCode::InvalidInput, "a file is given as an artifact or as a path")),
        }
    }

    /// True if the artifact holds personal data; false if the tenant has no such artifact.
    ///
    /// # Errors
    /// [`ErrorCode::StoreUnavailable`].
    pub async fn is_personal_data(&self, artifact: &ArtifactRef) -> Result<bool, Cause> {
        let info = self.sources.artifacts.info(&self.owner.tenant, &artifact.hash).await;
        Ok(info.map_err(|error| error.cause())?.is_some_and(|info| info.personal_data))
    }

    /// Reads a part of an artifact: at most `length` bytes from `offset` on. Returns them with the size of the whole.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRecord`] if the tenant has no such artifact; those of the store.
    pub async fn read_artifact_part(
        &self,
        artifact: &ArtifactRef,
        offset: u64,
        length: u64,
    ) -> Result<(Vec<u8>, u64), Cause> {
        let (artifacts, tenant) = (&self.sources.artifacts, &self.owner.tenant);
        let range = offset..offset.saturating_add(length);
        let content = artifacts.read(tenant, &artifact.hash, range).await.map_err(|error| error.cause())?;
        let content = content.ok_or_else(|| unknown_artifact_error(&artifact.hash))?;
        self.note_personal_data(&artifact.hash).await?;
        let total = content.bytes;
        Ok((content.collect().await.map_err(|error| error.cause())?, total))
    }

    /// Marks an artifact that an agent with personal data reads, and notes that personal data was read.
    async fn note_personal_data(&self, hash: &ContentHash) -> Result<(), Cause> {
        let (artifacts, ArtifactOwner { tenant, personal_data }) = (&self.sources.artifacts, &*self.owner);
        if *personal_data {
            artifacts.mark_personal_data(tenant, hash).await.map_err(|error| error.cause())?;
        }
        let info = artifacts.info(tenant, hash).await.map_err(|error| error.cause())?;
        if info.is_none_or(|info| info.personal_data) {
            self.has_read_personal_data.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Stores bytes as an artifact.
    ///
    /// # Errors
    /// [`ErrorCode::StoreUnavailable`]; [`ErrorCode::PayloadTooLarge`].
    pub async fn store_artifact(&self, bytes: &[u8], name: &str, media_type: &str) -> Result<ArtifactRef, Cause> {
        let personal_data = self.owner.personal_data
            || self.has_read_personal_data.load(Ordering::Relaxed)
            || self.is_run_with_personal_data().await?;
        let owner = ArtifactOwner { personal_data, ..ArtifactOwner::clone(&self.owner) };
        let stored = self.sources.artifacts.put(&owner, bytes.to_vec(), media_type, name).await;
        stored.map_err(|error| error.cause())
    }

    async fn is_run_with_personal_data(&self) -> Result<bool, Cause> {
        let Some(run) = &self.run else { return Ok(false) };
        let record = self.sources.runs.get(run).await.map_err(|error| error.cause())?;
        Ok(record.is_some_and(|record| record.personal_data))
    }
}

/// The cause for an artifact that does not exist, or that belongs to another tenant.
#[must_use]
pub fn unknown_artifact_error(hash: &ContentHash) -> Cause {
    Cause::new(ErrorCode::UnknownRecord, format!("there is no artifact {hash}"))
}

/// A native handler.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Its name in a definition's `implementation.handler`, such as `native.data_collection`.
    fn name(&self) -> &str;

    /// Whether it awaits or blocks.
    fn mode(&self) -> HandlerMode;

    /// Computes the outputs, by name.
    ///
    /// # Errors
    /// A [`Cause`] whose code is one of [`ErrorCode::HandlerFailed`], [`ErrorCode::InvalidData`],
    /// [`ErrorCode::NoDataForPeriod`], [`ErrorCode::InvalidInput`] or a code of [`FileAccess`].
    async fn run(&self, input: &HandlerInput, files: &FileAccess) -> Result<Values, Cause>;
}
