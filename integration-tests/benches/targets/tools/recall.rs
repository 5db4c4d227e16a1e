//! The memories of an agent: a recall over 100,000 of them in the database, whose search is exact, and over some on what
//! serves the messages of Qdrant. A query has a third of the words of one memory, which must be the best match.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_client::Client;
use greenroom_integration_tests::bench::{Latencies, Threshold, missing, record, scaled};
use greenroom_protocol::{AgentId, Clock as _, ContentHash, Json};
use greenroom_registry::agent_memory::embedder::{DIMENSIONS, EmbedderId, hashed_vector};
use greenroom_registry::agent_memory::{
    BATCH_MAX, Memory, MemoryBatch, MemoryOwner, MemoryStore, NewMemory, OWNER_MAX_DEFAULT, VectorQuery,
};
use greenroom_registry::qdrant::error::QdrantError;
use greenroom_registry::qdrant::{Qdrant, QdrantObserver, QdrantParts};
use greenroom_supervisor::clock::WallClock;

use super::GROUP;
use super::echo_pod::PodFolder;

/// The agent that remembers.
const AGENT: &str = "remembering_agent";
/// Its memories, as many as an agent may have by default.
const MEMORIES: u64 = 100_000;
/// Measured recalls.
const RECALLS: u64 = 2_000;
/// The variable with the URL of what serves the messages of Qdrant.
const QDRANT_VARIABLE: &str = "GREENROOM_TEST_QDRANT";
/// Memories in it: the client of the vendor, which serves, compares each of them in Python.
const QDRANT_MEMORIES: u64 = 10_000;
/// Measured recalls there.
const QDRANT_RECALLS: u64 = 100;
/// Matches of a recall, as a request without a limit has them.
const MATCHES: u32 = 10;
/// Least similarity of a match, as requests have it.
const SIMILARITY_MIN: f32 = 0.25;
/// Milliseconds of a recall.
const RECALL_MS_MAX: f64 = 20.0;
/// Words of a memory, and of a query.
const WORDS: u64 = 24;
const QUERY_WORDS: u64 = 8;
/// Words of the language.
const VOCABULARY: u64 = 20_000;
const WORD_LETTERS: usize = 7;

pub(super) async fn measure() -> anyhow::Result<()> {
    let folder = PodFolder::new()?;
    folder.write_agent(AGENT, "runtime: native\n  handler: native.echo\n  timeout: 60")?;
    let mut tenant = None;
    let pod = folder.start(Vec::new(), |config| {
        let admin = config.users.users.iter().find(|user| user.name.as_str() == "admin");
        tenant = admin.map(|user| user.tenant.clone());
    });
    let pod = pod.await?;
    let owner = MemoryOwner { tenant: tenant.context("no administrator")?, agent: AgentId::new(AGENT)? };
    in_database(&*pod.stores().memory, &owner, pod.client()).await?;
    pod.shutdown().await;
    in_qdrant(&owner).await
}

/// Measures recalls of the database, by the store and through the whole pod.
async fn in_database(store: &dyn MemoryStore, owner: &MemoryOwner, client: &Client) -> anyhow::Result<()> {
    let count = scaled(MEMORIES);
    let elapsed = remember(store, owner, count).await?;
    let name = format!("recall over {count} memories");
    let first = recall(store, owner, 0).await?.as_secs_f64() * 1e3;
    let (mut by_store, mut by_pod) = (Vec::new(), Vec::new());
    for number in sample(scaled(RECALLS), count) {
        by_store.push(recall(store, owner, number).await?);
        by_pod.push(recall_by_request(client, &owner.agent, number).await?);
    }
    let [by_store, by_pod] = [by_store, by_pod].map(|times| times.into_iter().collect::<Latencies>());
    let target = Threshold::AtMost(RECALL_MS_MAX);
    record(GROUP, format!("{name}, exact, by the store, p99"), by_store.millis(0.99), "ms", target)?;
    record(GROUP, format!("{name}, exact, by a request, p99"), by_pod.millis(0.99), "ms", target)?;
    let rows = [
        ("by the store, p50", by_store.millis(0.5), "ms"),
        ("by a request, p50", by_pod.millis(0.5), "ms"),
        ("the first, which reads all vectors", first, "ms"),
        ("memories stored before it", count as f64 / elapsed.as_secs_f64(), "/s"),
    ];
    for (row, measured, unit) in rows {
        record(GROUP, format!("  {name}: {row}"), measured, unit, Threshold::Informational)?;
    }
    Ok(())
}

