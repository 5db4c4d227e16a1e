//! Memory requests: reads and writes of agent memory after the guard has permitted them, always for the
//! tenant of the principal. Vectors are computed here, so that no caller can supply one. Those of a run wait for the
//! server of a shared database while it is away.

use std::sync::Arc;

use greenroom_actors::definition_resolver::DefinitionResolver;
use greenroom_actors::execution::Accounting;
use greenroom_actors::execution::invocation::UsageMeter;
use greenroom_actors::pipeline::Settlements;
use greenroom_protocol::limits::{MEMORY_QUERY_BYTES_MAX, MEMORY_RECALL_MAX, MEMORY_TEXT_BYTES_MAX};
use greenroom_protocol::request::{MemoryChange, MemoryRead, MemoryWrite};
use greenroom_protocol::{CallKey, Cause, Clock, ContentHash, ErrorCode, Json, Outcome};
use greenroom_registry::agent_memory::embedder::Embedder;
use greenroom_registry::agent_memory::{
    ForgetSelection, LIST_MAX, Memory, MemoryBatch, MemoryMatch, MemoryOwner, MemoryStore, NewMemory, VectorQuery,
};
use greenroom_rego::{Grant, Permitted, Resource};
use serde_json::json;

use super::store_wait::StoreWait;

mod embedding;
mod ingest;

/// Least similarity of a memory to the query; less is chance.
const SIMILARITY_MIN: f32 = 0.25;
/// Memories in a reply if the request has no limit.
const MEMORIES_DEFAULT: u32 = 10;

/// Handles memory requests.
pub struct MemoryHandler {
    pub(crate) store: Arc<dyn MemoryStore>,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) accounting: Accounting,
    /// Has the prices of the models that compute vectors.
    pub(crate) definitions: Arc<dyn DefinitionResolver>,
    pub(crate) clock: Arc<dyn Clock>,
    /// True if the store is a database that pods share.
    pub(crate) is_server: bool,
    /// Memories of one agent for one tenant.
    pub(crate) owner_max: usize,
}

/// A permitted request with the memory that it concerns.
struct MemoryRequest {
    grant: Grant,
    owner: MemoryOwner,
    wait: StoreWait,
    settlements: Settlements,
    meter: UsageMeter,
}

impl MemoryRequest {
    fn outcome(&self, outputs: impl IntoIterator<Item = (&'static str, Json)>) -> Outcome {
        let outputs = outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Outcome { outputs, usage: self.meter.total() }
    }
}

impl MemoryHandler {
    fn request(&self, grant: Grant, settlements: Settlements) -> Result<MemoryRequest, Cause> {
        let owner = owner(&grant)?;
        let outlasts_outage = self.is_server && grant.root().is_some();
        let wait = StoreWait { deadline: grant.deadline(), now: self.clock.now(), outlasts_outage };
        Ok(MemoryRequest { grant, owner, wait, settlements, meter: UsageMeter::default() })
    }

    /// Recalls the memories that are most similar to a query, lists the newest ones, or counts them.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`]; those of the store, of the embedder and of the budgets; [`ErrorCode::TimedOut`] at
    /// the deadline.
    pub async fn read(&self, permit: Permitted<MemoryRead>, settlements: Settlements) -> Result<Outcome, Cause> {
        let (grant, read) = permit.redeem();
        let request = self.request(grant, settlements)?;
        let MemoryRequest { owner, wait, .. } = &request;
        let limit = |limit_max: usize| match read.limit {
            0 => MEMORIES_DEFAULT as usize,
            limit => limit_max.min(limit as usize),
        };
        if read.count {
            let count = wait.repeat(|| self.store.count(owner, wait.now)).await?;
            let counts = [("memories", json!(count.memories)), ("of_documents", json!(count.of_documents))];
            return Ok(request.outcome(counts));
        }
        let Some(query) = &read.query else {
            let memories = wait.repeat(|| self.store.list(owner, limit(LIST_MAX), wait.now)).await?;
            return Ok(request.outcome([("memories", memories.iter().map(memory_json).collect())]));
        };
        check_size("the query", query, MEMORY_QUERY_BYTES_MAX)?;
        let key = request.grant.effect_key();
        let vector = self.embed_one(&request, query, &key).await?;
        let vector_query = VectorQuery {
            vector: &vector,
            embedder: self.embedder.id(),
            limit: limit(MEMORY_RECALL_MAX as usize),
            min_similarity: SIMILARITY_MIN,
        };
        let matches = wait.repeat(|| self.store.recall(owner, vector_query, wait.now)).await?;
        Ok(request.outcome([("memories", matches.iter().map(match_json).collect())]))
    }

