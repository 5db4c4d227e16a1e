//! Qdrant beyond the suite of agent memory: what it refuses, its absence and its return, and what is deleted there.
//!
//! The server is the vendor's own client, which `scripts/test` serves over gRPC, unless `QDRANT_URL` names a real one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenroom_protocol::{AgentId, ContentHash, TenantId};

use super::connection::OPERATION_TIMEOUT;
use super::error::QdrantError;
use super::{Qdrant, QdrantObserver, QdrantParts, check_url};
use crate::agent_memory::embedder::{DIMENSIONS, EmbedderId, hashed_vector};
use crate::agent_memory::{
    ForgetSelection, Memory, MemoryBatch, MemoryOwner, MemoryStore, NewMemory, OWNER_MAX_DEFAULT, VectorQuery,
};
use crate::error::StoreError;
use crate::suite::NOW;
use crate::suite::fault_proxy::FaultProxy;

mod loss;
mod tls;

/// Names the server that tests share; each uses collections with a prefix of its own.
const URL_VARIABLE: &str = "GREENROOM_TEST_QDRANT";
/// Longest wait for a client to connect again, far longer than it needs.
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(30);

/// Records the failures.
#[derive(Default)]
struct Failures(Mutex<Vec<&'static str>>);

impl QdrantObserver for Failures {
    fn on_failure(&self, error: &QdrantError) {
        self.0.lock().unwrap().push(error.detail());
    }
}

/// A variable that the test command sets.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set; `scripts/test` starts what serves the gRPC of Qdrant and sets it (start_qdrant)")
    })
}

/// A prefix that no other test uses, nor another run of the tests on a real server.
fn prefix() -> String {
    let dir = tempfile::tempdir().unwrap();
    let unique = dir.path().file_name().unwrap().to_string_lossy().replace('.', "");
    format!("test-{unique}")
}

struct Server<'s> {
    url: &'s str,
    api_key: Option<&'s str>,
    ca_file: Option<&'s Path>,
}

impl<'s> Server<'s> {
    fn new(url: &'s str) -> Self {
        Self { url, api_key: None, ca_file: None }
    }

    async fn connect(
        &self,
        prefix: String,
        embedder: EmbedderId,
        dimensions: usize,
        failures: &Arc<Failures>,
    ) -> Result<Qdrant, QdrantError> {
        let Self { url, api_key, ca_file } = *self;
        let observer = failures.clone();
        Qdrant::connect(QdrantParts { url, api_key, ca_file, prefix, embedder, dimensions, observer }).await
    }

    /// A connection for the embedded embedder, with collections of its own.
    async fn connect_hashed(&self) -> Result<Qdrant, QdrantError> {
        self.connect(prefix(), EmbedderId::hashed(), DIMENSIONS, &Arc::default()).await
    }
}

/// Memories on the server that tests share.
pub(crate) async fn shared_memory() -> Arc<dyn MemoryStore> {
    let url = variable(URL_VARIABLE);
    Server::new(&url).connect_hashed().await.unwrap().memory_store()
}

fn owner() -> MemoryOwner {
    MemoryOwner { tenant: TenantId::new("acme").unwrap(), agent: AgentId::new("writer").unwrap() }
}

fn batch(embedder: &EmbedderId, text: &str) -> MemoryBatch {
    let id = ContentHash::from_content(text.as_bytes());
    let memory = Memory { id, text: text.to_owned(), at: NOW, expires_at: None, user: None, source: None };
    let memories = vec![NewMemory { memory, vector: hashed_vector(text) }];
    MemoryBatch { embedder: embedder.clone(), memories, owner_max: OWNER_MAX_DEFAULT }
}

async fn remember(store: &Arc<dyn MemoryStore>, text: &str) -> Result<(), StoreError> {
    store.remember(&owner(), &batch(&EmbedderId::hashed(), text), NOW).await
}

