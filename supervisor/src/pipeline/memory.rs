//! Memory requests: reads and writes of agent memory after the guard has permitted them, always for the
//! tenant of the principal. Vectors are computed here, so that no caller can supply one. Those of a run wait for the
//! server of a shared database while it is away.

use std::sync::Arc;

use greenroom_protocol::limits::{MEMORY_QUERY_BYTES_MAX, MEMORY_RECALL_MAX, MEMORY_TEXT_BYTES_MAX};
use greenroom_protocol::request::{MemoryChange, MemoryRead, MemoryWrite};
use greenroom_protocol::{Cause, Clock, ContentHash, ErrorCode, Json, Outcome};
use greenroom_registry::agent_memory::embedder::Embedder;
use greenroom_registry::agent_memory::{MEMORIES_MAX, Memory, MemoryMatch, MemoryOwner, MemoryStore, VectorQuery};
use greenroom_rego::{Grant, Permitted, Resource};
use serde_json::json;

use super::reply::query_outcome;
use super::store_wait::StoreWait;

/// Least similarity of a memory to the query; less is chance.
const SIMILARITY_MIN: f32 = 0.25;
/// Memories in a reply if the request has no limit.
const MEMORIES_DEFAULT: u32 = 10;

/// Handles memory requests.
pub struct MemoryHandler {
    pub(crate) store: Arc<dyn MemoryStore>,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) clock: Arc<dyn Clock>,
    /// True if the store is a server that pods share.
    pub(crate) is_server: bool,
}

impl MemoryHandler {
    fn wait(&self, grant: &Grant) -> StoreWait {
        let outlasts_outage = self.is_server && grant.root().is_some();
        StoreWait { deadline: grant.deadline(), now: self.clock.now(), outlasts_outage }
    }

    /// Recalls the memories that are most similar to a query, or lists the newest ones.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`]; those of the store and of the embedder; [`ErrorCode::TimedOut`] at the deadline.
    pub async fn read(&self, permit: Permitted<MemoryRead>) -> Result<Outcome, Cause> {
        let (grant, read) = permit.redeem();
        let owner = owner(&grant)?;
        let wait = self.wait(&grant);
        let limit = |limit_max: usize| match read.limit {
            0 => MEMORIES_DEFAULT as usize,
            limit => limit_max.min(limit as usize),
        };
        let Some(query) = &read.query else {
            let memories = wait.repeat(|| self.store.list(&owner, limit(MEMORIES_MAX), wait.now)).await?;
            return Ok(query_outcome([("memories", memories.iter().map(memory_json).collect())]));
        };
        check_size("the query", query, MEMORY_QUERY_BYTES_MAX)?;
        let vector = self.embedder.embed(query).await?;
        let vector_query =
            VectorQuery { vector: &vector, limit: limit(MEMORY_RECALL_MAX as usize), min_similarity: SIMILARITY_MIN };
        let matches = wait.repeat(|| self.store.recall(&owner, vector_query, wait.now)).await?;
        Ok(query_outcome([("memories", matches.iter().map(match_json).collect())]))
    }

    /// Remembers a text, or forgets memories.
    ///
    /// # Errors
    /// As [`MemoryHandler::read`].
    pub async fn write(&self, permit: Permitted<MemoryWrite>) -> Result<Outcome, Cause> {
        let (grant, write) = permit.redeem();
        let owner = owner(&grant)?;
        let wait = self.wait(&grant);
        match write.change {
            MemoryChange::Remember { text, index_text } => {
                check_size("the memory", &text, MEMORY_TEXT_BYTES_MAX)?;
                let index_text = index_text.as_ref().unwrap_or(&text);
                check_size("the text that a memory is indexed by", index_text, MEMORY_QUERY_BYTES_MAX)?;
                let vector = self.embedder.embed(index_text).await?;
                let key = write.key.unwrap_or_else(|| grant.effect_key());
                let id = ContentHash::from_content(key.as_str().as_bytes());
                let memory = Memory { id, text, at: wait.now, expires_at: None };
                // What is stored under its id already is not stored again.
                wait.repeat(|| self.store.remember(&owner, memory.clone(), &vector, wait.now)).await?;
                Ok(query_outcome([("memory_id", json!(id))]))
            }
            MemoryChange::Forget { id } => {
                // A second time would count nothing.
                let forgotten = wait.repeat_unexecuted(|| self.store.forget(&owner, id.as_ref())).await?;
                Ok(query_outcome([("forgotten", json!(forgotten))]))
            }
        }
    }
}

/// The owner of the memories: the authorized agent, for the tenant of the principal.
fn owner(grant: &Grant) -> Result<MemoryOwner, Cause> {
    match grant.resource() {
        Resource::Memory { agent } => {
            Ok(MemoryOwner { tenant: grant.principal().id.tenant.clone(), agent: agent.clone() })
        }
        Resource::Agent { .. }
        | Resource::Workflow { .. }
        | Resource::Team { .. }
        | Resource::Run { .. }
        | Resource::Context { .. }
        | Resource::Tool { .. }
        | Resource::Collection { .. } => Err(Cause::new(ErrorCode::Internal, "the permit does not name a memory")),
    }
}

fn check_size(subject: &str, text: &str, bytes_max: usize) -> Result<(), Cause> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(Cause::new(ErrorCode::PayloadTooLarge, format!("{subject} has {} bytes, the limit is {bytes_max}", text.len())))
}

fn memory_json(memory: &Memory) -> Json {
    json!({ "memory_id": memory.id, "text": memory.text, "at": memory.at, "until": memory.expires_at })
}

fn match_json(matching: &MemoryMatch) -> Json {
    let mut row = memory_json(&matching.memory);
    if let Some(members) = row.as_object_mut() {
        members.insert("similarity".to_owned(), json!((f64::from(matching.similarity) * 1_000.0).round() / 1_000.0));
    }
    row
}
