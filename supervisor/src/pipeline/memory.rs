//! What agents remember: the store answers behind the guard, always for the tenant of the one who
//! asks. Vectors are made here, so that none comes from outside.

use std::sync::Arc;

use greenroom_protocol::limits::{MEMORY_QUERY_BYTES_MAX, MEMORY_RECALL_MAX, MEMORY_TEXT_BYTES_MAX};
use greenroom_protocol::request::{MemoryChange, MemoryRead, MemoryWrite};
use greenroom_protocol::{CallKey, Cause, Clock, ContentHash, ErrorCode, Json, Outcome};
use greenroom_registry::agent_memory::embedder::Embedder;
use greenroom_registry::agent_memory::{MEMORIES_MAX, Memory, MemoryMatch, MemoryOwner, MemoryStore, VectorQuery};
use greenroom_rego::{Grant, Permitted, Resource};
use serde_json::json;

use super::reply::query_outcome;

/// How alike a memory has to be to what is looked for; less is chance.
const SIMILARITY_MIN: f32 = 0.25;
/// Memories of an answer to a request that does not say how many it wants.
const MEMORIES_DEFAULT: u32 = 10;

/// Answers for the memories.
pub struct MemoryHandler {
    pub(crate) store: Arc<dyn MemoryStore>,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl MemoryHandler {
    /// The memories that are most like a query, or the newest ones.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`]; what the store or the embedder says.
    pub async fn read(&self, permit: Permitted<MemoryRead>) -> Result<Outcome, Cause> {
        let (grant, read) = permit.redeem();
        let owner = owner(&grant)?;
        let now = self.clock.now();
        let most = |most: usize| match read.limit {
            0 => MEMORIES_DEFAULT as usize,
            limit => most.min(limit as usize),
        };
        let Some(query) = &read.query else {
            let found = self.store.list(&owner, most(MEMORIES_MAX), now).await.map_err(|error| error.cause())?;
            return Ok(query_outcome([("memories", found.iter().map(memory_json).collect())]));
        };
        bounded("what is looked for", query, MEMORY_QUERY_BYTES_MAX)?;
        let vector = self.embedder.embed(query).await?;
        let near =
            VectorQuery { vector: &vector, limit: most(MEMORY_RECALL_MAX as usize), min_similarity: SIMILARITY_MIN };
        let found = self.store.recall(&owner, near, now).await.map_err(|error| error.cause())?;
        Ok(query_outcome([("memories", found.iter().map(match_json).collect())]))
    }

    /// Keeps one more memory, or forgets.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`]; what the store or the embedder says.
    pub async fn write(&self, permit: Permitted<MemoryWrite>) -> Result<Outcome, Cause> {
        let (grant, write) = permit.redeem();
        let owner = owner(&grant)?;
        match write.change {
            MemoryChange::Remember { text, index_text: about } => {
                bounded("a memory", &text, MEMORY_TEXT_BYTES_MAX)?;
                let about = about.as_ref().unwrap_or(&text);
                bounded("what a memory is about", about, MEMORY_QUERY_BYTES_MAX)?;
                let vector = self.embedder.embed(about).await?;
                let key = write.key.unwrap_or_else(|| CallKey::for_request(grant.request_id()));
                let id = ContentHash::of(key.as_str().as_bytes());
                let now = self.clock.now();
                let memory = Memory { id, text, at: now, expires_at: None };
                self.store.remember(&owner, memory, &vector, now).await.map_err(|error| error.cause())?;
                Ok(query_outcome([("memory_id", json!(id))]))
            }
            MemoryChange::Forget { id } => {
                let many = self.store.forget(&owner, id.as_ref()).await.map_err(|error| error.cause())?;
                Ok(query_outcome([("forgotten", json!(many))]))
            }
        }
    }
}

/// The agent that was judged, and the tenant of the one who asks.
fn owner(grant: &Grant) -> Result<MemoryOwner, Cause> {
    match grant.resource() {
        Resource::Memory { agent } => {
            Ok(MemoryOwner { tenant: grant.principal().tenant.clone(), agent: agent.clone() })
        }
        Resource::Agent { .. }
        | Resource::Workflow { .. }
        | Resource::Team { .. }
        | Resource::Run { .. }
        | Resource::Context { .. }
        | Resource::Tool { .. }
        | Resource::Collection { .. } => Err(Cause::new(ErrorCode::Internal, "the permit was not given for a memory")),
    }
}

fn bounded(what: &str, text: &str, most: usize) -> Result<(), Cause> {
    if text.len() <= most {
        return Ok(());
    }
    Err(Cause::new(ErrorCode::PayloadTooLarge, format!("{what} has {} bytes, at most {most} are taken", text.len())))
}

fn memory_json(memory: &Memory) -> Json {
    json!({ "memory_id": memory.id, "text": memory.text, "at": memory.at, "until": memory.expires_at })
}

fn match_json(found: &MemoryMatch) -> Json {
    let mut row = memory_json(&found.memory);
    if let Some(members) = row.as_object_mut() {
        members.insert("similarity".to_owned(), json!((f64::from(found.similarity) * 1_000.0).round() / 1_000.0));
    }
    row
}
