//! A range of an object that is being read from S3, by one request after the other. The chunks are passed on as they
//! arrive, so that no request needs memory for its whole part.
//!
//! The memory of a read, whatever its range: the chunk that the reader has, the one that waits for it, and the buffer in
//! which the connection receives the next one, each of at most 408 KiB. The connection receives no more while both wait,
//! so a slow reader slows the server down.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};

use super::S3Objects;
use crate::error::{S3Fault, StoreError};

/// Bytes that one request reads at most. A connection that is cut costs no more than these, and neither does a reader
/// that stops within a part, whose connection cannot be reused.
const REQUEST_BYTES: u64 = 4 * 1024 * 1024;

pub(super) struct Reading {
    s3: S3Objects,
    path: Path,
    /// What remains to be read.
    range: Range<u64>,
    /// The end of the part that was requested.
    requested_end: u64,
    /// The rest of the last reply.
    body: Option<BoxStream<'static, object_store::Result<Bytes>>>,
}

impl Reading {
    pub(super) fn new(s3: S3Objects, path: Path, range: Range<u64>) -> Self {
        Self { s3, path, requested_end: range.start, range, body: None }
    }

    /// Reads the next chunk; `None` at the end of the range.
    pub(super) async fn next_chunk(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        loop {
            if let Some(body) = &mut self.body {
                match self.s3.request(body.next().map(Option::transpose)).await? {
                    Some(chunk) => {
                        self.range.start = self.range.start.saturating_add(chunk.len() as u64);
                        self.check_length(self.range.start <= self.requested_end)?;
                        return Ok(Some((chunk, self)));
                    }
                    None => self.check_length(self.range.start == self.requested_end)?,
                }
            }
            if self.range.is_empty() {
                return Ok(None);
            }
            self.body = Some(self.request_part().await?);
        }
    }

    async fn request_part(&mut self) -> Result<BoxStream<'static, object_store::Result<Bytes>>, StoreError> {
        self.requested_end = self.range.end.min(self.range.start.saturating_add(REQUEST_BYTES));
        let requested = GetRange::Bounded(self.range.start..self.requested_end);
        let options = GetOptions { range: Some(requested), ..GetOptions::default() };
        Ok(self.s3.request(self.s3.client.get_opts(&self.path, options)).await?.into_stream())
    }

    /// Fails if another number of bytes arrived than was requested.
    fn check_length(&self, is_right: bool) -> Result<(), StoreError> {
        if is_right {
            return Ok(());
        }
        let reason = format!("{} bytes of the first {} arrived", self.range.start, self.requested_end);
        Err(StoreError::S3 { fault: S3Fault::Truncated, reason })
    }
}
