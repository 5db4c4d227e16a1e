//! The `for_each` steps that a run executes: their lists, and the values that all of their items share.
//!
//! A list is journalled, inline or as chunks in the artifact store, so that a resumed run has the same items. An item
//! needs one chunk, and the values that the inputs of the step name are loaded once for all items: the work of a list
//! is linear in its length, and its memory does not depend on it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use greenroom_protocol::journal::{ItemChunk, ItemList};
use greenroom_protocol::limits::INLINE_VALUE_BYTES_MAX;
use greenroom_protocol::{Cause, ErrorCode, Json, StepId};
use tokio::sync::OnceCell;

use super::artifacts::RunArtifacts;
use super::values::{EffectInputs, LoadedValues};

/// Bytes of a chunk, which has at least one item.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Chunks of one list in memory. Items start in their order, so those in flight are in few chunks.
const CHUNKS_CACHED: usize = 4;

/// A list, encoded to be journalled.
pub(super) enum EncodedItems {
    Inline(Vec<Json>),
    /// Consecutive parts as JSON arrays, each with the number of its items.
    Chunks(Vec<(u32, Vec<u8>)>),
}

/// Encodes the items of a list.
///
/// # Errors
/// `internal` if an item cannot be written as JSON, which cannot happen.
pub(super) fn encode_items(items: &[Json]) -> Result<EncodedItems, Cause> {
    let mut chunks: Vec<(u32, Vec<u8>)> = Vec::new();
    for item in items {
        let bytes = serde_json::to_vec(item).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
        match chunks.last_mut().filter(|(_, chunk)| chunk.len() + bytes.len() < CHUNK_BYTES) {
            Some((count, chunk)) => {
                *count += 1;
                chunk.push(b',');
                chunk.extend(bytes);
            }
            None => chunks.push((1, [b"[".as_slice(), &bytes].concat())),
        }
    }
    let is_small = chunks.len() <= 1 && chunks.iter().all(|(_, chunk)| chunk.len() < INLINE_VALUE_BYTES_MAX);
    if is_small {
        return Ok(EncodedItems::Inline(items.to_vec()));
    }
    chunks.iter_mut().for_each(|(_, chunk)| chunk.push(b']'));
    Ok(EncodedItems::Chunks(chunks))
}

/// Stores a list, so that it can be journalled.
///
/// # Errors
/// An error of the artifact store.
pub(super) async fn store_items(
    items: EncodedItems,
    step: &StepId,
    artifacts: RunArtifacts<'_>,
) -> Result<ItemList, Cause> {
    let chunks = match items {
        EncodedItems::Inline(items) => return Ok(ItemList::Inline(items)),
        EncodedItems::Chunks(chunks) => chunks,
    };
    let mut stored = Vec::with_capacity(chunks.len());
    for (number, (items, bytes)) in chunks.into_iter().enumerate() {
        let artifact = artifacts.put(bytes, "application/json", &format!("{step}-items-{number}.json")).await?;
        stored.push(ItemChunk { items, artifact });
    }
    Ok(ItemList::Stored(stored))
}

/// The `for_each` steps of one run. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Loops(Arc<Mutex<BTreeMap<StepId, Arc<Loop>>>>);

impl Loops {
    /// The loop of a step.
    pub(super) fn open(&self, step: &StepId) -> Arc<Loop> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(step.clone()).or_default().clone()
    }

    /// Drops the loops of the steps for which this is false.
    pub(super) fn retain(&self, is_active: impl Fn(&StepId) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|step, _| is_active(step));
    }
}

/// One `for_each` step.
#[derive(Default)]
pub(super) struct Loop {
    values: OnceCell<Arc<LoadedValues>>,
    /// The list of a journal without it.
    evaluated: OnceCell<Arc<Vec<Json>>>,
    /// The chunks that were read last, by their number.
    chunks: tokio::sync::Mutex<VecDeque<(usize, Arc<Vec<Json>>)>>,
}

impl Loop {
    /// True if the values that the items share are loaded.
    pub(super) fn is_loaded(&self) -> bool {
        self.values.initialized()
    }

