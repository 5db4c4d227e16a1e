//! Agent memory whose connection breaks: each error is one after which a request of a run waits and is repeated, and a
//! repetition changes nothing.

use greenroom_protocol as protocol;
use protocol::{AgentId, ContentHash};

use super::faults::{CUTS, open_by_proxy};
use crate::agent_memory::embedder::EmbedderId;
use crate::agent_memory::vector::UnitVector;
use crate::agent_memory::{LIST_MAX, Memory, MemoryBatch, MemoryOwner, NewMemory};
use crate::error::StoreError;
use crate::suite::postgres::TestDatabase;
use crate::suite::{NOW, tenant};

#[tokio::test]
async fn a_memory_whose_connection_breaks_is_stored_once_when_it_is_stored_again() {
    let database = TestDatabase::migrated().await;
    let (stores, proxy) = open_by_proxy(&database).await;
    let store = &stores.stores.memory;
    let owner = MemoryOwner { tenant: tenant("acme"), agent: AgentId::new("writer").unwrap() };
    for target in ["BEGIN", "INSERT INTO memories", "COMMIT"] {
        for fault in CUTS {
            let text = format!("{target} {fault:?}");
            let id = ContentHash::from_content(text.as_bytes());
            let memory = Memory { id, text: text.clone(), at: NOW, expires_at: None, user: None, source: None };
            let vector = UnitVector::normalized(vec![1.0]).unwrap();
            let batch = MemoryBatch {
                embedder: EmbedderId::hashed(),
                memories: vec![NewMemory { memory, vector }],
                owner_max: 100,
            };
            proxy.fail(&[target], &[fault]);
            let error = store.remember(&owner, &batch, NOW).await.unwrap_err();
            assert_eq!(error.is_outage(), target != "COMMIT", "{text}: {error}");
            assert!(StoreError::is_outage_cause(&error.cause()), "{text}: {error}");
            store.remember(&owner, &batch, NOW).await.unwrap();
        }
    }
    assert_eq!(database.count("SELECT count(*) FROM memories").await, 15);
    assert_eq!(proxy.failed(), 15);
    for fault in CUTS {
        proxy.fail(&["FROM memories"], &[fault]);
        let error = store.list(&owner, LIST_MAX, NOW).await.unwrap_err();
        assert!(error.is_outage(), "{fault:?}: {error}");
        assert_eq!(store.list(&owner, LIST_MAX, NOW).await.unwrap().len(), 15, "{fault:?}");
    }
}
