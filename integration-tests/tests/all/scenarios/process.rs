//! The process itself: what it serves without a credential, what it refuses to read, and what it reports of itself.

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::http_pod::{ADMIN_KEY, exchange, send_to};

use super::{ECHO, shared};

#[tokio::test]
async fn the_probes_the_document_and_the_page_need_no_credential() -> Result<()> {
    let up = shared().await?;
    for (path, media_type) in [
        ("/health", "application/json"),
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
        ("/openapi.json", "application/json"),
        ("/metrics", "text/plain"),
        ("/", "text/html"),
    ] {
        let response = send_to(up.addr, &format!("GET {path}"), None, &[], "").await?;
        let found = response.header("content-type").context("a media type")?;
        assert!(response.status == 200 && found.starts_with(media_type), "{path}: {:?}", response.head);
    }
    Ok(())
}

#[tokio::test]
async fn the_health_check_of_an_image_reads_the_probe_of_the_process() -> Result<()> {
    let up = shared().await?;
    let addr = up.addr.to_string();
    let checked = up.terminal.run(&["healthcheck", "--addr", &addr, "--path", "/ping"]).await?.expect_success()?;
    assert_eq!(checked["healthy"], true);
    Ok(())
}

#[tokio::test]
async fn a_body_of_thirty_megabytes_is_refused_and_the_process_serves_on() -> Result<()> {
    let up = shared().await?;
    let head = format!(
        "POST /v1/agents/{ECHO}/execute HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: ApiKey {ADMIN_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 31457280\r\n\r\n",
        up.addr
    );
    let refused = exchange(up.addr, head.as_bytes()).await?;
    assert_eq!((refused.status, &refused.json()?["code"]), (413, &"payload_too_large".into()));
    let executed = up.post(&format!("/v1/agents/{ECHO}/execute"), &[], r#"{"inputs":{"text":"hello"}}"#).await?;
    assert_eq!(executed.status, 200, "{executed:?}");
    Ok(())
}

#[tokio::test]
async fn no_key_is_in_the_log_or_in_the_metrics() -> Result<()> {
    let up = shared().await?;
    let executed = up.post(&format!("/v1/agents/{ECHO}/execute"), &[], r#"{"inputs":{"text":"hello"}}"#).await?;
    assert_eq!(executed.status, 200, "{executed:?}");
    let metrics = up.get("/metrics").await?.text();
    ensure!(metrics.contains("http_responses_total"), "{metrics}");
    for text in [metrics, up.log()] {
        ensure!(!text.contains("planted-key") && !text.contains("planted-secret"), "{text}");
    }
    Ok(())
}
