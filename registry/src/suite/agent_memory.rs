//! Agent memory: stored once, found by similarity, bounded, separate for each owner, tenant and embedder. What Qdrant does
//! not promise is demanded of the other stores only.

use protocol::AgentId;

use super::*;
use crate::agent_memory::embedder::{EmbedderId, hashed_vector};
use crate::agent_memory::{
    ForgetSelection, LIST_MAX, Memory, MemoryBatch, MemoryCount, MemoryMatch, MemoryOwner, MemorySource, MemoryStore,
    NewMemory, OWNER_MAX_DEFAULT, StoredVectors, VectorQuery,
};
use crate::qdrant::tests::shared_memory;

mod search;
mod walls;

/// A store under test.
struct TestMemory {
    store: Arc<dyn MemoryStore>,
    /// True unless it is Qdrant.
    is_exact: bool,
    /// What the store belongs to.
    stores: Option<TestStores>,
}

impl TestMemory {
    /// New stores of each implementation.
    async fn each() -> Vec<Self> {
        let mut all = vec![Self { store: shared_memory().await, is_exact: false, stores: None }];
        all.extend(TestStores::each().await.into_iter().map(Self::of));
        all
    }

    fn of(stores: TestStores) -> Self {
        Self { store: Arc::clone(&stores.stores.memory), is_exact: true, stores: Some(stores) }
    }

    async fn remember(&self, owner: &MemoryOwner, memory: Memory) {
        self.remember_all(owner, vec![memory], OWNER_MAX_DEFAULT).await;
    }

    async fn remember_all(&self, owner: &MemoryOwner, memories: Vec<Memory>, owner_max: usize) {
        self.store.remember(owner, &batch(memories, owner_max), NOW).await.unwrap();
    }

    async fn recall(&self, owner: &MemoryOwner, text: &str, limit: usize, min_similarity: f32) -> Vec<MemoryMatch> {
        let (vector, embedder) = (hashed_vector(text), EmbedderId::hashed());
        let query = VectorQuery { vector: &vector, embedder: &embedder, limit, min_similarity };
        self.store.recall(owner, query, NOW).await.unwrap()
    }

    /// The texts of an owner, the newest first.
    async fn texts(&self, owner: &MemoryOwner, now: Timestamp) -> Vec<String> {
        let all = self.store.list(owner, LIST_MAX, now).await.unwrap();
        all.into_iter().map(|memory| memory.text).collect()
    }
}

fn batch(memories: Vec<Memory>, owner_max: usize) -> MemoryBatch {
    let with_vector = |memory: Memory| NewMemory { vector: hashed_vector(&memory.text), memory };
    MemoryBatch { embedder: EmbedderId::hashed(), memories: memories.into_iter().map(with_vector).collect(), owner_max }
}

fn owner(tenant_name: &str, agent: &str) -> MemoryOwner {
    MemoryOwner { tenant: tenant(tenant_name), agent: AgentId::new(agent).unwrap() }
}

fn memory(text: &str, at: Timestamp) -> Memory {
    let id = ContentHash::from_content(text.as_bytes());
    Memory { id, text: text.into(), at, expires_at: None, user: Some(principal("alice")), source: None }
}

/// A part of a document.
fn part(source: &str, text: &str, at: Timestamp) -> Memory {
    let source = MemorySource { name: source.to_owned(), first_line: 3, last_line: 7 };
    Memory { source: Some(source), ..memory(text, at) }
}

fn later(minutes: u32) -> Timestamp {
    NOW.saturating_add(MINUTE * minutes)
}

