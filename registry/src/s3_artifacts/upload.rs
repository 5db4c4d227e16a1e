//! An object that is being written to S3. Content of one part is written by one request under its own key. More is
//! written in parts under a staging key, because the key has the hash, which is known at the end; the server copies it
//! then.
//!
//! The memory of an upload, whatever its size: one part (5 MiB), which is written before the next one is filled in the
//! same memory, so that the source waits; the chunk that arrives (256 KiB from the control socket); and what the
//! connection has of the part, which refers to it and copies nothing without TLS (64 KiB with it).

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{
    Attributes, CopyOptions, MultipartUpload, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
};

use super::S3Objects;
use super::part_buffer::PartBuffer;
use crate::artifacts::objects::{Objects, Upload};
use crate::error::StoreError;

pub(super) struct S3Upload {
    s3: S3Objects,
    staging_key: String,
    attributes: Attributes,
    next_part: PartBuffer,
    parts: Option<Box<dyn MultipartUpload>>,
    /// True once all parts are one object under the staging key.
    is_staged: bool,
}

impl S3Upload {
    pub(super) fn new(s3: S3Objects, staging_key: String, attributes: Attributes) -> Self {
        Self { s3, staging_key, attributes, next_part: PartBuffer::default(), parts: None, is_staged: false }
    }

    /// Writes the buffer as the next part.
    async fn flush(&mut self) -> Result<(), StoreError> {
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => {
                let path = self.s3.path(&self.staging_key)?;
                let options = PutMultipartOptions::from(self.attributes.clone());
                self.s3.request(self.s3.client.put_multipart_opts(&path, options)).await?
            }
        };
        let part = PutPayload::from(self.next_part.take());
        let written = self.s3.request(parts.put_part(part)).await;
        self.parts = Some(parts);
        written
    }

    /// Makes one object of the parts, and copies it.
    async fn finish_parts(&mut self, key: &str) -> Result<(), StoreError> {
        if !self.next_part.is_empty() {
            self.flush().await?;
        }
        let (from, to) = (self.s3.path(&self.staging_key)?, self.s3.path(key)?);
        if let Some(parts) = &mut self.parts {
            self.s3.request(parts.complete()).await?;
            self.is_staged = true;
        }
        self.s3.request(self.s3.client.copy_opts(&from, &to, CopyOptions::default())).await
    }

    /// Removes the parts, or the object under the staging key.
    async fn remove_staged(&mut self) {
        let Some(mut parts) = self.parts.take() else { return };
        let removed = match self.is_staged {
            true => self.s3.delete(vec![self.staging_key.clone()]).await,
            false => self.s3.request(parts.abort()).await,
        };
        if let Err(error) = removed {
            // A sweep removes an object under a staging key; a rule of the bucket removes parts.
            tracing::debug!(error.message = %error, "cannot remove staged artifact");
        }
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, mut chunk: Bytes) -> Result<(), StoreError> {
        while !chunk.is_empty() {
            if self.next_part.is_full() {
                self.flush().await?;
            }
            self.next_part.fill(&mut chunk);
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>, key: &str) -> Result<(), StoreError> {
        if self.parts.is_none() {
            let content = PutPayload::from(self.next_part.take());
            let options = PutOptions::from(self.attributes.clone());
            return self.s3.put(key, content, options).await;
        }
        let finished = self.finish_parts(key).await;
        self.remove_staged().await;
        finished
    }

    async fn abort(mut self: Box<Self>) {
        self.remove_staged().await;
    }
}
