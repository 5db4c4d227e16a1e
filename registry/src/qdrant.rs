//! Memories of agents in Qdrant, over gRPC: one collection for each embedder, whose name has its id and the dimensions, so
//! that vectors of two models are never compared. Everything that is read, counted or deleted is selected by tenant and
//! agent, and a reply with a memory of another owner is an error.
//!
//! What Qdrant does not promise, [`crate::agent_memory::MemoryStore`] does not promise either. Every operation has a bounded
//! time, and every reply a bounded size.

use std::path::Path;
use std::sync::Arc;

use ::qdrant_client::qdrant::Distance;
use tonic::transport::Endpoint;

use crate::agent_memory::MemoryStore;
use crate::agent_memory::embedder::EmbedderId;

use collection::Collection;
use connection::Connection;
use error::QdrantError;
use memory::QdrantMemory;

mod collection;
mod connection;
pub mod error;
mod filters;
mod memory;
mod points;

/// The prefix of every collection of the product. Two clusters use two servers.
pub const COLLECTION_PREFIX: &str = "greenroom";
/// The distance of the collections. The vectors have the length one, so it is that of the cosine, also for a text without
/// words, whose vector is zero.
const DISTANCE: Distance = Distance::Dot;

/// Learns of each failure of Qdrant.
pub trait QdrantObserver: Send + Sync {
    /// Called for each operation that failed.
    fn on_failure(&self, error: &QdrantError);
}

/// Arguments of [`Qdrant::connect`].
pub struct QdrantParts<'p> {
    /// The URL of its gRPC, which [`check_url`] accepts.
    pub url: &'p str,
    /// The API key.
    pub api_key: Option<&'p str>,
    /// The certificates (PEM) of the authorities that are trusted; `None` for those of the system. Without TLS it has no
    /// effect.
    pub ca_file: Option<&'p Path>,
    /// The prefix of every collection.
    pub prefix: String,
    /// What computes the vectors.
    pub embedder: EmbedderId,
    /// The dimensions of the vectors.
    pub dimensions: usize,
    /// Learns of each failure.
    pub observer: Arc<dyn QdrantObserver>,
}

/// A connection to Qdrant.
#[derive(Clone)]
pub struct Qdrant(Arc<Connection>);

impl Qdrant {
    /// Connects, and creates the collection with its indexes if it does not exist. Without a server it connects as soon as
    /// there is one; until then each operation fails.
    ///
    /// # Errors
    /// A [`QdrantError`] that waiting does not resolve: the key is wrong, its certificate is not trusted, or the collection
    /// has another dimension or another distance.
    pub async fn connect(parts: QdrantParts<'_>) -> Result<Self, QdrantError> {
        let collection = Collection::new(&parts.prefix, parts.embedder.clone(), parts.dimensions);
        Ok(Self(Arc::new(Connection::open(parts, collection).await?)))
    }

    /// The memories of agents.
    #[must_use]
    pub fn memory_store(&self) -> Arc<dyn MemoryStore> {
        Arc::new(QdrantMemory::new(Arc::clone(&self.0)))
    }
}

/// Checks a URL: `http://HOST:PORT`, or `https://HOST:PORT` for TLS. The port is that of gRPC.
///
/// # Errors
/// The problem, as a text without any part of the URL.
pub fn check_url(url: &str) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| "it is not a URL".to_owned())?;
    let uri = endpoint.uri();
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("it must begin with `http://`, or with `https://` for TLS".to_owned());
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("the key does not belong into it; set `qdrant.api_key` (QDRANT_API_KEY)".to_owned());
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err("it must end after the port".to_owned());
    }
    match uri.port_u16() {
        Some(_) => Ok(()),
        None => Err("it has no port; that of gRPC is 6334 if it was not changed".to_owned()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
