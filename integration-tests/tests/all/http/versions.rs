//! HTTP/2 beside HTTP/1.1 on one port: without TLS, a client that knows that the bridge has it begins with it.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_protocol::Json;
use reqwest::{Client, Version};
use serde_json::json;

use super::{ECHO, WAIT_MAX, start};

/// More than a browser sends at once over HTTP/1.1.
const CALLS: usize = 32;

/// Calls the agent with a number, and fails unless it returns the same one.
async fn call(client: &Client, address: &str, number: usize) -> Result<()> {
    let request = client.post(format!("{address}/v1/agents/{ECHO}/execute"));
    let request = request.header("Authorization", format!("ApiKey {ADMIN_KEY}"));
    let body = json!({ "inputs": { "text": number.to_string() } }).to_string();
    let response = request.header("Content-Type", "application/json").body(body).send().await?;
    assert_eq!((response.version(), response.status().as_u16()), (Version::HTTP_2, 200));
    let reply: Json = serde_json::from_str(&response.text().await?)?;
    let text = reply["outputs"]["text"].as_str().context("a text")?;
    ensure!(text == number.to_string(), "the reply to call {number} is {reply}");
    Ok(())
}

#[tokio::test]
async fn many_calls_share_one_connection_over_http_2() -> Result<()> {
    let (pod, _definitions) = start().await?;
    // It fails if another test has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().http2_prior_knowledge().no_proxy().timeout(WAIT_MAX).build()?;
    let address = format!("http://{}", pod.addr);
    call(&client, &address, 0).await?;
    try_join_all((1..=CALLS).map(|number| call(&client, &address, number))).await?;
    let metrics = client.get(format!("{address}/metrics")).send().await?.text().await?;
    ensure!(metrics.contains("\nhttp_connections_open 1\n"), "the calls do not share a connection: {metrics}");
    Ok(())
}
