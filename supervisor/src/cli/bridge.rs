//! `greenroom bridge`: serves HTTP, and sends the requests over NATS to the pods, which authenticate their callers. Behind a load
//! balancer of RunPod, it listens on the ports that RunPod connects to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use greenroom_client::Client;
use greenroom_protocol::request::Query;
use greenroom_protocol::{Cause, ErrorCode, Request};
use greenroom_runpod::bridge::{BridgeServer, Health, Host};
use greenroom_runpod::worker::ENDPOINT_ID;
use tokio::sync::watch;
use tokio::time::sleep;

use super::args::OutputFormat;
use super::nats_client;
use super::output::Output;
use super::runpod::variable;
use crate::clock::WallClock;
use crate::compose::http::bridge_config;
use crate::config::{Config, HttpConfig};
use crate::lifecycle::{ProcessSignal, Signals};

/// The variable with the address.
const HTTP_ADDR: &str = "GREENROOM_HTTP_ADDR";
/// The variables with the ports of a worker behind a load balancer of RunPod: that of requests, and that of its health.
const PORT: &str = "PORT";
const PORT_HEALTH: &str = "PORT_HEALTH";
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
    let http = config.http.as_ref().ok_or_else(|| missing("http.addr", HTTP_ADDR))?;
    let addresses = addresses(http.addr, variable)?;
    let connected = tokio::select! {
        // Each caller has a credential of its own.
        connected = Box::pin(nats_client::connect(nats, "greenroom-bridge", None)) => connected,
        signal = signals.next() => return Ok(signal.exit_code()),
    };
    let client = connected?;
    let health = watch::Sender::new(Health::Starting);
    let mut servers = Vec::new();
    for addr in addresses {
        servers.push(bind(config, HttpConfig { addr, ..http.clone() }, client.clone(), &health)?);
    }
    let bound: Vec<String> = servers.iter().map(|server| format!("http://{}", server.local_addr())).collect();
    let url = bound.join(" and ");
    tracing::info!(http.url = url, "greenroom bridge is up");
    if output.format() != OutputFormat::Json {
        output.note(&format!("greenroom bridge is up at {url}; press Ctrl-C to drain and exit"));
    }
    serve(&servers, &client, &health, config.drain_timeout, signals).await
}

/// The addresses to listen on: that of the configuration, or the ports of RunPod.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`] for a port that is none.
fn addresses(configured: SocketAddr, variable: impl Fn(&str) -> Option<String>) -> Result<Vec<SocketAddr>, Cause> {
    // Other hosts set such variables too, for other programs.
    if variable(ENDPOINT_ID).is_none() {
        return Ok(vec![configured]);
    }
    let port = |name: &str| match variable(name).map(|text| text.parse::<u16>()) {
        None => Ok(None),
        Some(Ok(port)) => Ok(Some(port)),
        Some(Err(error)) => Err(Cause::new(ErrorCode::InvalidConfiguration, format!("{name} is no port: {error}"))),
    };
    let first = match port(PORT)?.filter(|_| variable(HTTP_ADDR).is_none()) {
        Some(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
        None => configured,
    };
    let health = port(PORT_HEALTH)?.filter(|health| *health != first.port());
    Ok([first].into_iter().chain(health.map(|port| SocketAddr::new(first.ip(), port))).collect())
}

fn bind(
    config: &Config,
    http: HttpConfig,
    client: Client,
    health: &watch::Sender<Health>,
) -> Result<BridgeServer, Cause> {
    let health = health.subscribe();
    let host =
        Host { client, clock: Arc::new(WallClock), health: Arc::new(move || health.borrow().clone()), metrics: None };
    // Over NATS, the pods accept nothing without a credential.
    BridgeServer::bind(bridge_config(&http, true, &config.cluster)?, host)
}

async fn serve(
    servers: &[BridgeServer],
    client: &Client,
    health: &watch::Sender<Health>,
    drain_timeout: Duration,
    signals: &mut Signals,
) -> Result<u8, Cause> {
    let stop = watch::Sender::new(false);
    let serving = servers.iter().map(|server| {
        let mut stopped = stop.subscribe();
        server.serve(async move {
            let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
        })
    });
    let mut serving = pin!(try_join_all(serving));
    let failed = |served: Result<Vec<()>, String>| {
        let message = served.err().unwrap_or_else(|| "the server has ended".to_owned());
        Err(Cause::new(ErrorCode::Internal, message))
    };
    let signal = tokio::select! {
        served = serving.as_mut() => return failed(served),
        signal = wait_for_signal(client, health, signals) => signal,
    };
    tracing::info!(process.signal = %signal, "draining");
    health.send_replace(Health::Draining);
    stop.send_replace(true);
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::addresses;

    fn addresses_of(variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let configured: SocketAddr = "127.0.0.1:8000".parse().unwrap();
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let addresses = addresses(configured, variable).map_err(|cause| cause.message)?;
        Ok(addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_ports_of_runpod_are_those_of_its_workers_and_of_no_other_host() {
        const RUNPOD: (&str, &str) = ("RUNPOD_ENDPOINT_ID", "ep123");
        for (variables, expected) in [
            (vec![("PORT", "3000")], vec!["127.0.0.1:8000"]),
            (vec![RUNPOD], vec!["127.0.0.1:8000"]),
            (vec![RUNPOD, ("PORT", "3000")], vec!["0.0.0.0:3000"]),
            (vec![RUNPOD, ("PORT", "3000"), ("PORT_HEALTH", "3000")], vec!["0.0.0.0:3000"]),
            (vec![RUNPOD, ("PORT", "3000"), ("PORT_HEALTH", "3001")], vec!["0.0.0.0:3000", "0.0.0.0:3001"]),
            (vec![RUNPOD, ("PORT", "3000"), ("GREENROOM_HTTP_ADDR", "127.0.0.1:8000")], vec!["127.0.0.1:8000"]),
        ] {
            assert_eq!(addresses_of(&variables).unwrap(), expected, "{variables:?}");
        }
        assert!(addresses_of(&[RUNPOD, ("PORT", "http")]).unwrap_err().contains("PORT is no port"));
    }
}
