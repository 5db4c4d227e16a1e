//! What agents remember: the store answers behind the guard, always for the tenant of the one who
//! asks. Vectors are made here, so that none comes from outside.

use std::sync::Arc;

use greenroom_protocol::limits::{MEMORY_QUERY_BYTES_MAX, MEMORY_RECALL_MAX, MEMORY_TEXT_BYTES_MAX};
use greenroom_protocol::request::{MemoryChange, MemoryRead, MemoryWrite};
use greenroom_protocol::{CallKey, Cause, Clock, Code, ContentHash, Json, Outcome};
use greenroom_registry::agent_memory::embedder::Embedder;
use greenroom_registry::agent_memory::{MEMORIES_MAX, Memory, MemoryOwner, MemoryStore, Near, Recalled};
use greenroom_rego::{Grant, Permitted, Target};
use serde_json::json;

use super::reply::seen;

/// How alike a memory has to be to what is looked for; less is chance.
const SIMILARITY_MIN: f32 = 0.25;
/// Memories of an answer to a request that does not say how many it wants.
const MEMORIES_DEFAULT: u32 = 10;

/// Answers for the memories.
pub struct Memories {
    pub(crate) store: Arc<dyn MemoryStore>,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Memories {
    /// The memories that are most like a query, or the newest ones.
    ///
    /// # Errors
    /// [`Code::PayloadTooLarge`]; what the store or the embedder says.
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
            return Ok(seen([("memories", found.iter().map(told).collect())]));
        };
        bounded("what is looked for", query, MEMORY_QUERY_BYTES_MAX)?;
        let vector = self.embedder.embed(query).await?;
        let near = Near { vector: &vector, most: most(MEMORY_RECALL_MAX as usize), floor: SIMILARITY_MIN };
        let found = self.store.recall(&owner, near, now).await.map_err(|error| error.cause())?;
        Ok(seen([("memories", found.iter().map(recalled).collect())]))
    }

    /// Keeps one more memory, or forgets.
    ///
    /// # Errors
    /// [`Code::PayloadTooLarge`]; what the store or the embedder says.
    pub async fn write(&self, permit: Permitted<MemoryWrite>) -> Result<Outcome, Cause> {
        let (grant, write) = permit.redeem();
        let owner = owner(&grant)?;
        match write.change {
            MemoryChange::Remember { text, about } => {
                bounded("a memory", &text, MEMORY_TEXT_BYTES_MAX)?;
                let about = about.as_ref().unwrap_or(&text);
                bounded("what a memory is about", about, MEMORY_QUERY_BYTES_MAX)?;
                let vector = self.embedder.embed(about).await?;
                let key = write.key.unwrap_or_else(|| CallKey::of(grant.request_id()));
                let id = ContentHash::of(key.as_str().as_bytes());
                let now = self.clock.now();
                let memory = Memory { id, text, at: now, until: None };
                self.store.remember(&owner, memory, &vector, now).await.map_err(|error| error.cause())?;
                Ok(seen([("memory_id", json!(id))]))
            }
            MemoryChange::Forget { id } => {
                let many = self.store.forget(&owner, id.as_ref()).await.map_err(|error| error.cause())?;
                Ok(seen([("forgotten", json!(many))]))
            }
        }
    }
}

/// The agent that was judged, and the tenant of the one who asks.
fn owner(grant: &Grant) -> Result<MemoryOwner, Cause> {
    match grant.target() {
        Target::Memory { agent } => Ok(MemoryOwner { tenant: grant.principal().tenant.clone(), agent: agent.clone() }),
        Target::Agent { .. }
        | Target::Workflow { .. }
        | Target::Team { .. }
        | Target::Run { .. }
        | Target::Context { .. }
        | Target::Tool { .. }
        | Target::Records { .. } => Err(Cause::new(Code::Internal, "the permit was not given for a memory")),
    }
}

fn bounded(what: &str, text: &str, most: usize) -> Result<(), Cause> {
    if text.len() <= most {
        return Ok(());
    }
    Err(Cause::new(Code::PayloadTooLarge, format!("{what} has {} bytes, at most {most} are taken", text.len())))
}

fn told(memory: &Memory) -> Json {
    json!({ "memory_id": memory.id, "text": memory.text, "at": memory.at, "until": memory.until })
}

fn recalled(found: &Recalled) -> Json {
    let mut row = told(&found.memory);
    if let Some(members) = row.as_object_mut() {
        members.insert("similarity".to_owned(), json!((f64::from(found.similarity) * 1_000.0).round() / 1_000.0));
    }
    row
}
