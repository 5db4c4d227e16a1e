//! The ways to execute the agent that returns its input, with a body of 1 KiB; and a request to a responder that does
//! nothing, to compare with. Every caller checks the value that returns.

use std::time::Duration;

use anyhow::{Context, ensure};
use async_nats::HeaderMap;
use greenroom_client::Client;
use greenroom_integration_tests::nats_pod::ADMIN_KEY;
use greenroom_protocol::{Json, Reply, Status, Values};
use serde_json::json;

use crate::http_connection::HttpConnections;

/// The agent, which the definitions of a closed loop have.
pub(crate) const AGENT: &str = "echo_agent";
/// The subject of the responder.
pub(crate) const RAW_SUBJECT: &str = "bench.raw";
/// Bytes of the body of a request.
const BODY_BYTES: usize = 1_024;
/// Bytes of a body without the text: `{"inputs":{"text":""}}`.
const BODY_BYTES_MIN: usize = 22;
/// Longest wait for one reply.
const REPLY_WAIT_MAX: Duration = Duration::from_secs(60);

/// Makes one call after the other.
pub(crate) enum Caller {
    /// A message to a responder that returns it: no identity, no policy, no audit.
    Raw(async_nats::Client),
    /// A message to a pod, as any program with a NATS library sends it; its reply is one message.
    Message { client: async_nats::Client, headers: HeaderMap },
    /// The client of Greenroom: the reply has frames.
    Client(Client),
    /// A request to a bridge.
    Http(HttpConnections),
}

impl Caller {
    /// Sends messages to pods with the key of the administrator.
    pub(crate) fn message(client: async_nats::Client) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("Authorization", format!("ApiKey {ADMIN_KEY}"));
        Self::Message { client, headers }
    }

    /// Makes a call whose value begins with this name; no other call may have it.
    pub(crate) async fn call(&self, name: &str) -> anyhow::Result<()> {
        const TEXT_BYTES: usize = BODY_BYTES - BODY_BYTES_MIN;
        let text = format!("{name:x<TEXT_BYTES$}");
        match self {
            Self::Raw(client) => {
                let body = body(&text);
                let request = async_nats::Request::new().payload(body.clone().into()).timeout(Some(REPLY_WAIT_MAX));
                let message = client.send_request(RAW_SUBJECT, request).await?;
                ensure!(*message.payload == *body.as_bytes(), "the responder has returned another message");
                Ok(())
            }
            Self::Message { client, headers } => {
                let request = async_nats::Request::new().headers(headers.clone()).payload(body(&text).into());
                let subject = format!("greenroom.v1.agents.{AGENT}.execute");
                let message = client.send_request(subject, request.timeout(Some(REPLY_WAIT_MAX))).await?;
                check_reply(&message.payload, &text)
            }
            Self::Client(client) => check(&client.agent(AGENT).input("text", &text).execute().await?, &text),
            Self::Http(connections) => {
                let response = connections.send(&http_request(&body(&text))).await?;
                ensure!(response.status == 200, "the status is {}", response.status);
                check_reply(&response.body, &text)
            }
        }
    }
}

fn body(text: &str) -> String {
    json!({ "inputs": { "text": text } }).to_string()
}

fn http_request(body: &str) -> Vec<u8> {
    let head = format!(
        "POST /v1/agents/{AGENT}/execute HTTP/1.1\r\nHost: localhost\r\nAuthorization: ApiKey {ADMIN_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

fn check_reply(document: &[u8], text: &str) -> anyhow::Result<()> {
    let reply: Reply = serde_json::from_slice(document).context("a reply")?;
    ensure!(reply.status == Status::Success, "{:?}", reply.error);
    check(&reply.outputs, text)
}

fn check(outputs: &Values, text: &str) -> anyhow::Result<()> {
    let output = outputs.get("text").and_then(Json::as_str);
    ensure!(output == Some(text), "{text} was sent, {output:?} returned");
    Ok(())
}
