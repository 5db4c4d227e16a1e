//! Agents that are HTTP services, through the whole pipeline of a pod with a scripted server on loopback: what the server
//! receives, and what becomes of each response that it may send.

use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use greenroom_client::CallParams;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{TestPod, start_configured_pod, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{AgentId, MicroUsd, Reply, Status, WorkflowId};
use greenroom_runtimes::model_server::{ModelServer, RecordedRequest, Step, response};
use greenroom_supervisor::compose::Overrides;
use greenroom_supervisor::config::outbound::CredentialsConfig;
use greenroom_supervisor::config::{HttpHostConfig, Secret};
use serde_json::json;

mod addresses;
mod responses;

const AGENT: &str = "service_agent";
const SECRET: &str = "a secret of thirty-two bytes ...";
const TOKEN: &str = "token-of-the-host";

/// A service that replies with these outputs.
fn good() -> Vec<Step> {
    vec![Step::Send(response("200 OK", "", r#"{"outputs": {"text": "done"}}"#))]
}

/// A pod with one agent that is a service.
struct ServicePod {
    pod: TestPod,
    _definitions: tempfile::TempDir,
}

impl ServicePod {
    /// Starts a pod whose agent has this address and these further lines of its implementation, and that allows these
    /// hosts.
    async fn start(address: &str, members: &str, hosts: &[(&str, HttpHostConfig)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let definitions = DefinitionsDir::new(folder.path())?;
        definitions.write_agent(
            AGENT,
            "business_ops",
            &format!("runtime: http\n  handler: \"{address}\"\n{members}"),
        )?;
        definitions.write_row_workflow("one_step", AGENT, 1)?;
        let pod = start_configured_pod(Some(folder.path()), Overrides::default(), |config| {
            config.outbound.hosts.extend(hosts.iter().map(|(name, host)| ((*name).to_owned(), host.clone())));
        });
        Ok(Self { pod: Box::pin(pod).await?, _definitions: folder })
    }

    /// Starts a pod for a server on loopback, which it allows.
    async fn for_server(server: &ModelServer, members: &str) -> Result<Self> {
        Self::start(server.url(), members, &[("127.0.0.1", allowed())]).await
    }

    async fn call(&self) -> Result<Reply> {
        let params = CallParams { inputs: text("hello"), ..CallParams::default() };
        Ok(self.pod.admin()?.run_agent(AgentId::new(AGENT)?, params).await?)
    }

    async fn shutdown(self) {
        Box::pin(self.pod.pod.shutdown()).await;
    }
}

/// A host on loopback, with a secret and a header.
fn allowed() -> HttpHostConfig {
    let headers = vec![("Authorization".to_owned(), Secret::new(format!("Bearer {TOKEN}")))];
    HttpHostConfig {
        secret: Some(Secret::new(SECRET)),
        credentials: CredentialsConfig { headers, ..CredentialsConfig::default() },
        allow_private: true,
        internal: false,
    }
}

/// The code of the error of a reply.
fn code(reply: &Reply) -> Option<&'static str> {
    reply.error.as_ref().map(|cause| cause.code.as_str())
}

/// Checks the signature of a request as a service would, without the code of the product.
fn verify_signature(request: &RecordedRequest) -> Result<()> {
    let header = |name: &str| request.headers.get(name).with_context(|| format!("the header {name}"));
    let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
    let encoded = header("webhook-signature")?.strip_prefix("v1,").context("a signature of version 1")?;
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend(&request.content);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    ring::hmac::verify(&key, &signed, &STANDARD.decode(encoded)?).map_err(|_| anyhow::anyhow!("another signature"))?;
    let age = std::time::UNIX_EPOCH.elapsed()?.as_secs().abs_diff(timestamp.parse()?);
    anyhow::ensure!(age < 300 && !id.contains('.'), "{id} {timestamp}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_receives_one_signed_request_and_its_outputs_are_those_of_the_agent() -> Result<()> {
    let server = ModelServer::start(|_| good()).await?;
    let pod = ServicePod::for_server(&server, "  timeout: 30").await?;
    let reply = pod.call().await?;
    assert_eq!((reply.status, &reply.outputs), (Status::Success, &text("done")), "{reply:?}");
    assert_eq!((reply.metadata.model.as_deref(), reply.metadata.cost), (Some("native"), MicroUsd(0)));
    let requests = server.requests();
    let [request] = requests.as_slice() else { panic!("one request: {requests:?}") };
    assert_eq!(request.line, "POST /v1 HTTP/1.1");
    verify_signature(request)?;
    let header = |name: &str| request.headers.get(name).map(String::as_str).unwrap_or_default();
    assert_eq!(header("authorization"), format!("Bearer {TOKEN}"));
    assert_eq!(header("content-type"), "application/json");
    assert!(header("traceparent").starts_with("00-") && header("accept-encoding").is_empty(), "{request:?}");
    assert!(!request.key().is_empty(), "{request:?}");
    let body = &request.body;
    assert_eq!((&body["agent"], &body["inputs"]), (&json!(AGENT), &json!({ "text": "hello" })));
    assert_eq!(body["version"].as_str().map(str::len), Some(64));
    assert!((1..=30_000).contains(&body["deadline_ms"].as_u64().context("a time")?), "{body}");
    assert!(body.get("run").is_none() && body["context"] == json!({}), "{body}");
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_a_run_is_sent_with_its_run() -> Result<()> {
    let server = ModelServer::start(|_| good()).await?;
    let pod = ServicePod::for_server(&server, "  timeout: 30").await?;
    let params = CallParams { inputs: text("hello"), ..CallParams::default() };
    let reply = pod.pod.admin()?.run_workflow(WorkflowId::new("one_step")?, params).await?;
    assert_eq!(reply.status, Status::Success, "{reply:?}");
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].body["run"], json!(reply.id));
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_repetition_has_the_same_key_and_a_valid_signature() -> Result<()> {
    let server = ModelServer::start(|request| match request.number {
        0 => vec![Step::Send(response("500 Internal Server Error", "", "{}"))],
        1 => vec![Step::Reset],
        2 => vec![Step::Send(response("503 Service Unavailable", "retry-after: 0\r\n", "{}"))],
        _ => good(),
    })
    .await?;
    let retry = "  timeout: 30\nretry: { max_attempts: 5, delay: 0.01, backoff: fixed }";
    let pod = ServicePod::for_server(&server, retry).await?;
    let reply = pod.call().await?;
    assert_eq!(reply.status, Status::Success, "{reply:?}");
    let requests = server.requests();
    assert_eq!(requests.len(), 4, "{requests:?}");
    for request in &requests {
        verify_signature(request)?;
        assert_eq!(request.key(), requests[0].key());
        assert_eq!(request.headers["webhook-id"], requests[0].headers["webhook-id"]);
    }
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_capacity_is_called_again_when_it_allows() -> Result<()> {
    let busy = || vec![Step::Send(response("429 Too Many Requests", "retry-after: 1\r\n", r#"{"title":"busy"}"#))];
    let server = ModelServer::start(move |request| if request.number == 0 { busy() } else { good() }).await?;
    let pod = ServicePod::for_server(&server, "  timeout: 30\nretry: { max_attempts: 2, delay: 0.01 }").await?;
    let reply = pod.call().await?;
    assert_eq!(reply.status, Status::Success, "{reply:?}");
    assert!(reply.metadata.duration_ms >= 1_000 && server.count() == 2, "{reply:?}");
    pod.shutdown().await;

    let busy = || vec![Step::Send(response("503 Service Unavailable", "retry-after: 3600\r\n", r#"{"title":"busy"}"#))];
    let server = ModelServer::start(move |_| busy()).await?;
    let pod = ServicePod::for_server(&server, "  timeout: 30\nretry: { max_attempts: 5, delay: 0.01 }").await?;
    let reply = pod.call().await?;
    // There is no time to wait for an hour.
    assert_eq!((code(&reply), server.count()), (Some("overloaded"), 1), "{reply:?}");
    assert_eq!(reply.error.context("a cause")?.retry_after_ms, Some(3_600_000));
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_closes_the_connection_to_its_service() -> Result<()> {
    let server = ModelServer::start(|_| vec![Step::Silence]).await?;
    let pod = ServicePod::for_server(&server, "  timeout: 60").await?;
    let client = pod.pod.admin()?;
    let params = CallParams { inputs: text("hello"), detach: true, ..CallParams::default() };
    let run = client.run_workflow(WorkflowId::new("one_step")?, params).await?.id.parse()?;
    let wait = Duration::from_secs(30);
    let is_open = |count| {
        let server = server.clone();
        move || {
            let is_reached = server.open() == count;
            async move { is_reached.then_some(()) }
        }
    };
    wait_until("the service is called", wait, is_open(1)).await?;
    client.cancel(run).await?;
    wait_until("the connection is closed", wait, is_open(0)).await?;
    pod.shutdown().await;
    Ok(())
}
