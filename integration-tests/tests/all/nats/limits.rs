//! Bounds: a reply that is larger than the server accepts, a request that is larger than a pod accepts, more messages than
//! a pod serves at once, and readers that do not read.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{ArtifactRef, ErrorCode, Json, Status, UserId};
use serde_json::json;

use super::fixture::{Caller, ECHO, SILENT, TALKER, WAIT_MAX, shared_url, start, start_with};

/// The content of an artifact, by requests for its parts.
async fn fetch(caller: &Caller, artifact: &ArtifactRef) -> Result<(Vec<u8>, u32)> {
    let (mut content, mut parts) = (Vec::new(), 0);
    loop {
        let query = json!({ "query": "artifact", "verb": "query", "hash": artifact.hash, "after": content.len() });
        let reply = caller.request("requests", &json!({ "version": 1, "request": query })).await?;
        anyhow::ensure!(reply.status == Status::Success, "{reply:?}");
        content.extend(STANDARD.decode(reply.outputs["content"].as_str().context("a part")?)?);
        parts += 1;
        if reply.outputs["next"].is_null() {
            return Ok((content, parts));
        }
        assert_eq!(reply.outputs["next"], content.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_too_large_for_a_message_becomes_an_artifact() -> Result<()> {
    let server = NatsServer::start_with("max_payload: 8192\n").await?;
    let pod = start(&server.url(), "greenroom").await?;
    let caller = Caller::connect(&server.url(), "greenroom").await?;
    let text = "x".repeat(7_000);
    let reply = caller.echo(&text).await?;
    assert_eq!(reply.status, Status::Success, "{reply:?}");
    let artifact = ArtifactRef::from_json(&reply.outputs["text"]).context("a reference")?;
    assert_eq!(artifact.bytes, 7_000);
    let (content, parts) = fetch(&caller, &artifact).await?;
    assert!(content == text.as_bytes() && parts > 1, "{parts} parts");
    // A small reply is as it was.
    assert_eq!(caller.echo("small").await?.outputs["text"], "small");
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_large_artifact_is_cut_to_what_a_message_holds() -> Result<()> {
    let server = NatsServer::start_with("max_payload: 65536\n").await?;
    let pod = start(&server.url(), "greenroom").await?;
    let caller = Caller::connect(&server.url(), "greenroom").await?;
    let bytes: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    let user = UserId::new("admin")?;
    let stored = pod.pod.ingress().store_artifact(&user, bytes.clone(), "text/plain", "x.txt").await?;
    let (content, parts) = fetch(&caller, &stored).await?;
    assert!(content == bytes && parts > 4, "{parts} parts");
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_has_a_code() -> Result<()> {
    let server = NatsServer::start_with("max_payload: 33554432\n").await?;
    let pod = start(&server.url(), "greenroom").await?;
    let caller = Caller::connect(&server.url(), "greenroom").await?;
    let body = json!({ "inputs": { "text": "x".repeat(17 * 1024 * 1024) } }).to_string();
    assert_eq!(caller.code(&format!("agents.{ECHO}.execute"), &body).await?, ErrorCode::PayloadTooLarge);
    assert_eq!(caller.echo("x").await?.status, Status::Success);
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_bound_is_refused_at_once_and_served_later() -> Result<()> {
    let url = shared_url()?;
    let change = |config: &mut greenroom_supervisor::config::Config| {
        if let Some(nats) = &mut config.nats {
            nats.requests_max = 2;
        }
    };
    let pod = start_with(&url, "t_overload", change).await?;
    let caller = Caller::connect(&url, "t_overload").await?;
    let silent = format!("agents.{SILENT}.execute");
    let body = json!({ "inputs": { "text": "x" } });
    let patient = caller.with("Greenroom-Timeout", "3000");
    let waiting = async { tokio::try_join!(patient.request(&silent, &body), patient.request(&silent, &body)) };
    let refused = async {
        let is_full = || async { pod.shows("nats_requests_under_way 2").then_some(()) };
        wait_until("two messages are under way", WAIT_MAX, is_full).await?;
        let refused = caller.echo("x").await?.error.context("a refusal")?;
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::Overloaded, Some(1_000)));
        anyhow::Ok(())
    };
    let (ended, ()) = tokio::try_join!(waiting, refused)?;
    assert_eq!((ended.0.status, ended.1.status), (Status::TimedOut, Status::TimedOut));
    assert!(pod.shows("nats_requests{outcome=\"overloaded\"} 1"), "{}", pod.pod.metrics().render());
    let is_served = || async { (caller.echo("x").await.ok()?.status == Status::Success).then_some(()) };
    wait_until("the pod serves again", WAIT_MAX, is_served).await?;
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_do_not_read_slow_no_other_caller() -> Result<()> {
    let url = shared_url()?;
    let pod = start(&url, "t_slow").await?;
    let caller = Caller::connect(&url, "t_slow").await?;
    let body = json!({ "inputs": { "text": "x" } });
    let mut unread = Vec::new();
    for _ in 0..32 {
        let reader = Caller::connect(&url, "t_slow").await?;
        let frames = reader.open(&format!("agents.{TALKER}.execute"), &body).await?;
        unread.push((reader, frames));
    }
    let replies = join_all((0..500).map(|_| caller.echo("x"))).await;
    for reply in replies {
        assert_eq!(reply?.status, Status::Success);
    }
    drop(unread);
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_messages_at_once_have_a_reply_each() -> Result<()> {
    let url = shared_url()?;
    let pod = start(&url, "t_many").await?;
    let caller = Caller::connect(&url, "t_many").await?;
    let replies = join_all((0..3_000).map(|number| {
        let caller = caller.clone();
        async move { anyhow::Ok((number, caller.echo(&number.to_string()).await?)) }
    }))
    .await;
    for reply in replies {
        let (number, reply) = reply?;
        assert_eq!(reply.outputs.get("text"), Some(&Json::from(number.to_string())), "{reply:?}");
    }
    pod.pod.shutdown().await;
    Ok(())
}
