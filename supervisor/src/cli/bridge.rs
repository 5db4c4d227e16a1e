//! `greenroom bridge`: serves HTTP, and sends the requests over NATS to the pods, which authenticate their callers.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use greenroom_client::Client;
use greenroom_protocol::request::Query;
use greenroom_protocol::{Cause, ErrorCode, Request};
use greenroom_runpod::bridge::{BridgeServer, Health, Host};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::args::OutputFormat;
use super::nats_client;
use super::output::Output;
use crate::clock::WallClock;
use crate::compose::http::bridge_config;
use crate::config::{Config, HttpConfig};
use crate::lifecycle::{ProcessSignal, Signals};

/// How often a bridge without a pod looks for one.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long the reply to such a probe is awaited.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Executes the command.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`] without NATS or an address, if the address is in use, or if a file cannot be read;
/// [`ErrorCode::ShuttingDown`] if no server of NATS can be reached.
pub async fn bridge(config: &Config, output: Output, signals: &mut Signals) -> Result<u8, Cause> {
    let nats = config.nats.as_ref().ok_or_else(|| missing("nats.url", "NATS_URL"))?;
    let http = config.http.as_ref().ok_or_else(|| missing("http.addr", "GREENROOM_HTTP_ADDR"))?;
    let connected = tokio::select! {
        // Each caller has a credential of its own.
        connected = Box::pin(nats_client::connect(nats, "greenroom-bridge", None)) => connected,
        signal = signals.next() => return Ok(signal.exit_code()),
    };
    let client = connected?;
    let health = watch::Sender::new(Health::Starting);
    let server = bind(config, http, client.clone(), &health)?;
    let url = format!("http://{}", server.local_addr());
    tracing::info!(http.url = url, "greenroom bridge is up");
    if output.format() != OutputFormat::Json {
        output.note(&format!("greenroom bridge is up at {url}; press Ctrl-C to drain and exit"));
    }
    serve(&server, &client, &health, config.drain_timeout, signals).await
}

fn bind(
    config: &Config,
    http: &HttpConfig,
    client: Client,
    health: &watch::Sender<Health>,
) -> Result<BridgeServer, Cause> {
    let health = health.subscribe();
    let host =
        Host { client, clock: Arc::new(WallClock), health: Arc::new(move || health.borrow().clone()), metrics: None };
    // Over NATS, the pods accept nothing without a credential.
    BridgeServer::bind(bridge_config(http, true, &config.cluster)?, host)
}

async fn serve(
    server: &BridgeServer,
    client: &Client,
    health: &watch::Sender<Health>,
    drain_timeout: Duration,
    signals: &mut Signals,
) -> Result<u8, Cause> {
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        // The sender is dropped to stop the server.
        let _ = stopped.await;
    };
    let mut serving = pin!(server.serve(stopped));
    let failed = |served: Result<(), String>| {
        let message = served.err().unwrap_or_else(|| "the server has ended".to_owned());
        Err(Cause::new(ErrorCode::Internal, message))
    };
    let signal = tokio::select! {
        served = serving.as_mut() => return failed(served),
        signal = wait_for_signal(client, health, signals) => signal,
    };
    tracing::info!(process.signal = %signal, "draining");
    health.send_replace(Health::Draining);
    drop(stop);
    tokio::select! {
        _ = serving.as_mut() => tracing::info!("process ended"),
        () = sleep(drain_timeout) => tracing::warn!("drain timed out with requests in flight"),
        signal = signals.next() => {
            tracing::warn!(process.signal = %signal, "process ended before the drain was complete");
        }
    }
    Ok(0)
}

/// Waits for a signal, and meanwhile for the first reply of a pod, from which on the bridge is ready.
async fn wait_for_signal(client: &Client, health: &watch::Sender<Health>, signals: &mut Signals) -> ProcessSignal {
    let mut probing = pin!(wait_for_pod(client));
    tokio::select! {
        () = probing.as_mut() => {
            health.send_replace(Health::Ready);
        }
        signal = signals.next() => return signal,
    }
    signals.next().await
}

/// Waits until a pod replies, even if it is to refuse a query without a credential.
async fn wait_for_pod(client: &Client) {
    while client.request(Request::Query(Query::Agents)).timeout(PROBE_TIMEOUT).send().await.is_err() {
        sleep(PROBE_INTERVAL).await;
    }
}

fn missing(setting: &str, variable: &str) -> Cause {
    Cause::new(ErrorCode::InvalidConfiguration, format!("`greenroom bridge` needs {setting}: set {variable}"))
}
