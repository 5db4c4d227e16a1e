//! Measures what NATS adds to the first token: the time from a call to the first text of a model that does not wait, within
//! the pod and over NATS. The pod is in this process; over NATS, another process reads. They alternate.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::StreamExt as _;
use greenroom_client::nats::ConnectOptions;
use greenroom_client::{Client, Credential, Progress};
use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::nats_pod::{ADMIN_KEY, CLUSTER_SECRET};
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::test_pod::{StoreKind, test_config};
use greenroom_protocol::{Json, Status, UserId};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedCall, ScriptedReply};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{NatsConfig, Secret};
use greenroom_supervisor::pod::Pod;
use serde_json::json;

use super::GROUP;
use crate::child_process::own_part;

/// The agent whose model streams.
const AGENT: &str = "streaming_agent";
/// The text that the model writes.
const TEXT: &str = "hello";
/// How often each side is measured, and the calls of one round.
const ROUNDS: usize = 4;
const CALLS: usize = 250;

pub(super) async fn compare() -> anyhow::Result<()> {
    let (server, folder) = (NatsServer::start().await?, tempfile::tempdir()?);
    let pod = Box::pin(start(&server.url(), folder.path())).await?;
    let local = pod.client(&UserId::new("admin")?);
    let (mut within, mut over_nats) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        within.extend(first_texts(&local, CALLS).await?);
        over_nats.extend(read_separately(server.url()).await?);
    }
    pod.shutdown().await;
    let [within, over_nats] = [within, over_nats].map(|times| times.into_iter().collect::<Latencies>());
    for (name, times) in [("within the pod", &within), ("over NATS", &over_nats)] {
        for (quantile, label) in [(0.5, "p50"), (0.99, "p99")] {
            let name = format!("first token {name}, {label}");
            record(GROUP, name, times.millis(quantile), "ms", Threshold::Informational)?;
        }
    }
    let added = over_nats.millis(0.5) - within.millis(0.5);
    record(GROUP, "added to the first token by NATS, p50", added, "ms", Threshold::AtMost(2.0))
}

/// Reads streams over NATS, as a process of its own, and prints the times in microseconds.
pub(super) async fn read(url: &str) -> anyhow::Result<()> {
    let options = ConnectOptions::default().credential(Credential::ApiKey(ADMIN_KEY.to_owned()));
    let client = Client::connect_with(url, options).await?;
    // The connection is made, and the pod has seen the client.
    first_texts(&client, 1).await?;
    let times = first_texts(&client, CALLS).await?;
    let micros: Vec<u128> = times.iter().map(Duration::as_micros).collect();
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&micros)?)?;
    Ok(())
}

async fn read_separately(url: String) -> anyhow::Result<Vec<Duration>> {
    let mut command = own_part(&[GROUP, "read_tokens", &url])?;
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "the reader over NATS has failed");
    let micros: Vec<u64> = serde_json::from_slice(&output.stdout)?;
    Ok(micros.into_iter().map(Duration::from_micros).collect())
}

/// The time until the first text of each of so many calls, one after the other.
async fn first_texts(client: &Client, calls: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let started_at = Instant::now();
        let mut progress = client.agent(AGENT).input("text", "say hello").stream();
        let mut first = None;
        let reply = loop {
            match progress.next().await.context("the stream ended without a reply")?? {
                Progress::Text(text) => {
                    ensure!(!text.is_empty(), "a text without content");
                    first.get_or_insert_with(|| started_at.elapsed());
                }
                Progress::Accepted { .. } => {}
                Progress::Restarted => anyhow::bail!("the text was restarted"),
                Progress::Reply(reply) => break reply,
            }
        };
        let output = reply.outputs.get("text").and_then(Json::as_str);
        ensure!(reply.status == Status::Success && output == Some(TEXT), "{:?} {output:?}", reply.error);
        times.push(first.context("no text was streamed")?);
    }
    Ok(times)
}

/// Starts a pod that takes requests over NATS.
async fn start(url: &str, folder: &Path) -> anyhow::Result<Pod> {
    let definitions = DefinitionsDir::new(&folder.join("definitions"))?;
    definitions.write_model_agent(AGENT, "scripted.quick")?;
    let mut config = test_config(folder, StoreKind::Full, Some(definitions.dir()))?;
    let limit = u64::MAX >> 1;
    let admin = json!({
        "name": "admin", "roles": ["admin"], "api_key": ADMIN_KEY, "rate_limit": limit, "query_limit": limit,
    });
    config.users = serde_json::from_value(json!({ "users": [admin] }))?;
    config.nats = Some(NatsConfig::for_url(url));
    config.cluster.secret = Some(Secret::new(CLUSTER_SECRET));
    let pieces = vec![r#"{"text":"#.to_owned(), format!("\"{TEXT}\"}}")];
    let call = ScriptedCall { reply: ScriptedReply::Text { pieces, gap_ms: 1 }, ..ScriptedCall::default() };
    let scripted = Arc::new(Scripted::new(Script { calls: vec![call] }));
    let overrides = Overrides { providers: vec![scripted], uses_nats: true, ..Overrides::default() };
    let mut pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides)
        .await
        .context("the pod cannot be assembled")?;
    pod.serve_nats().await?;
    Ok(pod)
}
