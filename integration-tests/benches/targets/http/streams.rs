//! Measures streams of the events of a run that waits for an approval: the time until the first event, over NATS and through
//! the bridge, and the memory of the bridge with many readers. In the end the run is approved, and each reader must receive
//! its end.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::StreamExt as _;
use greenroom_client::Observation;
use greenroom_integration_tests::bench::{Latencies, Threshold, record, scaled};
use greenroom_integration_tests::nats_pod::ADMIN_KEY;
use greenroom_integration_tests::process_memory::resident_kib;

use super::{GROUP, Host, STEP, WORKFLOW};
use crate::http_connection::HttpConnection;

/// Streams of each side whose first event is measured; they alternate.
const STREAMS: usize = 500;
/// Longest wait until every reader has the end of the run.
const END_WAIT_MAX: Duration = Duration::from_secs(120);
/// The beginning of any event, and of the last one.
const EVENT: &str = "event:";
const LAST_EVENT: &str = "event: run_ended";

pub(super) async fn measure() -> anyhow::Result<()> {
    let host = Host::start().await?;
    let run = host.client.workflow(WORKFLOW).detach().reply().await?.id;
    first_events(&host, &run).await?;
    let readers = usize::try_from(scaled(10_000))?;
    let before = memory_mib(&host)?;
    let mut streams = Vec::with_capacity(readers);
    for _ in 0..readers {
        streams.push(open_stream(&host, &run).await.context("the limit of open files may be too low")?.0);
    }
    let resident = memory_mib(&host)?;
    let name = format!("memory of the bridge with {readers} idle readers");
    record(GROUP, name.as_str(), resident, "MiB", Threshold::AtMost(200.0))?;
    record(GROUP, format!("  of it, for the readers, {name}"), resident - before, "MiB", Threshold::Informational)?;
    host.client.run(&run).approve(STEP).reply().await?;
    let reading = async {
        for stream in &mut streams {
            stream.read_until(LAST_EVENT).await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(END_WAIT_MAX, reading).await.context("a reader has not received the end of the run")?
}

/// Measures the first event of streams.
async fn first_events(host: &Host, run: &str) -> anyhow::Result<()> {
    let (mut over_nats, mut over_http) = (Vec::new(), Vec::new());
    for _ in 0..STREAMS {
        let started_at = Instant::now();
        let mut watch = host.client.run(run).watch();
        let first = watch.next().await.context("the watch has no event")??;
        over_nats.push(started_at.elapsed());
        ensure!(matches!(first, Observation::Event(event) if event.seq > 0), "the first event has no number");
        over_http.push(open_stream(host, run).await?.1);
    }
    let [over_nats, over_http] = [over_nats, over_http].map(|times| times.into_iter().collect::<Latencies>());
    for (name, times) in [("over NATS", &over_nats), ("through the bridge", &over_http)] {
        for (quantile, label) in [(0.5, "p50"), (0.99, "p99")] {
            let name = format!("first event of a run {name}, {label}");
            record(GROUP, name, times.millis(quantile), "ms", Threshold::Informational)?;
        }
    }
    let added = over_http.millis(0.5) - over_nats.millis(0.5);
    record(GROUP, "added by the bridge to the first event of a stream, p50", added, "ms", Threshold::AtMost(2.0))
}

/// Opens a stream, and returns it with the time from the request to its first event.
async fn open_stream(host: &Host, run: &str) -> anyhow::Result<(HttpConnection, Duration)> {
    let mut connection = HttpConnection::open(host.bridge.addr()).await?;
    let started_at = Instant::now();
    let request =
        format!("GET /v1/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: ApiKey {ADMIN_KEY}\r\n\r\n");
    connection.open_stream(request.as_bytes(), EVENT).await?;
    Ok((connection, started_at.elapsed()))
}

/// The resident memory of the bridge.
fn memory_mib(host: &Host) -> anyhow::Result<f64> {
    let resident = resident_kib(&host.bridge.process()).context("the bridge has ended")?;
    Ok(resident as f64 / 1_024.0)
}
