//! Where the objects of an artifact store are: a folder, an S3 bucket or this process. What the objects mean is no
//! matter of this trait.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::StoreError;

/// An object as a list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// Its key: parts, separated by `/`.
    pub(crate) key: String,
    /// Bytes of its content.
    pub(crate) bytes: u64,
}

/// What people and other programs see of an object, if the implementation can store it. The store does not read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) media_type: String,
    pub(crate) name: String,
}

/// Objects by key.
#[async_trait]
pub(crate) trait Objects: Send + Sync {
    /// Lists the objects whose key begins with these whole parts, in any order.
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Object, StoreError>>;

    /// Lists the distinct first parts of all keys.
    async fn list_prefixes(&self) -> Result<Vec<String>, StoreError>;

    /// Reads a range that is within the object.
    fn read(&self, key: &str, range: Range<u64>) -> BoxStream<'static, Result<Bytes, StoreError>>;

    /// Creates an object without bytes, durably.
    async fn mark(&self, key: &str) -> Result<(), StoreError>;

    /// Begins an object whose key is not known yet. Its content is under `staging_key` until then, or nowhere.
    fn begin(&self, staging_key: &str, label: Label) -> Box<dyn Upload>;

    /// Removes objects. One that does not exist is no error.
    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError>;
}

/// An object that is being written.
#[async_trait]
pub(crate) trait Upload: Send {
    /// Writes the next bytes.
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError>;

    /// Makes the whole object durable, and then visible under its key.
    async fn finish(self: Box<Self>, key: &str) -> Result<(), StoreError>;

    /// Removes what was written. What cannot be removed now is removed by a sweep.
    async fn abort(self: Box<Self>);
}
