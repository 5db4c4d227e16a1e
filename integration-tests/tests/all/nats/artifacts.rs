//! Uploads of artifacts by chunks.

use anyhow::{Context, Result};
use async_nats::{HeaderMap, Message};
use greenroom_protocol::{ArtifactRef, ErrorCode, Reply, Status};
use serde_json::{Value, json};

use super::fixture::{Caller, ECHO, WAIT_MAX};
use super::pod_and_caller;

/// Opens an upload, and returns the subject of its chunks.
async fn open(caller: &Caller) -> Result<String> {
    let body = json!({ "name": "x.txt", "media_type": "text/plain" }).to_string();
    let opened: Value = serde_json::from_slice(&caller.message("artifacts.upload", body).await?.payload)?;
    Ok(opened["subject"].as_str().with_context(|| opened.to_string())?.to_owned())
}

async fn send(caller: &Caller, subject: &str, number: u64, chunk: Vec<u8>) -> Result<Message> {
    let mut headers = HeaderMap::new();
    headers.insert("Greenroom-Chunk", number.to_string());
    let request = async_nats::Request::new().headers(headers).payload(chunk.into()).timeout(Some(WAIT_MAX));
    Ok(caller.client.send_request(subject.to_owned(), request).await?)
}

fn code(message: &Message) -> Option<ErrorCode> {
    let reply: Reply = serde_json::from_slice(&message.payload).ok()?;
    reply.error.map(|cause| cause.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_is_uploaded_in_chunks_and_used_as_an_input() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_upload").await?;
    let subject = open(&caller).await?;
    for number in 0..3 {
        let acknowledged = send(&caller, &subject, number, vec![b'a' + number as u8; 400_000]).await?;
        assert_eq!(serde_json::from_slice::<Value>(&acknowledged.payload)?, json!({ "chunk": number }));
    }
    // A chunk whose acknowledgement was lost is sent again.
    let repeated = send(&caller, &subject, 2, vec![b'c'; 400_000]).await?;
    assert_eq!(serde_json::from_slice::<Value>(&repeated.payload)?, json!({ "chunk": 2 }));
    let artifact: ArtifactRef = serde_json::from_slice(&send(&caller, &subject, 3, Vec::new()).await?.payload)?;
    assert_eq!((artifact.bytes, artifact.name.as_str()), (1_200_000, "x.txt"));
    let body = json!({ "inputs": { "text": artifact.to_json() } });
    let reply = caller.request(&format!("agents.{ECHO}.execute"), &body).await?;
    assert!(matches!(reply.status, Status::Success | Status::Failed), "{reply:?}");
    assert!(send(&caller, &subject, 4, vec![1]).await.is_err(), "nothing receives further chunks");
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_out_of_order_ends_the_upload_and_stores_nothing() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_upload_order").await?;
    let subject = open(&caller).await?;
    send(&caller, &subject, 0, vec![1; 10]).await?;
    assert_eq!(code(&send(&caller, &subject, 2, vec![2; 10]).await?), Some(ErrorCode::InvalidRequest));
    assert!(send(&caller, &subject, 1, vec![2; 10]).await.is_err());
    let large = open(&caller).await?;
    assert_eq!(code(&send(&caller, &large, 0, vec![1; 600_000]).await?), Some(ErrorCode::PayloadTooLarge));
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_a_credential_is_not_opened() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_upload_denied").await?;
    let body = json!({ "name": "x.txt", "media_type": "text/plain" }).to_string();
    for denied in [caller.without_headers(), caller.with_key("planted-unknown-key")] {
        assert_eq!(denied.code("artifacts.upload", &body).await?, ErrorCode::Unauthenticated);
    }
    pod.pod.shutdown().await;
    Ok(())
}
