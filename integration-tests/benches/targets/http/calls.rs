//! Measures calls through the bridge against the same calls over NATS, and probes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use greenroom_integration_tests::bench::{Threshold, record, scaled};
use tokio::task::JoinSet;

use super::{GROUP, Host};
use crate::http_connection::HttpConnection;
use crate::peers::level_duration;
use crate::running_bridge::PING;
use crate::wire_load::{Load, closed_loop, open_loop};

/// Requests a second of the open loop.
const PER_SECOND: u64 = 2_000;
/// Calls in flight of the closed loop.
const IN_FLIGHT: usize = 64;
/// Connections that probe, each with one request under way.
const PROBES: usize = 64;
/// How often each side is measured, alternately.
const ROUNDS: usize = 2;

/// Measures what the bridge adds to a call that is due at a certain moment.
pub(super) async fn latency() -> anyhow::Result<()> {
    let host = Host::start().await?;
    let (nats_processes, http_processes) = (host.nats_processes(), host.http_processes());
    let duration = Duration::from_secs(scaled(10).max(2));
    // Connections are open, and caches warm.
    for (caller, processes) in [(&host.over_nats, &nats_processes), (&host.over_http, &http_processes)] {
        open_loop(caller, PER_SECOND, Duration::from_secs(1), processes).await?;
    }
    let (mut nats, mut http) = (Load::default(), Load::default());
    for _ in 0..ROUNDS {
        nats.add(open_loop(&host.over_nats, PER_SECOND, duration, &nats_processes).await?);
        http.add(open_loop(&host.over_http, PER_SECOND, duration, &http_processes).await?);
    }
    nats.record(GROUP, "calls over NATS at 2,000/s", &nats_processes)?;
    http.record(GROUP, "calls through the bridge at 2,000/s", &http_processes)?;
    let (nats, http) = (nats.latencies(), http.latencies());
    for (quantile, label, max) in [(0.5, "p50", 0.3), (0.99, "p99", 2.0)] {
        let added = http.millis(quantile) - nats.millis(quantile);
        let name = format!("added by the bridge to a call over NATS at 2,000/s, {label}");
        record(GROUP, name, added, "ms", Threshold::AtMost(max))?;
    }
    Ok(())
}

/// Measures how many calls pass the bridge, and how many the same client sends over NATS without it.
pub(super) async fn throughput() -> anyhow::Result<()> {
    let host = Host::start().await?;
    let (nats_processes, http_processes) = (host.nats_processes(), host.http_processes());
    let (mut nats, mut http) = (Load::default(), Load::default());
    for _ in 0..ROUNDS {
        nats.add(closed_loop(&host.over_nats, IN_FLIGHT, level_duration(), &nats_processes).await?);
        http.add(closed_loop(&host.over_http, IN_FLIGHT, level_duration(), &http_processes).await?);
    }
    nats.record(GROUP, "execute over NATS, 64 in flight", &nats_processes)?;
    http.record(GROUP, "execute through the bridge, 64 in flight", &http_processes)?;
    let ratio = http.per_second() / nats.per_second();
    record(GROUP, "execute through the bridge ÷ over NATS, 64 in flight", ratio, "", Threshold::AtLeast(0.6))
}

/// Measures probes of the bridge, which reach no pod.
pub(super) async fn probes() -> anyhow::Result<()> {
    let host = Host::start().await?;
    let duration = Duration::from_secs(scaled(10).max(1));
    let started_at = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..PROBES {
        connections.spawn(probe(host.bridge.addr(), started_at + duration));
    }
    let mut count = 0_u32;
    while let Some(connection) = connections.join_next().await {
        count += connection??;
    }
    let per_second = f64::from(count) / started_at.elapsed().as_secs_f64();
    record(GROUP, "probes of `/ping`", per_second, "/s", Threshold::AtLeast(15_000.0))
}

async fn probe(addr: SocketAddr, ends_at: Instant) -> anyhow::Result<u32> {
    let (mut connection, mut count) = (HttpConnection::open(addr).await?, 0);
    while Instant::now() < ends_at {
        let response = connection.send(PING).await?;
        ensure!(response.status == 200, "the status of a probe is {}", response.status);
        count += 1;
    }
    Ok(count)
}
