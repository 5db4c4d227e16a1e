//! The memories of agents, each of which has one in each tenant.

use anyhow::{Result, ensure};
use greenroom_integration_tests::test_pod::StoreKind;
use greenroom_protocol::request::MemoryRead;
use greenroom_protocol::{AgentId, ContentHash, Json, Request};
use serde_json::json;

use super::{client, request, start};

#[tokio::test]
async fn memories_of_another_tenant_are_neither_read_nor_forgotten() -> Result<()> {
    for store in [StoreKind::Memory, StoreKind::Normal] {
        let pod = start(store).await?;
        let agent = AgentId::new("writer")?;
        let (alice, mallory) = (client(&pod, "alice")?, client(&pod, "mallory")?);
        // Both have a document of the same name.
        for (own, text) in [(&alice, "secret of acme"), (&mallory, "secret of globex")] {
            let reply = own.ingest(agent.clone(), "guide.md".to_owned(), text.to_owned()).await?;
            ensure!(reply.error.is_none(), "{reply:?}");
            assert_eq!((&reply.outputs["parts"], &reply.outputs["replaced"]), (&json!(1), &json!(0)));
        }
        let read = async |user: &str, query: Option<&str>| -> Result<Json> {
            let (agent, query) = (agent.clone(), query.map(str::to_owned));
            let reply = request(&pod, user, Request::MemoryRead(MemoryRead { agent, query, limit: 0, count: false }));
            Ok(reply.await?.outputs["memories"].clone())
        };
        let listed = read("alice", None).await?;
        assert!(listed.to_string().contains("secret of acme") && !listed.to_string().contains("globex"), "{listed}");
        let id: ContentHash = serde_json::from_value(listed[0]["memory_id"].clone())?;
        let foreign = [read("mallory", None).await?, read("mallory", Some("secret of acme")).await?];
        assert!(foreign[0].to_string().contains("secret of globex"), "{foreign:?}");
        assert!(foreign.iter().all(|rows| !rows.to_string().contains("acme")), "{foreign:?}");
        assert_eq!(mallory.forget(agent.clone(), Some(id)).await?.outputs["forgotten"], json!(0));
        // By the name of the document, only that of the own tenant is forgotten; and so is all.
        let forgotten = mallory.forget_source(agent.clone(), "guide.md".to_owned()).await?;
        assert_eq!(forgotten.outputs["forgotten"], json!(1));
        assert_eq!(mallory.forget(agent.clone(), None).await?.outputs["forgotten"], json!(0));
        assert_eq!(read("alice", None).await?, listed);
        assert_eq!(alice.forget(agent.clone(), Some(id)).await?.outputs["forgotten"], json!(1));
        pod.pod.shutdown().await;
    }
    Ok(())
}
