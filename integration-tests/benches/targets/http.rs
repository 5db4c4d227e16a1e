//! Measures the bridge: what a call over HTTP adds to the same call within the pod, in an open loop of 2,000 requests a
//! second; probes a second; the first byte of a stream; and the memory of idle readers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_client::Client;
use greenroom_integration_tests::bench::{Latencies, Threshold, memory, record, scaled};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::http_pod::{ADMIN_KEY, HttpPod};
use greenroom_protocol::UserId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const AGENT: &str = "echo_agent";
const WORKFLOW: &str = "approved";
/// Requests a second of the open loop.
const PER_SECOND: u64 = 2_000;
/// Connections that probe, each with one request under way.
const PROBES: usize = 64;
/// Streams whose first byte is measured.
const STREAMS: usize = 500;

pub(crate) fn main(arguments: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.first().copied() {
        Some("calls") => runtime.block_on(calls()),
        Some("probes") => runtime.block_on(probes()),
        Some("streams") => runtime.block_on(streams()),
        Some(other) => anyhow::bail!("no part is named {other}"),
        None => ["calls", "probes", "streams"].into_iter().try_for_each(|part| super::run_separately(&["http", part])),
    }
}

async fn start() -> anyhow::Result<(HttpPod, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(folder.path())?;
    definitions.write_echo_agent(AGENT)?;
    let waits = format!(
        "workflow_id: {WORKFLOW}\nname: waits\ndescription: Waits\nversion: \"1.0.0\"\nsteps:\n\
         \x20 - {{ id: sign, approval: {{ prompt: \"Send it?\" }} }}\n\
         \x20 - {{ id: send, agent: {AGENT}, depends_on: [sign], inputs: {{ text: sent }}, outputs: [text] }}\n"
    );
    definitions.write_workflow(WORKFLOW, &waits)?;
    let pod = HttpPod::start_with(Some(definitions.dir()), |config| {
        for user in &mut config.users.users {
            user.rate_limit = u64::MAX >> 1;
            user.query_limit = u64::MAX >> 1;
        }
        if let Some(http) = &mut config.http {
            http.connections_max = 16_384;
        }
    });
    Ok((pod.await?, folder))
}

/// Calls the agent in an open loop; a call counts from the moment at which it was due.
async fn open_loop(client: &Client, duration: Duration) -> anyhow::Result<Latencies> {
    let started_at = tokio::time::Instant::now();
    let count = PER_SECOND.saturating_mul(duration.as_secs());
    let mut calls = JoinSet::new();
    for number in 0..count {
        let due_at = started_at + Duration::from_micros(number * 1_000_000 / PER_SECOND);
        tokio::time::sleep_until(due_at).await;
        let client = client.clone();
        calls.spawn(async move {
            client.agent(AGENT).input("text", "hello").execute().await?;
            anyhow::Ok(due_at.elapsed())
        });
    }
    let mut durations = Vec::new();
    while let Some(call) = calls.join_next().await {
        durations.push(call??);
    }
    Ok(durations.into_iter().collect())
}

async fn calls() -> anyhow::Result<()> {
    let (pod, _folder) = start().await?;
    let (local, http) = (pod.pod.client(&UserId::new("admin")?), pod.client(ADMIN_KEY)?);
    let duration = Duration::from_secs(scaled(20).max(2));
    open_loop(&http, Duration::from_secs(1)).await?;
    let (local, http) = (open_loop(&local, duration).await?, open_loop(&http, duration).await?);
    let added = |quantile: f64| http.millis(quantile) - local.millis(quantile);
    record("http", "added to a call within the pod at 2,000/s, p50", added(0.5), "ms", Threshold::AtMost(0.3))?;
    record("http", "added to a call within the pod at 2,000/s, p99", added(0.99), "ms", Threshold::AtMost(2.0))?;
    pod.pod.shutdown().await;
    Ok(())
}

async fn probe(addr: SocketAddr, ends_at: Instant) -> anyhow::Result<usize> {
    let mut stream = TcpStream::connect(addr).await?;
    let (mut count, mut buffer) = (0, [0; 4_096]);
    while Instant::now() < ends_at {
        stream.write_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let length = stream.read(&mut buffer).await?;
        ensure!(buffer.get(..length).is_some_and(|head| head.starts_with(b"HTTP/1.1 200 ")), "no reply to a probe");
        count += 1;
    }
    Ok(count)
}

async fn probes() -> anyhow::Result<()> {
    let (pod, _folder) = start().await?;
    let duration = Duration::from_secs(scaled(10).max(1));
    let ends_at = Instant::now() + duration;
    let mut connections = JoinSet::new();
    for _ in 0..PROBES {
        connections.spawn(probe(pod.addr, ends_at));
    }
    let mut count = 0;
    while let Some(connection) = connections.join_next().await {
        count += connection??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let per_second = count as f64 / duration.as_secs_f64();
    record("http", "probes of `/ping`", per_second, "/s", Threshold::AtLeast(15_000.0))?;
    pod.pod.shutdown().await;
    Ok(())
}

/// Opens a stream, and returns it with the time until its first event.
async fn open_stream(addr: SocketAddr, run: &str) -> anyhow::Result<(TcpStream, Duration)> {
    let mut stream = TcpStream::connect(addr).await?;
    let started_at = Instant::now();
    let head = format!("GET /v1/runs/{run}/events HTTP/1.1\r\nHost: h\r\nAuthorization: ApiKey {ADMIN_KEY}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let (mut text, mut buffer) = (Vec::new(), [0; 4_096]);
    while !text.windows(6).any(|bytes| bytes == b"event:") {
        let length = stream.read(&mut buffer).await?;
        ensure!(length > 0, "the stream ended: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
    Ok((stream, started_at.elapsed()))
}

async fn streams() -> anyhow::Result<()> {
    let (pod, _folder) = start().await?;
    let client = pod.client(ADMIN_KEY)?;
    let run: Arc<str> = client.workflow(WORKFLOW).detach().reply().await?.id.into();
    let mut durations = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        durations.push(open_stream(pod.addr, &run).await?.1);
    }
    let times: Latencies = durations.into_iter().collect();
    record("http", "first event of a stream, p50", times.millis(0.5), "ms", Threshold::AtMost(2.0))?;
    let readers = usize::try_from(scaled(10_000))?;
    let before = memory()?.resident;
    let mut open = Vec::with_capacity(readers);
    for _ in 0..readers {
        open.push(open_stream(pod.addr, &run).await.context("the limit of open files may be too low")?.0);
    }
    let added = memory()?.resident - before;
    record("http", "memory of 10,000 idle readers, both ends", added, "MiB", Threshold::AtMost(200.0))?;
    drop(open);
    pod.pod.shutdown().await;
    Ok(())
}