#[tokio::test]
async fn the_most_similar_memory_is_first_and_dissimilar_ones_do_not_match() {
    for test in TestMemory::each().await {
        let writer = owner("acme", "writer");
        let texts = ["revenue of the northern region fell", "revenue of the southern region rose", "soup with leek"];
        for (minute, text) in texts.iter().enumerate() {
            test.remember(&writer, memory(text, later(u32::try_from(minute).unwrap()))).await;
        }
        let matches = test.recall(&writer, "the northern region's revenue", 5, 0.3).await;
        let found: Vec<_> = matches.iter().map(|found| found.memory.text.as_str()).collect();
        assert_eq!(found, [texts[0], texts[1]]);
        assert_eq!(test.recall(&writer, "the northern region's revenue", 1, 0.3).await.len(), 1);
        assert_eq!(test.recall(&writer, "the northern region's revenue", 0, 0.3).await, []);
        assert_eq!(test.recall(&writer, "", 5, 0.3).await, []);
        assert_eq!(test.texts(&writer, NOW).await, [texts[2], texts[1], texts[0]]);
        assert_eq!(test.store.list(&writer, 1, NOW).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_memory_has_its_user_and_a_part_of_a_document_its_lines() {
    for test in TestMemory::each().await {
        let writer = owner("acme", "writer");
        let all = [part("guide.md", "how to install it", later(1)), memory("what was asked", NOW)];
        test.remember_all(&writer, all.to_vec(), OWNER_MAX_DEFAULT).await;
        assert_eq!(test.store.list(&writer, 5, NOW).await.unwrap(), all);
        assert_eq!(test.recall(&writer, "how to install it", 5, 0.9).await[0].memory, all[0]);
    }
}

#[tokio::test]
async fn each_agent_and_tenant_has_a_memory_of_its_own() {
    for test in TestMemory::each().await {
        let secret = memory("a secret of acme", NOW);
        test.remember(&owner("acme", "writer"), secret.clone()).await;
        for other in [owner("other", "writer"), owner("acme", "reader")] {
            assert_eq!(test.recall(&other, "a secret of acme", 5, 0.0).await, []);
            assert_eq!(test.texts(&other, NOW).await, Vec::<String>::new());
            assert_eq!(test.store.count(&other, NOW).await.unwrap(), MemoryCount::default());
            // Whoever knows the id of a memory has nothing of it.
            for selection in [ForgetSelection::All, ForgetSelection::One(secret.id)] {
                assert_eq!(test.store.forget(&other, &selection).await.unwrap(), 0);
            }
            let planted = Memory { text: "planted".into(), ..secret.clone() };
            test.remember(&other, planted).await;
        }
        assert_eq!(test.store.forget_of_tenant(&tenant("other"), None).await.unwrap(), 1);
        assert_eq!(test.recall(&owner("acme", "writer"), "a secret of acme", 5, 0.9).await[0].memory, secret);
    }
}

#[tokio::test]
async fn the_same_execution_is_remembered_once() {
    for test in TestMemory::each().await {
        let writer = owner("acme", "writer");
        let first = memory("first", NOW);
        test.remember(&writer, first.clone()).await;
        test.remember(&writer, Memory { text: "second".into(), at: later(1), ..first }).await;
        let texts = test.texts(&writer, NOW).await;
        assert_eq!(texts.len(), 1);
        assert!(!test.is_exact || texts == ["first"], "{texts:?}");
    }
}

#[tokio::test]
async fn the_oldest_memories_are_evicted_and_parts_of_documents_never() {
    for test in TestMemory::each().await {
        let writer = owner("acme", "writer");
        test.remember_all(&writer, vec![part("guide.md", "the oldest is a part", NOW)], 10).await;
        for number in 0..13 {
            let at = Timestamp::from_micros(later(1).as_micros() + number);
            test.remember_all(&writer, vec![memory(&format!("memory {number}"), at)], 10).await;
        }
        let texts = test.texts(&writer, NOW).await;
        assert_eq!(texts.len(), 10);
        assert_eq!(texts.first().map(String::as_str), Some("memory 12"));
        assert_eq!(texts.iter().rev().take(2).collect::<Vec<_>>(), ["the oldest is a part", "memory 4"]);
        assert_eq!(test.recall(&writer, "memory 3", 20, 0.99).await, []);
        let count = test.store.count(&writer, NOW).await.unwrap();
        assert_eq!(count, MemoryCount { memories: 10, of_documents: 1 });
    }
}

#[tokio::test]
async fn a_document_that_is_read_again_replaces_its_parts() {
    for test in TestMemory::each().await {
        let writer = owner("acme", "writer");
        let old =
            vec![part("guide.md", "unchanged", NOW), part("guide.md", "removed", NOW), part("other.md", "else", NOW)];
        test.remember_all(&writer, old, OWNER_MAX_DEFAULT).await;
        let at = later(1);
        test.remember_all(&writer, vec![part("guide.md", "unchanged", at), part("guide.md", "added", at)], 100).await;
        let replaced = ForgetSelection::Source { name: "guide.md".into(), before: Some(at) };
        assert_eq!(test.store.forget(&writer, &replaced).await.unwrap(), 1);
        let mut texts = test.texts(&writer, NOW).await;
        texts.sort();
        assert_eq!(texts, ["added", "else", "unchanged"]);
        let all = ForgetSelection::Source { name: "guide.md".into(), before: None };
        assert_eq!(test.store.forget(&writer, &all).await.unwrap(), 2);
        assert_eq!(test.texts(&writer, NOW).await, ["else"]);
    }
}

#[tokio::test]
async fn the_vectors_of_stored_memories_are_found_by_their_ids_for_their_owner_and_embedder_only() {
    for test in TestMemory::each().await {
        let writer = owner("acme", "writer");
        let all = vec![part("guide.md", "first part", NOW), memory("second", NOW)];
        test.remember_all(&writer, all.clone(), OWNER_MAX_DEFAULT).await;
        let unknown = ContentHash::from_content(b"unknown");
        let ids = [all[0].id, unknown, all[1].id];
        let find = |owner: MemoryOwner, embedder: EmbedderId| {
            let store = Arc::clone(&test.store);
            async move { store.find_vectors(&owner, &embedder, &ids).await }
        };
        let expected: StoredVectors = all.iter().map(|memory| (memory.id, Some(hashed_vector(&memory.text)))).collect();
        assert_eq!(find(writer.clone(), EmbedderId::hashed()).await.unwrap(), expected);
        for other in [owner("other", "writer"), owner("acme", "reader")] {
            assert!(find(other, EmbedderId::hashed()).await.unwrap().is_empty());
        }
        assert!(test.store.find_vectors(&writer, &EmbedderId::hashed(), &[]).await.unwrap().is_empty());
        if test.is_exact {
            let other = EmbedderId::new("openai", "text-embedding-3-small", 256).unwrap();
            let expected: StoredVectors = all.iter().map(|memory| (memory.id, None)).collect();
            assert_eq!(find(writer, other).await.unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn a_slow_reading_of_a_document_does_not_replace_the_parts_of_a_later_one() {
    for test in TestMemory::each().await.into_iter().filter(|test| test.is_exact) {
        let writer = owner("acme", "writer");
        test.remember(&writer, part("guide.md", "the same part", later(1))).await;
        test.remember(&writer, part("guide.md", "the same part", NOW)).await;
        let replaced = ForgetSelection::Source { name: "guide.md".into(), before: Some(later(1)) };
        assert_eq!(test.store.forget(&writer, &replaced).await.unwrap(), 0);
        assert_eq!(test.store.list(&writer, 5, NOW).await.unwrap()[0].at, later(1));
    }
}

#[tokio::test]
async fn an_owner_has_a_thousandth_more_than_its_maximum_at_most() {
    // Qdrant replies to one call at a time in tests.
    for test in TestMemory::each().await.into_iter().filter(|test| test.is_exact) {
        let writer = owner("acme", "writer");
        let all: Vec<Memory> = (0..256).map(|number| memory(&format!("memory {number}"), NOW)).collect();
        for number in 0..8 {
            let texts = all.iter().map(|memory| self::memory(&format!("{} of {number}", memory.text), NOW)).collect();
            test.remember_all(&writer, texts, 2_000).await;
        }
        assert_eq!(test.store.count(&writer, NOW).await.unwrap().memories, 2_000, "a batch is counted at once");
        for number in 0..9 {
            test.remember_all(&writer, vec![memory(&format!("single {number}"), later(number + 1))], 2_000).await;
            let count = test.store.count(&writer, NOW).await.unwrap().memories;
            assert!((2_000..=2_002).contains(&count), "{count}");
        }
    }
}

#[tokio::test]
async fn a_memory_with_an_expiry_is_not_found_after_it() {
    for test in TestMemory::each().await {
        let writer = owner("acme", "writer");
        test.remember(&writer, Memory { expires_at: Some(later(1)), ..memory("for a minute", NOW) }).await;
        assert_eq!(test.texts(&writer, NOW).await.len(), 1);
        assert_eq!(test.recall(&writer, "for a minute", 5, 0.5).await.len(), 1);
        assert_eq!(test.texts(&writer, later(1)).await, Vec::<String>::new());
        let (vector, embedder) = (hashed_vector("for a minute"), EmbedderId::hashed());
        let query = VectorQuery { vector: &vector, embedder: &embedder, limit: 5, min_similarity: 0.0 };
        assert_eq!(test.store.recall(&writer, query, later(1)).await.unwrap(), []);
        assert_eq!(test.store.count(&writer, later(1)).await.unwrap(), MemoryCount::default());
        assert_eq!(test.store.prune(Some(&tenant("acme")), NOW, later(1)).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn one_memory_or_all_can_be_forgotten() {
    for test in TestMemory::each().await {
        let writer = owner("acme", "writer");
        for text in ["one", "two", "three"] {
            test.remember(&writer, memory(text, NOW)).await;
        }
        let two = ForgetSelection::One(ContentHash::from_content(b"two"));
        assert_eq!(test.recall(&writer, "two", 5, 0.9).await.len(), 1);
        assert_eq!(test.store.forget(&writer, &two).await.unwrap(), 1);
        assert_eq!(test.store.forget(&writer, &two).await.unwrap(), 0);
        assert_eq!(test.recall(&writer, "two", 5, 0.9).await, []);
        assert_eq!(test.texts(&writer, NOW).await.len(), 2);
        assert_eq!(test.store.forget(&writer, &ForgetSelection::All).await.unwrap(), 2);
        assert_eq!(test.texts(&writer, NOW).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_memories_for_a_user_or_of_a_tenant_are_forgotten_for_all_agents() {
    for test in TestMemory::each().await {
        let of = |name: &str, text: &str| Memory { user: Some(principal(name)), ..memory(text, NOW) };
        for agent in ["writer", "reader"] {
            let all =
                vec![of("alice", "one of alice"), of("bob", "one of bob"), Memory { user: None, ..memory("old", NOW) }];
            test.remember_all(&owner("acme", agent), all, OWNER_MAX_DEFAULT).await;
        }
        test.remember(&owner("other", "writer"), memory("of another tenant", NOW)).await;
        let (acme, alice) = (tenant("acme"), principal("alice"));
        let of_issuer = PrincipalId { issuer: protocol::Issuer::new("login").unwrap(), ..alice.clone() };
        assert_eq!(test.store.forget_of_tenant(&acme, Some(&of_issuer)).await.unwrap(), 0);
        assert_eq!(test.store.forget_of_tenant(&acme, Some(&alice)).await.unwrap(), 2);
        let mut texts = test.texts(&owner("acme", "writer"), NOW).await;
        texts.sort();
        assert_eq!(texts, ["old", "one of bob"]);
        assert_eq!(test.store.forget_of_tenant(&acme, None).await.unwrap(), 4);
        assert_eq!(test.texts(&owner("acme", "reader"), NOW).await, Vec::<String>::new());
        assert_eq!(test.texts(&owner("other", "writer"), NOW).await.len(), 1);
    }
}

#[tokio::test]
async fn what_is_older_than_its_retention_is_pruned_for_a_tenant_or_for_all() {
    for test in TestMemory::each().await {
        for name in ["acme", "other"] {
            let all = vec![memory("old", NOW), part("guide.md", "old part", NOW), memory("new", later(2))];
            test.remember_all(&owner(name, "writer"), all, OWNER_MAX_DEFAULT).await;
        }
        assert_eq!(test.store.prune(Some(&tenant("acme")), later(1), NOW).await.unwrap(), 2);
        assert_eq!(test.texts(&owner("acme", "writer"), NOW).await, ["new"]);
        assert_eq!(test.texts(&owner("other", "writer"), NOW).await.len(), 3);
        assert_eq!(test.store.prune(None, later(1), NOW).await.unwrap(), 2);
        assert_eq!(test.texts(&owner("other", "writer"), NOW).await, ["new"]);
    }
}

#[tokio::test]
async fn a_memory_survives_a_crash() {
    let stores = TestStores::sqlite().await;
    let writer = owner("acme", "writer");
    stores.stores.memory.remember(&writer, &batch(vec![memory("stored", NOW)], 10), NOW).await.unwrap();
    let test = TestMemory::of(stores.crash_and_reopen().await);
    assert_eq!(test.recall(&writer, "stored", 5, 0.9).await.len(), 1);
}

#[tokio::test]
async fn a_closed_store_remembers_nothing() {
    for test in TestMemory::each().await {
        let Some(stores) = &test.stores else { continue };
        stores.stores.maintenance.close(NOW).await.unwrap();
        let writer = owner("acme", "writer");
        assert!(test.store.remember(&writer, &batch(vec![memory("late", NOW)], 10), NOW).await.is_err());
        assert!(test.store.forget(&writer, &ForgetSelection::All).await.is_err());
    }
}
