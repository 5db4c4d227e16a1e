//! The service is found and inspected by the protocol of NATS micro services.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt as _;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::wait::wait_until;
use serde_json::Value;

use super::fixture::{Caller, WAIT_MAX, start};

/// What all instances reply to a message of discovery.
async fn discover(caller: &Caller, subject: &str) -> Result<Vec<Value>> {
    let inbox = caller.client.new_inbox();
    let mut replies = caller.client.subscribe(inbox.clone()).await?;
    caller.client.publish_with_reply(subject.to_owned(), inbox, "".into()).await?;
    let mut all = Vec::new();
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(500), replies.next()).await {
        if message.status.is_none() {
            all.push(serde_json::from_slice(&message.payload)?);
        }
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_found_with_its_endpoints_schemas_and_counts() -> Result<()> {
    let server = NatsServer::start().await?;
    let pod = start(&server.url(), "greenroom").await?;
    let caller = Caller::connect(&server.url(), "greenroom").await?;
    caller.echo("x").await?;
    caller.code("agents.no_agent.execute", r#"{"inputs":{}}"#).await?;
    let pings = discover(&caller, "$SRV.PING").await?;
    let [ping] = pings.as_slice() else { panic!("{pings:?}") };
    assert_eq!(
        (ping["name"].as_str(), ping["type"].as_str()),
        (Some("greenroom"), Some("io.nats.micro.v1.ping_response"))
    );
    let id = ping["id"].as_str().context("an id")?;
    for subject in ["$SRV.INFO".to_owned(), "$SRV.INFO.greenroom".to_owned(), format!("$SRV.INFO.greenroom.{id}")] {
        let infos = discover(&caller, &subject).await?;
        let [info] = infos.as_slice() else { panic!("{subject}: {infos:?}") };
        let endpoints = info["endpoints"].as_array().context("endpoints")?;
        let agents = endpoints.iter().find(|endpoint| endpoint["subject"] == "greenroom.v1.agents.*.execute");
        let agents = agents.context("the endpoint of agents")?;
        assert_eq!(agents["queue_group"], "greenroom");
        let schema: Value = serde_json::from_str(agents["metadata"]["request_schema"].as_str().context("a schema")?)?;
        assert!(schema["properties"]["inputs"].is_object(), "{schema}");
    }
    let counted = || async {
        let stats = discover(&caller, "$SRV.STATS.greenroom").await.ok()?;
        let endpoints = stats.first()?["endpoints"].as_array()?.clone();
        let agents = endpoints.into_iter().find(|endpoint| endpoint["name"] == "agents_execute")?;
        (agents["num_requests"] == 2).then_some(agents)
    };
    let agents = wait_until("both messages are counted", WAIT_MAX, counted).await?;
    assert_eq!((agents["num_errors"].as_u64(), agents["last_error"].as_str()), (Some(1), Some("404:unknown_agent")));
    assert!(agents["average_processing_time"].as_u64() > Some(0), "{agents}");
    pod.pod.shutdown().await;
    assert_eq!(discover(&caller, "$SRV.PING").await?.len(), 0, "a pod that has ended is not found");
    Ok(())
}
