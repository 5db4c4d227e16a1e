//! The five-step durable workflow on Restate, and its load generator.
//!
//! `restate-comparison serve PORT` serves the workflow; `restate-comparison load INGRESS SECONDS LEVEL…` calls it
//! in a closed loop and prints one line of JSON per level. Each step is a journaled side effect
//! that does nothing, like the no-op agent of Greenroom's own measurement.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use restate_sdk::prelude::{Context, ContextSideEffects, Endpoint, HandlerError, HttpServer, service};

struct FiveSteps;

#[service]
impl FiveSteps {
    #[handler]
    async fn run(&self, ctx: Context<'_>, number: u64) -> Result<u64, HandlerError> {
        let mut sum = number;
        for _ in 0..5 {
            sum = ctx.run(|| async move { Ok(sum + 1) }).await?;
        }
        Ok(sum)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", port] => {
            let address: SocketAddr = format!("127.0.0.1:{port}").parse()?;
            HttpServer::new(Endpoint::builder().bind(FiveSteps).build()).listen_and_serve(address).await;
            Ok(())
        }
        ["load", ingress, seconds, levels @ ..] => {
            let span = Duration::from_secs(seconds.parse()?);
            for level in levels {
                println!("{}", load(ingress, span, level.parse()?).await?);
            }
            Ok(())
        }
        _ => anyhow::bail!("usage: restate-comparison serve PORT | load INGRESS SECONDS LEVEL…"),
    }
}

/// Keeps `level` workflows in flight for `span` and returns the measurements.
async fn load(ingress: &str, span: Duration, level: usize) -> anyhow::Result<serde_json::Value> {
    let client = reqwest::Client::builder().pool_max_idle_per_host(level).build()?;
    let url: Arc<str> = format!("{ingress}/FiveSteps/run").into();
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let workers: Vec<_> = (0..level)
        .map(|_| {
            let (client, url, next) = (client.clone(), url.clone(), next.clone());
            tokio::spawn(async move {
                let mut durations = Vec::new();
                while start.elapsed() < span {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let started_at = Instant::now();
                    let sum: u64 = client.post(&*url).json(&number).send().await?.error_for_status()?.json().await?;
                    anyhow::ensure!(sum == number + 5, "a wrong result: {sum} for {number}");
                    durations.push(started_at.elapsed());
                }
                Ok(durations)
            })
        })
        .collect();
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await??);
    }
    let elapsed = start.elapsed().as_secs_f64();
    all.sort();
    let quantile = |q: f64| all.get(((all.len() as f64 - 1.0) * q) as usize).map_or(0.0, |t| t.as_secs_f64() * 1e3);
    Ok(serde_json::json!({
        "peer": "restate", "in_flight": level, "per_second": all.len() as f64 / elapsed,
        "p50_ms": quantile(0.5), "p99_ms": quantile(0.99),
    }))
}
