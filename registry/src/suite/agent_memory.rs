//! Agent memory: stored once, found by similarity, bounded, separate for each owner.

use protocol::AgentId;

use super::*;
use crate::agent_memory::embedder::hashing_embedder;
use crate::agent_memory::{MEMORIES_MAX, Memory, MemoryMatch, MemoryOwner, VectorQuery};

fn owner(tenant_name: &str, agent: &str) -> MemoryOwner {
    MemoryOwner { tenant: tenant(tenant_name), agent: AgentId::new(agent).unwrap() }
}

fn memory(text: &str, at: Timestamp) -> Memory {
    Memory { id: ContentHash::from_content(text.as_bytes()), text: text.into(), at, expires_at: None }
}

impl TestStores {
    async fn remember(&self, owner: &MemoryOwner, memory: Memory) {
        let vector = hashing_embedder().embed(&memory.text).await.unwrap();
        self.stores.memory.remember(owner, memory, &vector, NOW).await.unwrap();
    }

    async fn recall(&self, owner: &MemoryOwner, text: &str, limit: usize, min_similarity: f32) -> Vec<MemoryMatch> {
        let vector = hashing_embedder().embed(text).await.unwrap();
        self.stores.memory.recall(owner, VectorQuery { vector: &vector, limit, min_similarity }, NOW).await.unwrap()
    }

    async fn texts(&self, owner: &MemoryOwner, now: Timestamp) -> Vec<String> {
        let all = self.stores.memory.list(owner, MEMORIES_MAX, now).await.unwrap();
        all.into_iter().map(|memory| memory.text).collect()
    }
}

#[tokio::test]
async fn the_most_similar_memory_is_first_and_dissimilar_ones_do_not_match() {
    for stores in TestStores::each().await {
        let writer = owner("acme", "writer");
        let texts = ["revenue of the northern region fell", "revenue of the southern region rose", "soup with leek"];
        for (minute, text) in texts.iter().enumerate() {
            stores.remember(&writer, memory(text, NOW.saturating_add(MINUTE * u32::try_from(minute).unwrap()))).await;
        }
        let matches = stores.recall(&writer, "the northern region's revenue", 5, 0.3).await;
        let found: Vec<_> = matches.iter().map(|found| found.memory.text.as_str()).collect();
        assert_eq!(found, [texts[0], texts[1]]);
        assert_eq!(stores.recall(&writer, "the northern region's revenue", 1, 0.3).await.len(), 1);
        assert_eq!(stores.recall(&writer, "", 5, 0.3).await, []);
        assert_eq!(stores.texts(&writer, NOW).await, [texts[2], texts[1], texts[0]]);
        assert_eq!(stores.stores.memory.list(&writer, 1, NOW).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn each_agent_and_tenant_has_a_memory_of_its_own() {
    for stores in TestStores::each().await {
        stores.remember(&owner("acme", "writer"), memory("a secret of acme", NOW)).await;
        for other in [owner("other", "writer"), owner("acme", "reader")] {
            assert_eq!(stores.recall(&other, "a secret of acme", 5, 0.0).await, []);
            assert_eq!(stores.stores.memory.forget(&other, None).await.unwrap(), 0);
        }
        assert_eq!(stores.recall(&owner("acme", "writer"), "a secret of acme", 5, 0.9).await.len(), 1);
    }
}

#[tokio::test]
async fn the_same_execution_is_remembered_once() {
    for stores in TestStores::each().await {
        let writer = owner("acme", "writer");
        let first = memory("first", NOW);
        stores.remember(&writer, first.clone()).await;
        stores.remember(&writer, Memory { text: "second".into(), at: NOW.saturating_add(MINUTE), ..first }).await;
        assert_eq!(stores.texts(&writer, NOW).await, ["first"]);
    }
}

#[tokio::test]
async fn the_oldest_memories_are_evicted() {
    for stores in TestStores::each().await {
        let writer = owner("acme", "writer");
        let all = (0..MEMORIES_MAX + 3).map(|number| {
            let at = Timestamp::from_micros(NOW.as_micros() + i64::try_from(number).unwrap());
            stores.remember(&writer, memory(&format!("memory {number}"), at))
        });
        futures::future::join_all(all).await;
        let texts = stores.texts(&writer, NOW).await;
        assert_eq!(texts.len(), MEMORIES_MAX);
        assert_eq!(texts.first().map(String::as_str), Some("memory 1002"));
        assert_eq!(texts.last().map(String::as_str), Some("memory 3"));
    }
}

#[tokio::test]
async fn a_memory_with_an_expiry_is_not_found_after_it() {
    for stores in TestStores::each().await {
        let writer = owner("acme", "writer");
        let expires_at = Some(NOW.saturating_add(MINUTE));
        stores.remember(&writer, Memory { expires_at, ..memory("for a minute", NOW) }).await;
        assert_eq!(stores.texts(&writer, NOW).await.len(), 1);
        assert_eq!(stores.texts(&writer, NOW.saturating_add(MINUTE)).await, Vec::<String>::new());
        let vector = hashing_embedder().embed("for a minute").await.unwrap();
        let query = VectorQuery { vector: &vector, limit: 5, min_similarity: 0.0 };
        assert_eq!(stores.stores.memory.recall(&writer, query, NOW.saturating_add(MINUTE)).await.unwrap(), []);
    }
}

#[tokio::test]
async fn one_memory_or_all_can_be_forgotten() {
    for stores in TestStores::each().await {
        let writer = owner("acme", "writer");
        for text in ["one", "two", "three"] {
            stores.remember(&writer, memory(text, NOW)).await;
        }
        let store = &stores.stores.memory;
        assert_eq!(store.forget(&writer, Some(&ContentHash::from_content(b"two"))).await.unwrap(), 1);
        assert_eq!(store.forget(&writer, Some(&ContentHash::from_content(b"two"))).await.unwrap(), 0);
        assert_eq!(stores.texts(&writer, NOW).await.len(), 2);
        assert_eq!(store.forget(&writer, None).await.unwrap(), 2);
        assert_eq!(stores.texts(&writer, NOW).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_memory_survives_a_crash() {
    let stores = TestStores::sqlite().await;
    let writer = owner("acme", "writer");
    stores.remember(&writer, memory("stored", NOW)).await;
    let stores = stores.crash_and_reopen().await;
    assert_eq!(stores.recall(&writer, "stored", 5, 0.9).await.len(), 1);
}

#[tokio::test]
async fn a_closed_store_remembers_nothing() {
    for stores in TestStores::each().await {
        stores.stores.maintenance.close(NOW).await.unwrap();
        let writer = owner("acme", "writer");
        assert!(stores.stores.memory.remember(&writer, memory("late", NOW), &[1.0], NOW).await.is_err());
        assert!(stores.stores.memory.forget(&writer, None).await.is_err());
    }
}
