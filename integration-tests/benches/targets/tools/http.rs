//! Agents that are services over HTTP: what a pod adds to a service that a program could call itself over an open
//! connection. The service returns its input, in a process of its own.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_protocol::{AgentId, Json};
use greenroom_supervisor::config::{HttpHostConfig, Secret};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::GROUP;
use super::echo_pod::{CallTimes, PodFolder, call_numbers, sized_text};
use crate::child_process::{ChildProcess, own_part};

/// The agent.
const AGENT: &str = "service_agent";
/// The secret that signs its requests.
const SECRET: &str = "a secret of thirty-two bytes ...";
/// Bytes that the service reads at once.
const READ_BYTES: usize = 16 * 1_024;

pub(super) async fn measure() -> anyhow::Result<()> {
    let (_service, addr) = ChildProcess::start_listening(&mut own_part(&[GROUP, "serve_http"])?)?;
    let folder = PodFolder::new()?;
    folder.write_agent(AGENT, &format!("runtime: http\n  handler: \"http://{addr}/\"\n  timeout: 60"))?;
    let host = HttpHostConfig { secret: Some(Secret::new(SECRET)), allow_private: true, ..HttpHostConfig::default() };
    let hosts = [(addr.to_string(), host)];
    let pod = folder.start(Vec::new(), |config| config.outbound.hosts.extend(hosts)).await?;
    let (agent, direct) = (AgentId::new(AGENT)?, DirectClient::new(addr)?);
    let (mut of_agent, mut of_native, mut of_service) = (CallTimes::default(), CallTimes::default(), Vec::new());
    for (number, is_measured) in call_numbers()? {
        let value = sized_text(&format!("{number}/"));
        let elapsed = direct.call(&value).await?;
        let pair = (pod.call(&agent, &value).await?, pod.call_native(&value).await?);
        if is_measured {
            of_service.push(elapsed);
            of_agent.push(pair.0);
            of_native.push(pair.1);
        }
    }
    pod.shutdown().await;
    let service: Latencies = of_service.into_iter().collect();
    let (totals, native) = (of_agent.totals(), of_native.totals());
    let (p50, alone) = (totals.millis(0.5), service.millis(0.5));
    record(GROUP, "HTTP: added by the pod to a call of a service, p50", p50 - alone, "ms", Threshold::AtMost(0.5))?;
    let rows = [
        ("of it, beyond a call of the native agent, p50", p50 - alone - native.millis(0.5)),
        ("of it, by the execution within the pod, p50", of_agent.executions().millis(0.5) - alone),
        ("the service, called by a program over an open connection, p50", alone),
        ("the service, called by a program over an open connection, p99", service.millis(0.99)),
        ("the whole call, p50", p50),
        ("the whole call, p99", totals.millis(0.99)),
    ];
    for (row, measured) in rows {
        record(GROUP, format!("  HTTP: {row}"), measured, "ms", Threshold::Informational)?;
    }
    Ok(())
}

/// Calls the service as a program would, with a body as the runtime sends it.
struct DirectClient {
    client: reqwest::Client,
    url: String,
}

impl DirectClient {
    fn new(addr: SocketAddr) -> anyhow::Result<Self> {
        // The pod may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().tcp_nodelay(true).no_proxy().build()?;
        Ok(Self { client, url: format!("http://{addr}/") })
    }

    /// Sends one request; its body is written before the time is taken, and the response is parsed after it.
    async fn call(&self, value: &str) -> anyhow::Result<Duration> {
        let (version, inputs) = ("0".repeat(64), json!({ "text": value }));
        let body =
            json!({ "agent": AGENT, "version": version, "inputs": inputs, "context": {}, "deadline_ms": 60_000 });
        let body = serde_json::to_vec(&body)?;
        let started_at = Instant::now();
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        let content = request.send().await?.bytes().await?;
        let elapsed = started_at.elapsed();
        let response: Json = serde_json::from_slice(&content)?;
        ensure!(response.get("outputs") == Some(&inputs), "the service has returned {response}");
        Ok(elapsed)
    }
}

/// The service: it prints its address, and returns the inputs of each request as its outputs.
pub(super) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = serve_connection(stream).await {
                eprintln!("the service has closed a connection: {error:#}");
            }
        });
    }
}

async fn serve_connection(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Some(length) = request_length(&buffer)? else {
            buffer.reserve(READ_BYTES);
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let rest = buffer.split_off(length.head + length.body);
        let request = std::mem::replace(&mut buffer, rest);
        let request: Json = serde_json::from_slice(request.get(length.head..).unwrap_or_default())?;
        let body = json!({ "outputs": request.get("inputs") }).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await?;
    }
}

/// The bytes of a request.
struct RequestLength {
    head: usize,
    body: usize,
}

/// The length of the first request, once all of it has arrived.
fn request_length(buffer: &[u8]) -> anyhow::Result<Option<RequestLength>> {
    const HEAD_END: &[u8] = b"\r\n\r\n";
    let Some(end) = buffer.windows(HEAD_END.len()).position(|bytes| bytes == HEAD_END) else { return Ok(None) };
    let head = std::str::from_utf8(buffer.get(..end).unwrap_or_default())?;
    let body = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value.trim())
    });
    let body = body.context("a request has a length")?.parse()?;
    let length = RequestLength { head: end + HEAD_END.len(), body };
    Ok((buffer.len() >= length.head + length.body).then_some(length))
}
