//! The tokens of an issuer and the secret that it shares with the pods are in nothing that a process writes or sends:
//! neither in the log at its most detailed level, in errors, in the audit and in the database, nor in metrics.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use greenroom_integration_tests::http_pod::send_to;
use greenroom_integration_tests::up_process::{SETTINGS, UpProcess};
use serde_json::json;

use super::fixture::{ECHO, WAIT_MAX};
use crate::issuer::{self, SigningKey, claims, refused_tokens, sign, token};
use crate::secrets::files_with_key;

const WORKFLOW: &str = "two_steps";

async fn start() -> Result<UpProcess> {
    UpProcess::start(|terminal, definitions| {
        terminal.set_variable("GREENROOM_LOG", "trace");
        terminal.write_file(SETTINGS, issuer::settings("default"))?;
        definitions.write_echo_agent(ECHO)?;
        definitions.write_row_workflow(WORKFLOW, ECHO, 2)
    })
    .await
}

/// Sends requests with a token over HTTP and NATS, and returns what they are replied with.
async fn send(up: &UpProcess, token: &str) -> Result<Vec<String>> {
    let header = format!("Authorization: Bearer {token}");
    let body = json!({ "inputs": { "text": "hello" } }).to_string();
    let mut texts = Vec::new();
    for (line, body) in [
        (format!("POST /v1/agents/{ECHO}/execute"), body.as_str()),
        (format!("POST /v1/workflows/{WORKFLOW}/run"), body.as_str()),
        (format!("POST /v1/agents/{ECHO}/execute"), "{"),
        ("GET /v1/runs/none".to_owned(), ""),
        // A caller may confuse it with the token of a stream of events.
        (format!("GET /v1/runs/none/events?token={token}"), ""),
    ] {
        let headers: &[&str] = if line.contains("?token=") { &[] } else { &[&header] };
        let response = send_to(up.addr, &line, None, headers, body).await?;
        texts.push(format!("{}{}", response.head, response.text()));
    }
    let client = async_nats::connect(up.nats.url()).await?;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Authorization", format!("Bearer {token}").as_str());
    let request = async_nats::Request::new().headers(headers).payload(body.into()).timeout(Some(WAIT_MAX));
    let message = client.send_request(format!("greenroom.v1.agents.{ECHO}.execute"), request).await?;
    texts.push(format!("{:?}{}", message.headers, String::from_utf8_lossy(&message.payload)));
    Ok(texts)
}

/// The signature, which is enough for a caller who knows the claims; the whole token if it has none.
fn secret_part(token: &str) -> &str {
    token.rsplit('.').next().filter(|signature| !signature.is_empty()).unwrap_or(token)
}

#[tokio::test]
async fn no_token_and_no_secret_of_an_issuer_is_written_or_sent() -> Result<()> {
    let up = start().await?;
    let mut tokens = vec![
        token("planted_alice", "admin")?,
        sign(SigningKey::Secret, "secret", &claims("planted_bob", "admin"))?,
        token("planted_carol", "none")?,
    ];
    tokens.extend(refused_tokens()?.into_iter().map(|token| token.text));
    let mut texts = Vec::new();
    for token in &tokens {
        texts.extend(send(&up, token).await?);
    }
    ensure!(texts.iter().any(|text| text.contains("\"hello\"")), "a valid token is accepted: {texts:?}");
    texts.push(up.get("/metrics").await?.text());
    for words in [["config", "check"], ["audit", "list"], ["runs", "list"], ["keys", "list"], ["db", "check"]] {
        up.terminal.run(&words).await?;
    }
    let log = up.log();
    ensure!(log.contains("TRACE") && log.contains("a token was refused"), "the log has every line");
    up.terminate().await?;
    let secret = issuer::secret()?;
    let planted: BTreeSet<&str> = tokens.iter().map(|token| secret_part(token)).chain([secret.as_str()]).collect();
    ensure!(planted.len() > 10, "{planted:?}");
    for planted in planted {
        let found = texts.iter().find(|text| text.contains(planted));
        ensure!(found.is_none(), "{planted} is in {found:?}");
        let mut files = Vec::new();
        files_with_key(up.terminal.folder(), planted, &mut files);
        ensure!(files.is_empty(), "{planted} is in {files:?}");
    }
    Ok(())
}