/// Measures recalls of what serves the messages of Qdrant.
async fn in_qdrant(owner: &MemoryOwner) -> anyhow::Result<()> {
    let count = scaled(QDRANT_MEMORIES);
    let name = format!("recall over {count} memories, by the messages of Qdrant to a server without its index");
    let Ok(url) = std::env::var(QDRANT_VARIABLE) else {
        let reason = "nothing serves them; scripts/bench starts it";
        return missing(GROUP, format!("  {name}, p50"), reason, "ms", Threshold::Informational);
    };
    let parts = QdrantParts {
        url: &url,
        api_key: None,
        ca_file: None,
        // A real server may have what an earlier run has left.
        prefix: format!("bench-{}", std::process::id()),
        embedder: EmbedderId::hashed(),
        dimensions: DIMENSIONS,
        observer: Arc::new(Unobserved),
    };
    let qdrant = Qdrant::connect(parts).await?;
    let store = qdrant.memory_store();
    remember(&*store, owner, count).await?;
    let mut times = Vec::new();
    for number in sample(scaled(QDRANT_RECALLS), count) {
        times.push(recall(&*store, owner, number).await?);
    }
    store.forget_of_tenant(&owner.tenant, None).await?;
    let times: Latencies = times.into_iter().collect();
    record(GROUP, format!("  {name}, p50"), times.millis(0.5), "ms", Threshold::Informational)?;
    record(GROUP, format!("  {name}, p99"), times.millis(0.99), "ms", Threshold::Informational)
}

/// Stores so many memories, and returns the time that the store took.
async fn remember(store: &dyn MemoryStore, owner: &MemoryOwner, count: u64) -> anyhow::Result<Duration> {
    let mut elapsed = Duration::ZERO;
    let numbers: Vec<u64> = (0..count).collect();
    for chunk in numbers.chunks(BATCH_MAX) {
        let memories = chunk.iter().map(|number| new_memory(*number)).collect();
        let batch = MemoryBatch { embedder: EmbedderId::hashed(), memories, owner_max: OWNER_MAX_DEFAULT };
        let started_at = Instant::now();
        store.remember(owner, &batch, WallClock.now()).await?;
        elapsed += started_at.elapsed();
    }
    let stored = store.count(owner, WallClock.now()).await?.memories;
    ensure!(stored == count, "{stored} of {count} memories are stored");
    Ok(elapsed)
}

fn new_memory(number: u64) -> NewMemory {
    let text = memory_text(number);
    let (id, vector) = (ContentHash::from_content(text.as_bytes()), hashed_vector(&text));
    NewMemory { memory: Memory { id, text, at: WallClock.now(), expires_at: None, user: None, source: None }, vector }
}

/// Recalls a memory by the store.
async fn recall(store: &dyn MemoryStore, owner: &MemoryOwner, number: u64) -> anyhow::Result<Duration> {
    let (vector, embedder) = (hashed_vector(&query_text(number)), EmbedderId::hashed());
    let limit = usize::try_from(MATCHES)?;
    let query = VectorQuery { vector: &vector, embedder: &embedder, limit, min_similarity: SIMILARITY_MIN };
    let started_at = Instant::now();
    let matches = store.recall(owner, query, WallClock.now()).await?;
    let elapsed = started_at.elapsed();
    check(number, matches.first().map(|best| best.memory.text.as_str()))?;
    Ok(elapsed)
}

/// Recalls a memory as a user does: the request is authenticated, decided and audited, and its vector is computed.
async fn recall_by_request(client: &Client, agent: &AgentId, number: u64) -> anyhow::Result<Duration> {
    let query = query_text(number);
    let started_at = Instant::now();
    let reply = client.memories(agent.clone(), Some(query), MATCHES).await?;
    let elapsed = started_at.elapsed();
    ensure!(reply.error.is_none(), "{:?}", reply.error);
    let best = reply.outputs.get("memories").and_then(|memories| memories.pointer("/0/text"));
    check(number, best.and_then(Json::as_str))?;
    Ok(elapsed)
}

fn check(number: u64, best: Option<&str>) -> anyhow::Result<()> {
    let expected = memory_text(number);
    ensure!(best == Some(expected.as_str()), "the best match of {:?} is {best:?}", query_text(number));
    Ok(())
}

/// The memories that are recalled, from all of them.
fn sample(recalls: u64, count: u64) -> impl Iterator<Item = u64> {
    (1..=recalls).map(move |number| mixed(number) % count)
}

fn memory_text(number: u64) -> String {
    text_of(number, WORDS)
}

/// The first words of a memory.
fn query_text(number: u64) -> String {
    text_of(number, QUERY_WORDS)
}

fn text_of(number: u64, words: u64) -> String {
    let words: Vec<String> =
        (0..words).map(|position| word(mixed(number * WORDS + position + 1) % VOCABULARY)).collect();
    words.join(" ")
}

/// A word, which has few pieces in common with others.
fn word(number: u64) -> String {
    const LETTERS: u64 = 26;
    let mut rest = mixed(number + 1);
    let letters = (0..WORD_LETTERS).map(|_| {
        let letter = u8::try_from(rest % LETTERS).unwrap_or_default();
        rest /= LETTERS;
        char::from(b'a' + letter)
    });
    letters.collect()
}

/// A number that has no visible relation to this one, and is always the same (SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Ignores failures: the recall that meets one fails too.
struct Unobserved;

impl QdrantObserver for Unobserved {
    fn on_failure(&self, _: &QdrantError) {}
}
