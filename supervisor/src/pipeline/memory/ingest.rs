//! Documents: each is divided into parts, whose vectors are computed and stored batch by batch. When all are stored, the
//! parts of the document that had its name before are deleted. A document whose reading was interrupted is complete once
//! it is read again, which computes no vector twice; until then, parts of both may be found.

use std::collections::HashMap;

use greenroom_protocol::limits::MEMORY_DOCUMENT_BYTES_MAX;
use greenroom_protocol::{CallKey, Cause, ContentHash, ErrorCode, Outcome};
use greenroom_registry::agent_memory::chunks::{Chunk, divide};
use greenroom_registry::agent_memory::vector::UnitVector;
use greenroom_registry::agent_memory::{BATCH_MAX, ForgetSelection, Memory, MemorySource, NewMemory};
use serde_json::json;

use super::{MemoryHandler, MemoryRequest, check_size};

impl MemoryHandler {
    /// Remembers the parts of a document.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`] if the document, or the memory with it, is too large; [`ErrorCode::InvalidInput`] if
    /// it has no text; those of the embedder, the budgets and the store.
    pub(super) async fn ingest(&self, request: &MemoryRequest, source: String, text: String) -> Result<Outcome, Cause> {
        check_size("the document", &text, MEMORY_DOCUMENT_BYTES_MAX)?;
        let parts = divide_document(request, &source, text).await?;
        if parts.is_empty() {
            return Err(Cause::new(ErrorCode::InvalidInput, format!("the document {source} has no text")));
        }
        self.check_room(request, &source, &parts).await?;
        let key = request.grant.effect_key();
        let batch_max = self.embedder.batch_max().clamp(1, BATCH_MAX);
        for (number, batch) in parts.chunks(batch_max).enumerate() {
            let vectors = self.part_vectors(request, batch, &key.child(&number.to_string())).await?;
            let memories = batch.iter().cloned().zip(vectors).map(|(memory, vector)| NewMemory { memory, vector });
            let batch = self.batch(memories.collect());
            // What is stored a second time replaces itself.
            request.wait.repeat(|| self.store.remember(&request.owner, &batch, request.wait.now)).await?;
        }
        let before = ForgetSelection::Source { name: source.clone(), before: Some(request.wait.now) };
        let replaced = request.wait.repeat(|| self.store.forget(&request.owner, &before)).await?;
        let outputs = [("source", json!(source)), ("parts", json!(parts.len())), ("replaced", json!(replaced))];
        Ok(request.outcome(outputs))
    }

    /// The vectors of parts. Those that are stored already are not computed, and not paid for, once more.
    async fn part_vectors(
        &self,
        request: &MemoryRequest,
        parts: &[Memory],
        key: &CallKey,
    ) -> Result<Vec<UnitVector>, Cause> {
        let ids: Vec<ContentHash> = parts.iter().map(|part| part.id).collect();
        let find = || self.store.find_vectors(&request.owner, self.embedder.id(), &ids);
        let mut known = request.wait.repeat(find).await?;
        known.retain(|_, vector| vector.is_some());
        let unknown = parts.iter().filter(|part| !known.contains_key(&part.id));
        let texts: Vec<String> = unknown.map(|part| part.text.clone()).collect();
        let computed = match texts.is_empty() {
            true => Vec::new(),
            false => self.embed(request, &texts, key).await?.vectors,
        };
        let mut computed = computed.into_iter();
        let vectors = ids.iter().map(|id| known.remove(id).flatten().or_else(|| computed.next()));
        let vectors: Option<Vec<UnitVector>> = vectors.collect();
        vectors.ok_or_else(|| Cause::new(ErrorCode::Internal, "the embedder has returned too few vectors"))
    }

    /// Refuses a document that the memory has no room for, because parts of documents are never evicted. Those that the
    /// document replaces count too, as long as it is read; those that remain do not count twice.
    async fn check_room(&self, request: &MemoryRequest, source: &str, parts: &[Memory]) -> Result<(), Cause> {
        let count = request.wait.repeat(|| self.store.count(&request.owner, request.wait.now)).await?;
        let stored = usize::try_from(count.of_documents).unwrap_or(usize::MAX);
        if stored.saturating_add(parts.len()) <= self.owner_max {
            return Ok(());
        }
        let mut added = parts.len();
        for batch in parts.chunks(BATCH_MAX) {
            let ids: Vec<ContentHash> = batch.iter().map(|part| part.id).collect();
            let find = || self.store.find_vectors(&request.owner, self.embedder.id(), &ids);
            added = added.saturating_sub(request.wait.repeat(find).await?.len());
        }
        if stored.saturating_add(added) <= self.owner_max {
            return Ok(());
        }
        let (agent, owner_max) = (&request.owner.agent, self.owner_max);
        let message = format!(
            "the document {source} adds {added} parts to {stored} of documents that {agent} has, and memory.owner_max is \
             {owner_max}; forget a document (`memory forget --source`), or raise it"
        );
        Err(Cause::new(ErrorCode::PayloadTooLarge, message))
    }
}

/// Divides a document into parts, on a thread that may block: it may be large.
async fn divide_document(request: &MemoryRequest, source: &str, text: String) -> Result<Vec<Memory>, Cause> {
    let divided = tokio::task::spawn_blocking(move || divide(&text)).await;
    let chunks = divided.map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
    let mut occurrences: HashMap<ContentHash, u32> = HashMap::new();
    let to_part = |chunk: Chunk| {
        let occurrence = occurrences.entry(ContentHash::from_content(chunk.text.as_bytes())).or_default();
        *occurrence += 1;
        part(request, source, *occurrence, chunk)
    };
    Ok(chunks.into_iter().map(to_part).collect())
}

/// A part of a document. Its id depends on the document, its text, and which of the parts with this text it is: a part that
/// moves within its document remains the same.
fn part(request: &MemoryRequest, source: &str, occurrence: u32, chunk: Chunk) -> Memory {
    let Chunk { text, first_line, last_line } = chunk;
    let content = format!("part\n{}\n{source}\n{occurrence}\n{text}", source.len());
    Memory {
        id: ContentHash::from_content(content.as_bytes()),
        text,
        at: request.wait.now,
        expires_at: None,
        user: Some(request.grant.principal().id.clone()),
        source: Some(MemorySource { name: source.to_owned(), first_line, last_line }),
    }
}
