//! Artifacts in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use greenroom_protocol::IdGenerator;

use crate::artifacts::ArtifactStore;
use crate::artifacts::object_artifacts::ObjectArtifacts;
use crate::artifacts::objects::{Label, Object, Objects, Upload};
use crate::error::StoreError;
use crate::in_memory::shared::lock;

/// Creates an artifact store that lives as long as the process.
#[must_use]
pub fn in_memory_artifacts() -> Arc<dyn ArtifactStore> {
    Arc::new(ObjectArtifacts::new(InMemoryObjects::default(), Arc::new(Numbers::default())))
}

/// Ids for a store that no other process has.
#[derive(Debug, Default)]
struct Numbers(AtomicU64);

impl IdGenerator for Numbers {
    fn next_id(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Debug, Default, Clone)]
struct InMemoryObjects(Arc<Mutex<BTreeMap<String, Bytes>>>);

#[async_trait]
impl Objects for InMemoryObjects {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Object, StoreError>> {
        let prefix = format!("{prefix}/");
        let all = lock(&self.0);
        let within = all.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        let objects: Vec<_> =
            within.map(|(key, bytes)| Ok(Object { key: key.clone(), bytes: bytes.len() as u64 })).collect();
        stream::iter(objects).boxed()
    }

    async fn list_prefixes(&self) -> Result<Vec<String>, StoreError> {
        let all = lock(&self.0);
        let prefixes: BTreeSet<&str> = all.keys().filter_map(|key| Some(key.split_once('/')?.0)).collect();
        Ok(prefixes.into_iter().map(str::to_owned).collect())
    }

    fn read(&self, key: &str, range: Range<u64>) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let content = lock(&self.0).get(key).cloned();
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let chunk = match content {
            Some(content) => {
                let end = index(range.end).min(content.len());
                Ok(content.slice(index(range.start).min(end)..end))
            }
            None => Err(StoreError::Failed(format!("the object {key} does not exist"))),
        };
        stream::iter([chunk]).boxed()
    }

    async fn mark(&self, key: &str) -> Result<(), StoreError> {
        lock(&self.0).insert(key.to_owned(), Bytes::new());
        Ok(())
    }

    fn begin(&self, _staging_key: &str, _label: Label) -> Box<dyn Upload> {
        Box::new(InMemoryUpload { objects: self.clone(), content: BytesMut::new() })
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        let mut all = lock(&self.0);
        for key in keys {
            all.remove(&key);
        }
        Ok(())
    }
}

struct InMemoryUpload {
    objects: InMemoryObjects,
    content: BytesMut,
}

#[async_trait]
impl Upload for InMemoryUpload {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.content.extend_from_slice(&chunk);
        Ok(())
    }

    async fn finish(self: Box<Self>, key: &str) -> Result<(), StoreError> {
        let Self { objects, content } = *self;
        lock(&objects.0).insert(key.to_owned(), content.freeze());
        Ok(())
    }

    async fn abort(self: Box<Self>) {}
}