    /// The values that the items share; `inputs` are loaded the first time.
    ///
    /// # Errors
    /// As [`EffectInputs::load`].
    pub(super) async fn values(
        &self,
        inputs: Option<EffectInputs>,
        artifacts: RunArtifacts<'_>,
    ) -> Result<Arc<LoadedValues>, Cause> {
        let load = async || {
            let missing = || Cause::new(ErrorCode::Internal, "the values of a loop are not there");
            inputs.ok_or_else(missing)?.load(artifacts).await.map(Arc::new)
        };
        self.values.get_or_try_init(load).await.cloned()
    }

    /// One item of the list; `None` if the list is shorter.
    ///
    /// # Errors
    /// `unknown_record` if a chunk is missing; an error of the store.
    pub(super) async fn item(
        &self,
        list: &ItemList,
        index: u32,
        artifacts: RunArtifacts<'_>,
    ) -> Result<Option<Json>, Cause> {
        let chunks = match list {
            ItemList::Inline(items) => return Ok(items.get(index as usize).cloned()),
            ItemList::Stored(chunks) => chunks,
        };
        let mut first = 0_u32;
        for (number, chunk) in chunks.iter().enumerate() {
            let end = first.saturating_add(chunk.items);
            if index < end {
                let items = self.chunk(number, chunk, artifacts).await?;
                return Ok(items.get((index - first) as usize).cloned());
            }
            first = end;
        }
        Ok(None)
    }

    /// The lock is held while a chunk is read, so that the items of one chunk read it once.
    async fn chunk(
        &self,
        number: usize,
        chunk: &ItemChunk,
        artifacts: RunArtifacts<'_>,
    ) -> Result<Arc<Vec<Json>>, Cause> {
        let mut cached = self.chunks.lock().await;
        if let Some((_, items)) = cached.iter().find(|(cached, _)| *cached == number) {
            return Ok(items.clone());
        }
        let bytes = artifacts.get(&chunk.artifact.hash).await?;
        let items: Vec<Json> = serde_json::from_slice(&bytes)
            .map_err(|error| Cause::new(ErrorCode::StoreUnavailable, error.to_string()))?;
        let items = Arc::new(items);
        if cached.len() >= CHUNKS_CACHED {
            cached.pop_front();
        }
        cached.push_back((number, items.clone()));
        Ok(items)
    }

    /// The list of a journal without it, as `evaluate` computes it.
    ///
    /// # Errors
    /// As `evaluate`.
    pub(super) async fn evaluated(
        &self,
        evaluate: impl AsyncFnOnce() -> Result<Vec<Json>, Cause>,
    ) -> Result<Arc<Vec<Json>>, Cause> {
        self.evaluated.get_or_try_init(async || evaluate().await.map(Arc::new)).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_small_list_is_inline_and_a_large_one_in_chunks_of_whole_items() {
        let small: Vec<Json> = (0..100).map(|number| json!(number)).collect();
        assert!(matches!(encode_items(&small), Ok(EncodedItems::Inline(items)) if items == small));
        assert!(matches!(encode_items(&[]), Ok(EncodedItems::Inline(items)) if items.is_empty()));
        let large: Vec<Json> = (0..1_000).map(|number| json!(format!("{number}{}", "x".repeat(10_000)))).collect();
        let Ok(EncodedItems::Chunks(chunks)) = encode_items(&large) else { panic!("chunks") };
        assert!(chunks.len() > 9 && chunks.iter().all(|(_, chunk)| chunk.len() <= CHUNK_BYTES));
        let decoded = chunks.iter().flat_map(|(count, chunk)| {
            let items: Vec<Json> = serde_json::from_slice(chunk).unwrap();
            assert_eq!(items.len(), *count as usize);
            items
        });
        assert_eq!(decoded.collect::<Vec<_>>(), large);
        let huge = [json!("x".repeat(3 * CHUNK_BYTES)), json!(1)];
        assert!(matches!(encode_items(&huge), Ok(EncodedItems::Chunks(chunks)) if chunks.len() == 2));
    }
}
