//! Short requests while pods are drained: none of them may fail, because each is shorter than the bound of a drain.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use greenroom_client::Client;
use greenroom_protocol::Reply;
use tokio::time::{Instant, sleep};

use super::history::DrainCounts;
use super::requests::{CALL_MAX, Requests};
use super::workload::WRITER;
use crate::test_pod::text;

/// Callers that send one request after the other, and the delay between two requests of one.
const CALLERS: usize = 4;
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// How long a request may take, with its repetitions: less than a drain waits for it.
const PROBE_MAX: Duration = Duration::from_secs(20);
/// Number of requests of this process, each of which has an idempotency key of its own.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Sends requests until it is over, and counts those that fail although they are repeated as their codes say.
pub async fn send_probes(client: &Client, is_over: &AtomicBool) -> DrainCounts {
    let requests = Requests::default();
    let failures = join_all((0..CALLERS).map(|_| send_in_sequence(client, &requests, is_over))).await;
    let counts = requests.counts();
    DrainCounts { requests: counts.sent, repeated: counts.repeated, failures: failures.into_iter().flatten().collect() }
}

/// Sends one request after the other, and returns why some have failed.
async fn send_in_sequence(client: &Client, requests: &Requests, is_over: &AtomicBool) -> Vec<String> {
    let (mut failures, inputs) = (Vec::new(), text("probe"));
    while !is_over.load(Ordering::Acquire) {
        let key = format!("probe-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let call = || client.agent(WRITER).inputs(&inputs).idempotency_key(&key).timeout(CALL_MAX).send();
        failures.extend(failure_of(requests.send_until(Instant::now() + PROBE_MAX, call).await));
        sleep(PROBE_INTERVAL).await;
    }
    failures
}

/// Why a request has failed.
fn failure_of(reply: anyhow::Result<Option<Reply>>) -> Option<String> {
    match reply {
        Ok(Some(reply)) => reply.error.map(|cause| cause.to_string()),
        Ok(None) => Some(format!("no final reply within {PROBE_MAX:?}")),
        Err(error) => Some(format!("{error:#}")),
    }
}
