//! The objects of a bucket below a prefix, as the files of a source. Their tags are their ETags.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore};

use super::fault::is_missing;
use super::{S3Settings, client, request_within};
use crate::error::StoreError;
use crate::source_files::{LISTED_FILES_MAX, ListedFile, SourceError, SourceFiles, is_hidden};

/// Opens the objects of a bucket whose keys begin with the prefix of the settings and `/`, without a connection.
///
/// # Errors
/// [`StoreError::S3`] if the settings are none of a client.
pub fn open_s3_source(settings: S3Settings) -> Result<Arc<dyn SourceFiles>, StoreError> {
    let client = client::build(&settings)?;
    let S3Settings { bucket, prefix, timeouts, .. } = settings;
    Ok(Arc::new(S3Source { client, bucket, prefix, request_timeout: timeouts.request }))
}

struct S3Source {
    client: AmazonS3,
    bucket: String,
    prefix: String,
    /// Longest wait for a page of a list, or for an object.
    request_timeout: Duration,
}

impl S3Source {
    /// The name of an object in the source; `None` if it is hidden, or if it is the mark of a folder.
    fn name(&self, object: &ObjectMeta) -> Option<String> {
        let name = object.location.as_ref().strip_prefix(&*self.prefix)?.strip_prefix('/')?;
        (!name.split('/').any(is_hidden)).then(|| name.to_owned())
    }

    fn path(&self, key: &str) -> Result<Path, SourceError> {
        Path::parse(key).map_err(|error| self.unreadable(key, error.to_string()))
    }

    fn unreadable(&self, key: &str, reason: String) -> SourceError {
        SourceError::Unreadable { path: format!("s3://{}/{key}", self.bucket), reason }
    }

    /// Reads an object; of one with more bytes, at least one byte more.
    async fn read(&self, path: &Path, bytes_max: u64) -> object_store::Result<Vec<u8>> {
        let mut chunks = self.client.get_opts(path, GetOptions::default()).await?.into_stream();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await.transpose()?
            && bytes.len() as u64 <= bytes_max
        {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

#[async_trait]
impl SourceFiles for S3Source {
    async fn list(&self) -> Result<Vec<ListedFile>, SourceError> {
        let mut listed = self.client.list(Some(&self.path(&self.prefix)?));
        let (mut files, mut count) = (Vec::new(), 0_usize);
        while let Some(object) = request_within(self.request_timeout, async { listed.next().await.transpose() }).await?
        {
            count = count.saturating_add(1);
            if count > LISTED_FILES_MAX {
                return Err(SourceError::TooManyFiles { source_name: format!("s3://{}/{}", self.bucket, self.prefix) });
            }
            files.extend(self.name(&object).map(|name| ListedFile { name, tag: tag(&object) }));
        }
        files.sort();
        Ok(files)
    }

    async fn get(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, SourceError> {
        let key = format!("{}/{name}", self.prefix);
        let path = self.path(&key)?;
        let read = async {
            match self.read(&path, bytes_max).await {
                Err(error) if is_missing(&error) => Ok(None),
                read => read.map(Some),
            }
        };
        let read = request_within(self.request_timeout, read).await?;
        let mut bytes = read.ok_or_else(|| self.unreadable(&key, "there is no such object".to_owned()))?;
        bytes.truncate(usize::try_from(bytes_max.saturating_add(1)).unwrap_or(usize::MAX));
        Ok(bytes)
    }
}

/// The ETag; every server has one, and a time is the next best that changes.
fn tag(object: &ObjectMeta) -> String {
    let time = || format!("{} {}", object.size, object.last_modified.timestamp_micros());
    object.e_tag.clone().unwrap_or_else(time)
}

#[cfg(test)]
mod tests;