async fn recall(store: &Arc<dyn MemoryStore>, embedder: &EmbedderId, text: &str) -> Result<Vec<String>, StoreError> {
    let vector = hashed_vector(text);
    let query = VectorQuery { vector: &vector, embedder, limit: 5, min_similarity: 0.9 };
    let found = store.recall(&owner(), query, NOW).await?;
    Ok(found.into_iter().map(|found| found.memory.text).collect())
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> &'static str {
    match result.unwrap_err() {
        StoreError::Qdrant(error) => error.detail(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_url_is_checked_without_being_repeated() {
    for url in ["http://127.0.0.1:6334", "https://example.com:6334/", "http://[::1]:6334"] {
        assert_eq!(check_url(url), Ok(()), "{url}");
    }
    for (url, problem) in [
        ("qdrant:6334", "it must begin with `http://`"),
        ("grpc://secret:6334", "it must begin with `http://`"),
        ("http://secret@host:6334", "the key does not belong into it"),
        ("http://secret:6334/path", "it must end after the port"),
        ("http://secret:6334?x=1", "it must end after the port"),
        ("http://secret", "it has no port"),
        ("", "it is not a URL"),
        ("http://not a url", "it is not a URL"),
    ] {
        let found = check_url(url).unwrap_err();
        assert!(found.starts_with(problem) && !found.contains("secret"), "{url}: {found}");
    }
}

#[tokio::test]
async fn the_models_of_two_embedders_never_mix_and_forgetting_concerns_both() {
    let (url, prefix) = (variable(URL_VARIABLE), prefix());
    let other = EmbedderId::new("openai", "text-embedding-3-small", DIMENSIONS).unwrap();
    let connect = |embedder: &EmbedderId| {
        let (url, prefix, embedder) = (url.clone(), prefix.clone(), embedder.clone());
        async move { Server::new(&url).connect(prefix, embedder, DIMENSIONS, &Arc::default()).await.unwrap().memory_store() }
    };
    let (hashed, of_model) = (connect(&EmbedderId::hashed()).await, connect(&other).await);
    remember(&hashed, "of the embedded one").await.unwrap();
    of_model.remember(&owner(), &batch(&other, "of the model"), NOW).await.unwrap();
    assert_eq!(recall(&hashed, &EmbedderId::hashed(), "of the model").await.unwrap(), Vec::<String>::new());
    assert_eq!(recall(&of_model, &other, "of the model").await.unwrap(), ["of the model"]);
    // A vector of another model is refused, as a query and as a memory.
    assert_eq!(kind(recall(&hashed, &other, "of the model").await), "qdrant_incompatible");
    assert_eq!(kind(hashed.remember(&owner(), &batch(&other, "x"), NOW).await), "qdrant_incompatible");
    assert_eq!(hashed.forget(&owner(), &ForgetSelection::All).await.unwrap(), 2);
    assert_eq!(recall(&of_model, &other, "of the model").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_collection_of_another_dimension_refuses_the_start_with_the_remedy() {
    let (url, prefix) = (variable(URL_VARIABLE), prefix());
    let embedder = EmbedderId::hashed();
    let connect = |dimensions| {
        let (url, prefix, embedder) = (url.clone(), prefix.clone(), embedder.clone());
        async move { Server::new(&url).connect(prefix, embedder, dimensions, &Arc::default()).await }
    };
    connect(8).await.map(drop).unwrap();
    connect(8).await.map(drop).unwrap();
    let error = connect(9).await.map(drop).unwrap_err();
    assert!(matches!(&error, QdrantError::Incompatible(text) if text.contains("vectors of 8 dimensions")), "{error}");
    let cause = StoreError::from(error).cause();
    assert_eq!(cause.code, greenroom_protocol::ErrorCode::StoreUnavailable);
    assert_eq!(cause.details["store"], "qdrant_incompatible");
    assert!(cause.message.contains("delete the collection"), "{cause}");
}

#[tokio::test]
async fn an_empty_server_has_no_memories_and_a_deleted_collection_is_created_again() {
    let url = variable(URL_VARIABLE);
    let qdrant = Server::new(&url).connect_hashed().await.unwrap();
    let store = qdrant.memory_store();
    assert_eq!(recall(&store, &EmbedderId::hashed(), "anything").await.unwrap(), Vec::<String>::new());
    assert_eq!(store.list(&owner(), 5, NOW).await.unwrap(), []);
    remember(&store, "before").await.unwrap();
    qdrant.0.delete_collection().await;
    assert_eq!(recall(&store, &EmbedderId::hashed(), "before").await.unwrap(), Vec::<String>::new());
    remember(&store, "after").await.unwrap();
    assert_eq!(recall(&store, &EmbedderId::hashed(), "after").await.unwrap(), ["after"]);
}

#[tokio::test]
async fn a_collection_that_something_creates_anew_with_another_dimension_is_named_as_the_reason() {
    let (url, prefix) = (variable(URL_VARIABLE), prefix());
    let connect = |dimensions| {
        let (url, prefix) = (url.clone(), prefix.clone());
        async move { Server::new(&url).connect(prefix, EmbedderId::hashed(), dimensions, &Arc::default()).await }
    };
    let qdrant = connect(DIMENSIONS).await.unwrap();
    let store = qdrant.memory_store();
    remember(&store, "before").await.unwrap();
    qdrant.0.delete_collection().await;
    connect(8).await.map(drop).unwrap();
    assert_eq!(kind(remember(&store, "after").await), "qdrant_incompatible");
}

#[tokio::test]
async fn the_artifacts_that_memories_reference_are_found_in_all_collections() {
    let url = variable(URL_VARIABLE);
    let qdrant = Server::new(&url).connect_hashed().await.unwrap();
    let store = qdrant.memory_store();
    let hashes = [ContentHash::from_content(b"one"), ContentHash::from_content(b"two")];
    remember(&store, &format!("see {} and {}", hashes[0], hashes[1])).await.unwrap();
    remember(&store, "without").await.unwrap();
    assert_eq!(store.referenced_artifacts().await.unwrap(), hashes.into());
}
