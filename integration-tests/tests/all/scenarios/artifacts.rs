//! Artifacts: content that is stored by one interface is read by the others, and is an input of a call.

use anyhow::{Context, Result};
use greenroom_integration_tests::http_pod::{ADMIN_KEY, send_to};
use greenroom_protocol::{ArtifactRef, ContentHash, ErrorCode};

use super::{ECHO, code, shared};

#[tokio::test]
async fn content_that_is_stored_over_http_is_read_by_a_command() -> Result<()> {
    let up = shared().await?;
    let stored = up.post("/v1/artifacts?name=note.txt", &["Content-Type: text/plain"], "over http").await?;
    assert_eq!(stored.status, 201, "{stored:?}");
    let document = stored.json()?;
    let hash = document["hash"].as_str().context("a hash")?;
    up.terminal.run(&["artifacts", "get", hash, "--out", "from_http.txt"]).await?.expect_success()?;
    assert_eq!(std::fs::read_to_string(up.terminal.folder().join("from_http.txt"))?, "over http");
    Ok(())
}

#[tokio::test]
async fn content_that_is_stored_over_nats_is_read_over_http_in_ranges() -> Result<()> {
    let up = shared().await?;
    let content: String = (0..200_000).map(|number| format!("{number:08}")).collect();
    let stored = up.nats(ADMIN_KEY).await?.upload("numbers.txt", "text/plain", content.clone()).await?;
    let line = format!("GET /v1/artifacts/{}", stored.hash);
    let whole = send_to(up.addr, &line, Some(ADMIN_KEY), &[], "").await?;
    assert!(whole.status == 200 && whole.body == content.as_bytes(), "{:?}", whole.head);
    let part = send_to(up.addr, &line, Some(ADMIN_KEY), &["Range: bytes=1048570-1048583"], "").await?;
    assert_eq!((part.status, part.text().as_str()), (206, &content[1_048_570..1_048_584]));
    Ok(())
}

#[tokio::test]
async fn the_same_content_has_one_reference_which_an_agent_receives_as_its_text() -> Result<()> {
    let up = shared().await?;
    let (http, nats) = (up.http(ADMIN_KEY)?, up.nats(ADMIN_KEY).await?);
    let first: ArtifactRef = http.upload("letter.txt", "text/plain", "dear reader").await?;
    let second = nats.upload("letter.txt", "text/plain", "dear reader").await?;
    assert_eq!(first, second);
    for client in [http, nats] {
        let outputs = client.agent(ECHO).input("text", first.to_json()).execute().await?;
        assert_eq!(outputs["text"], "dear reader");
    }
    Ok(())
}

#[tokio::test]
async fn content_that_was_never_stored_is_refused_over_every_interface() -> Result<()> {
    let up = shared().await?;
    let hash = ContentHash::from_content(b"never stored");
    assert_eq!(up.get(&format!("/v1/artifacts/{hash}")).await?.status, 404);
    let refused = up.terminal.run(&["artifacts", "get", &hash.to_string(), "--out", "none.txt"]).await?;
    assert_eq!(refused.expect_error(2)?["code"], "unknown_record");
    let over_nats = up.nats(ADMIN_KEY).await?.artifact(hash, 0).await?;
    assert_eq!(over_nats.error.map(|cause| cause.code), Some(ErrorCode::UnknownRecord));
    let missing = ArtifactRef { hash, bytes: 12, media_type: "text/plain".to_owned(), name: "none.txt".to_owned() };
    let refused = up.http(ADMIN_KEY)?.agent(ECHO).input("text", missing.to_json()).execute().await;
    assert!(code(refused).is_some());
    Ok(())
}
