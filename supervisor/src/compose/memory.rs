//! From the configuration to what computes the vectors of memories, and to Qdrant. Without it, memories are in the database.

use std::sync::Arc;

use greenroom_protocol::Cause;
use greenroom_registry::agent_memory::embedder::{Embedder, hashing_embedder};
use greenroom_registry::qdrant::{COLLECTION_PREFIX, Qdrant, QdrantParts};
use greenroom_registry::{StoreError, Stores};
use greenroom_runtimes::embeddings::{self, EmbeddingApi, EmbeddingSettings};
use greenroom_runtimes::models::http::ApiKey;

use crate::config::{Config, EmbedderKind, QdrantConfig, Secret};
use crate::telemetry::Metrics;

/// What the memories of agents need beside the database.
pub(crate) struct MemoryServers {
    /// Computes the vectors.
    pub(crate) embedder: Arc<dyn Embedder>,
    /// Has the memories, if the configuration has its URL.
    qdrant: Option<Qdrant>,
    /// Bytes of vectors that the store has in memory.
    cache_bytes: usize,
}

impl MemoryServers {
    /// The stores, with the memories of agents in Qdrant if there is one.
    pub(crate) fn with_memories(&self, stores: Stores) -> Stores {
        match &self.qdrant {
            Some(qdrant) => Stores { memory: qdrant.memory_store(), ..stores },
            None => {
                stores.memory.set_cache_bytes_max(self.cache_bytes);
                stores
            }
        }
    }
}

/// Opens the embedder, and connects to Qdrant.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::InvalidConfiguration`] for an invalid address or name of a model; that of a Qdrant
/// which cannot serve. A server that cannot be reached is no error: the pod starts without it.
pub(crate) async fn open(config: &Config, metrics: &Arc<Metrics>) -> Result<MemoryServers, Cause> {
    let embedder = open_embedder(config)?;
    let qdrant = connect(config, &embedder, metrics).await?;
    Ok(MemoryServers { embedder, qdrant, cache_bytes: config.memory.cache_bytes })
}

fn open_embedder(config: &Config) -> Result<Arc<dyn Embedder>, Cause> {
    let Some(embedding) = &config.memory.embedding else { return Ok(hashing_embedder()) };
    let api = match embedding.kind {
        EmbedderKind::Hashed => return Ok(hashing_embedder()),
        EmbedderKind::OpenAi => EmbeddingApi::OpenAi,
        EmbedderKind::Ollama => EmbeddingApi::Ollama,
    };
    embeddings::open(EmbeddingSettings {
        api,
        model: embedding.model.clone(),
        dimensions: embedding.dimensions,
        sends_dimensions: embedding.sends_dimensions,
        base_url: embedding.base_url.clone(),
        key: embedding.api_key.as_ref().map(|key| ApiKey::new(key.reveal())),
        internal: embedding.internal,
    })
}

async fn connect(
    config: &Config,
    embedder: &Arc<dyn Embedder>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Qdrant>, Cause> {
    let Some(QdrantConfig { url, api_key, ca_file }) = &config.qdrant else { return Ok(None) };
    let parts = QdrantParts {
        url,
        api_key: api_key.as_ref().map(Secret::reveal),
        ca_file: ca_file.as_deref(),
        prefix: COLLECTION_PREFIX.to_owned(),
        embedder: embedder.id().clone(),
        dimensions: embedder.dimensions(),
        observer: metrics.clone(),
    };
    Qdrant::connect(parts).await.map(Some).map_err(|error| StoreError::from(error).cause())
}
