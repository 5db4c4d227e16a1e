//! The artifacts in a bucket of S3, or of a server with the same interface: `artifacts/` and the key. An object is
//! written once and never changed, so nothing depends on conditional writes, in which servers differ.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use greenroom_protocol::IdGenerator;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, PutOptions, PutPayload};

use crate::artifacts::ArtifactStore;
use crate::artifacts::object_artifacts::ObjectArtifacts;
use crate::artifacts::objects::{Label, Object, Objects, Upload};
use crate::error::StoreError;

use fault::{is_missing, slow, store_error};
use label::attributes;
use reading::Reading;
use upload::S3Upload;

mod client;
mod fault;
mod label;
mod part_buffer;
mod reading;
mod source;
mod upload;

pub use source::open_s3_source;

/// Longest wait for the first reply of the server, so that one that does not reply delays no start for long.
const PROBE_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// The bounds on the requests to S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3Timeouts {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest duration of one attempt of a request.
    pub attempt: Duration,
    /// No attempt begins after this time since the first one.
    pub retries: Duration,
    /// Longest duration of a request with all its attempts.
    pub request: Duration,
}

impl Default for S3Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            attempt: Duration::from_secs(30),
            retries: Duration::from_secs(20),
            request: Duration::from_secs(60),
        }
    }
}

/// Where the artifacts are.
#[derive(Clone)]
pub struct S3Settings {
    /// The address of the server; `None` for that of AWS in the region.
    pub endpoint: Option<String>,
    /// The certificates (PEM) of the authorities that are trusted; `None` for those of the system.
    pub ca_file: Option<PathBuf>,
    /// The bucket.
    pub bucket: String,
    /// The first parts of all keys.
    pub prefix: String,
    /// The region.
    pub region: String,
    /// The id of the access key.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The bounds on the requests.
    pub timeouts: S3Timeouts,
}

/// Opens the artifacts in a bucket. A server that cannot be reached now is no error: it may be started later than the
/// pod.
///
/// # Errors
/// [`StoreError::S3`] if the settings are wrong: an address that is none, a certificate that is not trusted, keys that are
/// not accepted, a bucket that does not exist; or if the clock of this machine is.
pub async fn open_s3_artifacts(
    settings: S3Settings,
    ids: Arc<dyn IdGenerator>,
) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    let objects = S3Objects {
        client: client::build(&settings)?,
        prefix: settings.prefix.into(),
        request_timeout: settings.timeouts.request,
    };
    match objects.probe().await {
        Ok(()) => {}
        Err(StoreError::S3 { fault, reason }) if !fault.is_lasting() => {
            tracing::warn!(store.fault = fault.as_str(), error.message = reason, "cannot reach s3 yet");
        }
        Err(error) => return Err(error),
    }
    Ok(Arc::new(ObjectArtifacts::new(objects, ids)))
}

/// The objects of a bucket whose keys begin with a prefix.
#[derive(Clone)]
struct S3Objects {
    client: AmazonS3,
    prefix: Arc<str>,
    request_timeout: Duration,
}

impl S3Objects {
    /// The path of all keys.
    fn root(&self) -> Result<Path, StoreError> {
        Path::parse(&*self.prefix).map_err(|error| StoreError::Codec(error.to_string()))
    }

    /// The path of a key.
    fn path(&self, key: &str) -> Result<Path, StoreError> {
        Path::parse(format!("{}/{key}", self.prefix)).map_err(|error| StoreError::Codec(error.to_string()))
    }

    /// Waits for a request, within its bound.
    async fn request<T>(&self, work: impl Future<Output = object_store::Result<T>> + Send) -> Result<T, StoreError> {
        request_within(self.request_timeout, work).await
    }

    /// Requests the first object, to learn whether the bucket can be used.
    async fn probe(&self) -> Result<(), StoreError> {
        let mut listed = self.client.list(Some(&self.root()?));
        let first = async move { listed.next().await.transpose() };
        request_within(self.request_timeout.min(PROBE_TIMEOUT_MAX), first).await.map(drop)
    }

    /// Requests the next object of a list.
    async fn next_object(&self, listed: &mut Listed) -> Result<Option<Object>, StoreError> {
        let listed = self.request(async move { listed.next().await.transpose() }).await?;
        Ok(listed.map(|object| {
            let key = object.location.as_ref();
            let within = key.strip_prefix(&*self.prefix).and_then(|key| key.strip_prefix('/'));
            Object { key: within.unwrap_or(key).to_owned(), bytes: object.size }
        }))
    }

    /// Writes an object that is in memory.
    async fn put(&self, key: &str, content: PutPayload, options: PutOptions) -> Result<(), StoreError> {
        let path = self.path(key)?;
        self.request(self.client.put_opts(&path, content, options)).await.map(drop)
    }
}

/// Waits for a request, and reports what fails as an error of the store.
async fn request_within<T>(
    timeout: Duration,
    work: impl Future<Output = object_store::Result<T>> + Send,
) -> Result<T, StoreError> {
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result.map_err(|error| store_error(&error)),
        Err(_elapsed) => Err(slow(timeout)),
    }
}

/// A list of the client.
type Listed = BoxStream<'static, object_store::Result<ObjectMeta>>;

/// A stream that consists of an error.
fn error_stream<T: Send + 'static>(error: StoreError) -> BoxStream<'static, Result<T, StoreError>> {
    stream::iter([Err(error)]).boxed()
}

#[async_trait]
impl Objects for S3Objects {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Object, StoreError>> {
        let path = match self.path(prefix) {
            Ok(path) => path,
            Err(error) => return error_stream(error),
        };
        let next = |(s3, mut listed): (Self, Listed)| async move {
            let object = s3.next_object(&mut listed).await;
            object.map(|object| object.map(|object| (object, (s3, listed))))
        };
        stream::try_unfold((self.clone(), self.client.list(Some(&path))), next).boxed()
    }

    async fn list_prefixes(&self) -> Result<Vec<String>, StoreError> {
        let root = self.root()?;
        let listed = self.request(self.client.list_with_delimiter(Some(&root))).await?;
        Ok(listed.common_prefixes.iter().filter_map(Path::filename).map(str::to_owned).collect())
    }

    fn read(&self, key: &str, range: Range<u64>) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let path = match self.path(key) {
            Ok(path) => path,
            Err(error) => return error_stream(error),
        };
        stream::try_unfold(Reading::new(self.clone(), path, range), Reading::next_chunk).boxed()
    }

    async fn mark(&self, key: &str) -> Result<(), StoreError> {
        self.put(key, PutPayload::new(), PutOptions::default()).await
    }

    fn begin(&self, staging_key: &str, label: Label) -> Box<dyn Upload> {
        Box::new(S3Upload::new(self.clone(), staging_key.to_owned(), attributes(&label)))
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        let paths = keys.iter().map(|key| self.path(key)).collect::<Result<Vec<_>, _>>()?;
        let mut deleted = self.client.delete_stream(stream::iter(paths).map(Ok).boxed());
        loop {
            let next = async {
                match deleted.next().await {
                    Some(Err(error)) if !is_missing(&error) => Err(error),
                    Some(_) => Ok(true),
                    None => Ok(false),
                }
            };
            if !self.request(next).await? {
                return Ok(());
            }
        }
    }
}
