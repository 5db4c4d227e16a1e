//! Documents: each is divided into parts, whose vectors are computed and stored batch by batch. When all are stored, the
//! parts of the document that had its name before are deleted. A document whose reading was interrupted is complete once
//! it is read again; until then, parts of both may be found.

use greenroom_protocol::limits::MEMORY_DOCUMENT_BYTES_MAX;
use greenroom_protocol::{Cause, ContentHash, ErrorCode, Outcome};
use greenroom_registry::agent_memory::chunks::{Chunk, divide};
use greenroom_registry::agent_memory::{BATCH_MAX, ForgetSelection, Memory, MemorySource, NewMemory};
use serde_json::json;

use super::{MemoryHandler, MemoryRequest, check_size};

impl MemoryHandler {
    /// Remembers the parts of a document.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`] if the document, or the memory with it, is too large; [`ErrorCode::InvalidInput`] if
    /// it has no text; those of the embedder, the budgets and the store.
    pub(super) async fn ingest(&self, request: &MemoryRequest, source: String, text: &str) -> Result<Outcome, Cause> {
        check_size("the document", text, MEMORY_DOCUMENT_BYTES_MAX)?;
        let chunks = divide(text);
        if chunks.is_empty() {
            return Err(Cause::new(ErrorCode::InvalidInput, format!("the document {source} has no text")));
        }
        self.check_room(request, &source, chunks.len()).await?;
        let key = request.grant.effect_key();
        let batch_max = self.embedder.batch_max().clamp(1, BATCH_MAX);
        for (number, batch) in chunks.chunks(batch_max).enumerate() {
            let texts: Vec<String> = batch.iter().map(|chunk| chunk.text.clone()).collect();
            let embeddings = self.embed(request, &texts, &key.child(&number.to_string())).await?;
            let first = number * batch_max;
            let numbered = batch.iter().enumerate().map(|(index, chunk)| (first + index, chunk));
            let memories = numbered
                .zip(embeddings.vectors)
                .map(|((number, chunk), vector)| NewMemory { memory: part(request, &source, number, chunk), vector });
            let batch = self.batch(memories.collect());
            // What is stored a second time replaces itself.
            request.wait.repeat(|| self.store.remember(&request.owner, &batch, request.wait.now)).await?;
        }
        let before = ForgetSelection::Source { name: source.clone(), before: Some(request.wait.now) };
        let replaced = request.wait.repeat(|| self.store.forget(&request.owner, &before)).await?;
        let outputs = [("source", json!(source)), ("parts", json!(chunks.len())), ("replaced", json!(replaced))];
        Ok(request.outcome(outputs))
    }

    /// Refuses a document that the memory has no room for, because parts of documents are never evicted. Those that the
    /// document replaces count too, as long as it is read.
    async fn check_room(&self, request: &MemoryRequest, source: &str, parts: usize) -> Result<(), Cause> {
        let count = request.wait.repeat(|| self.store.count(&request.owner, request.wait.now)).await?;
        let stored = usize::try_from(count.of_documents).unwrap_or(usize::MAX);
        if stored.saturating_add(parts) <= self.owner_max {
            return Ok(());
        }
        let (agent, owner_max) = (&request.owner.agent, self.owner_max);
        let message = format!(
            "the document {source} has {parts} parts, {agent} has {stored} of other documents, and memory.owner_max is \
             {owner_max}; forget a document, or raise it"
        );
        Err(Cause::new(ErrorCode::PayloadTooLarge, message))
    }
}

/// A part of a document. Its id depends on the document, its number and its text.
fn part(request: &MemoryRequest, source: &str, number: usize, chunk: &Chunk) -> Memory {
    let Chunk { text, first_line, last_line } = chunk;
    let content = format!("{}\n{source}\n{number}\n{text}", source.len());
    Memory {
        id: ContentHash::from_content(content.as_bytes()),
        text: text.clone(),
        at: request.wait.now,
        expires_at: None,
        user: Some(request.grant.principal().id.clone()),
        source: Some(MemorySource { name: source.to_owned(), first_line: *first_line, last_line: *last_line }),
    }
}
