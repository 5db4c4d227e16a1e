//! The exact search of large memories and of several embedders, also while another pod writes.

use super::*;
use crate::agent_memory::BATCH_MAX;
use crate::agent_memory::vector::{UnitVector, similarity};
use crate::suite::postgres::{TestDatabase, open_pod};

/// Memories of a large owner: more than a page of rows, and more numbers than are scanned inline.
const MANY: usize = 4_500;

/// A vector of the embedded embedder's dimensions that depends on a number.
fn vector(number: usize) -> UnitVector {
    let next = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(*state >> 48).unwrap()) / 65_536.0 - 0.5
    };
    let mut state = number as u64 + 1;
    UnitVector::normalized((0..256).map(|_| next(&mut state)).collect()).unwrap()
}

async fn remember_many(store: &Arc<dyn MemoryStore>, owner: &MemoryOwner, numbers: std::ops::Range<usize>) {
    let new = |number: usize| {
        let at = Timestamp::from_micros(NOW.as_micros() + i64::try_from(number).unwrap());
        NewMemory { memory: memory(&format!("memory {number}"), at), vector: vector(number) }
    };
    for numbers in numbers.collect::<Vec<_>>().chunks(BATCH_MAX) {
        let memories = numbers.iter().map(|number| new(*number)).collect();
        let batch = MemoryBatch { embedder: EmbedderId::hashed(), memories, owner_max: OWNER_MAX_DEFAULT };
        store.remember(owner, &batch, NOW).await.unwrap();
    }
}

/// The texts that are most similar to a vector, with their similarities.
async fn recall(store: &Arc<dyn MemoryStore>, owner: &MemoryOwner, vector: &UnitVector) -> Vec<(String, f32)> {
    let embedder = EmbedderId::hashed();
    let query = VectorQuery { vector, embedder: &embedder, limit: 10, min_similarity: -1.0 };
    let found = store.recall(owner, query, NOW).await.unwrap();
    found.into_iter().map(|found| (found.memory.text, found.similarity)).collect()
}

/// The same, by comparing all.
fn expected(numbers: impl Iterator<Item = usize>, query: &UnitVector) -> Vec<(String, f32)> {
    let scored = |number: usize| similarity(query.as_slice(), vector(number).as_slice()).map(|score| (score, number));
    let mut all: Vec<_> = numbers.filter_map(scored).collect();
    all.sort_by(|one, other| other.0.total_cmp(&one.0));
    all.into_iter().take(10).map(|(score, number)| (format!("memory {number}"), score)).collect()
}

#[tokio::test]
async fn a_search_of_many_memories_is_exact_after_every_kind_of_write() {
    for stores in [TestStores::sqlite().await, TestStores::postgres().await] {
        let (store, writer) = (Arc::clone(&stores.stores.memory), owner("acme", "writer"));
        remember_many(&store, &writer, 0..MANY).await;
        let query = vector(MANY + 7);
        assert_eq!(recall(&store, &writer, &query).await, expected(0..MANY, &query));
        remember_many(&store, &writer, MANY..MANY + 10).await;
        assert_eq!(recall(&store, &writer, &query).await, expected(0..MANY + 10, &query));
        assert_eq!(recall(&store, &writer, &query).await[0].0, format!("memory {}", MANY + 7));
        let best = ForgetSelection::One(memory(&format!("memory {}", MANY + 7), NOW).id);
        assert_eq!(store.forget(&writer, &best).await.unwrap(), 1);
        let remaining = (0..MANY + 10).filter(|number| *number != MANY + 7);
        assert_eq!(recall(&store, &writer, &query).await, expected(remaining, &query));
        assert_eq!(store.forget(&writer, &ForgetSelection::All).await.unwrap(), u64::try_from(MANY).unwrap() + 9);
        assert_eq!(recall(&store, &writer, &query).await, []);
        remember_many(&store, &writer, 0..3).await;
        assert_eq!(recall(&store, &writer, &query).await, expected(0..3, &query));
    }
}

#[tokio::test]
async fn a_pod_finds_what_another_pod_has_remembered_and_not_what_it_has_forgotten() {
    let database = TestDatabase::migrated().await;
    let one = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let other = open_pod(&database.url(), "pod_b", 1).await.unwrap();
    let writer = owner("acme", "writer");
    let stores = [&one.stores.memory, &other.stores.memory];
    let query = vector(3);
    for (round, from) in [0, 20, 40].into_iter().enumerate() {
        let (writing, reading) = (stores[round % 2], stores[(round + 1) % 2]);
        remember_many(writing, &writer, from..from + 20).await;
        assert_eq!(recall(reading, &writer, &query).await, expected(0..from + 20, &query));
    }
    let best = ForgetSelection::One(memory("memory 3", NOW).id);
    assert_eq!(stores[0].forget(&writer, &best).await.unwrap(), 1);
    let remaining = (0..60).filter(|number| *number != 3);
    assert_eq!(recall(stores[1], &writer, &query).await, expected(remaining, &query));
}

#[tokio::test]
async fn a_row_that_a_pod_of_the_release_before_writes_is_found() {
    let database = TestDatabase::migrated().await;
    let stores = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let (store, writer) = (&stores.stores.memory, owner("acme", "writer"));
    remember_many(store, &writer, 0..3).await;
    assert_eq!(recall(store, &writer, &vector(0)).await.len(), 3);
    database
        .execute(
            "INSERT INTO memories (tenant, agent, id, at, text, vector) SELECT tenant, agent, sha256(id), at, \
             convert_to('of an older release', 'UTF8'), vector FROM memories WHERE text = convert_to('memory 0', 'UTF8')",
        )
        .await;
    let found = recall(store, &writer, &vector(0)).await;
    assert!(found.iter().take(2).any(|(text, _)| text == "of an older release"), "{found:?}");
}

#[tokio::test]
async fn vectors_of_another_embedder_are_counted_and_forgotten_and_never_found() {
    for test in TestMemory::each().await.into_iter().filter(|test| test.is_exact) {
        let writer = owner("acme", "writer");
        let other = EmbedderId::new("openai", "text-embedding-3-small", 256).unwrap();
        let mut of_other = batch(vec![memory("of the other", NOW)], 100);
        of_other.embedder = other.clone();
        test.store.remember(&writer, &of_other, NOW).await.unwrap();
        test.remember(&writer, memory("of the embedded one", NOW)).await;
        assert_eq!(test.recall(&writer, "of the other", 5, -1.0).await.len(), 1);
        let vector = hashed_vector("of the embedded one");
        let query = VectorQuery { vector: &vector, embedder: &other, limit: 5, min_similarity: -1.0 };
        let found = test.store.recall(&writer, query, NOW).await.unwrap();
        assert_eq!(found.iter().map(|found| found.memory.text.as_str()).collect::<Vec<_>>(), ["of the other"]);
        assert_eq!(test.store.count(&writer, NOW).await.unwrap().memories, 2);
        assert_eq!(test.store.forget(&writer, &ForgetSelection::All).await.unwrap(), 2);
    }
}