    /// Remembers a text or a document, or forgets memories.
    ///
    /// # Errors
    /// As [`MemoryHandler::read`]; [`ErrorCode::InvalidRequest`] for a document without a name of one line.
    pub async fn write(&self, permit: Permitted<MemoryWrite>, settlements: Settlements) -> Result<Outcome, Cause> {
        let (grant, write) = permit.redeem();
        write.change.check_source()?;
        let request = self.request(grant, settlements)?;
        match write.change {
            MemoryChange::Remember { text, index_text: _, source: Some(source) } => {
                self.ingest(&request, source, text).await
            }
            MemoryChange::Remember { text, index_text, source: None } => {
                let key = write.key.unwrap_or_else(|| request.grant.effect_key());
                self.remember(&request, text, index_text, &key).await
            }
            MemoryChange::Forget { id, source } => {
                let selection = match (id, source) {
                    (Some(id), _) => ForgetSelection::One(id),
                    (None, Some(name)) => ForgetSelection::Source { name, before: None },
                    (None, None) => ForgetSelection::All,
                };
                // A second time would count nothing.
                let forget = || self.store.forget(&request.owner, &selection);
                let forgotten = request.wait.repeat_unexecuted(forget).await?;
                Ok(request.outcome([("forgotten", json!(forgotten))]))
            }
        }
    }

    async fn remember(
        &self,
        request: &MemoryRequest,
        text: String,
        index_text: Option<String>,
        key: &CallKey,
    ) -> Result<Outcome, Cause> {
        check_size("the memory", &text, MEMORY_TEXT_BYTES_MAX)?;
        let index_text = index_text.as_ref().unwrap_or(&text);
        check_size("the text that a memory is indexed by", index_text, MEMORY_QUERY_BYTES_MAX)?;
        let vector = self.embed_one(request, index_text, key).await?;
        let id = ContentHash::from_content(key.as_str().as_bytes());
        let user = Some(request.grant.principal().id.clone());
        let memory = Memory { id, text, at: request.wait.now, expires_at: None, user, source: None };
        let batch = self.batch(vec![NewMemory { memory, vector }]);
        // What is stored under its id already is not stored again.
        request.wait.repeat(|| self.store.remember(&request.owner, &batch, request.wait.now)).await?;
        Ok(request.outcome([("memory_id", json!(id))]))
    }

    fn batch(&self, memories: Vec<NewMemory>) -> MemoryBatch {
        MemoryBatch { embedder: self.embedder.id().clone(), memories, owner_max: self.owner_max }
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

/// A memory in a reply. What a part of a document is from, is beside its text.
fn memory_json(memory: &Memory) -> Json {
    let mut row = json!({ "memory_id": memory.id, "text": memory.text, "at": memory.at, "until": memory.expires_at });
    if let Some(members) = row.as_object_mut() {
        if let Some(user) = &memory.user {
            members.insert("user".to_owned(), json!(user.to_string()));
        }
        if let Some(source) = &memory.source {
            members.insert("source".to_owned(), json!(source.name));
            members.insert("first_line".to_owned(), json!(source.first_line));
            members.insert("last_line".to_owned(), json!(source.last_line));
        }
    }
    row
}

fn match_json(matching: &MemoryMatch) -> Json {
    let mut row = memory_json(&matching.memory);
    if let Some(members) = row.as_object_mut() {
        members.insert("similarity".to_owned(), json!((f64::from(matching.similarity) * 1_000.0).round() / 1_000.0));
    }
    row
}
