//! Short requests while pods are drained: none of them may fail, because each is shorter than the bound of a drain.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use greenroom_client::{Client, ReplyResult};
use tokio::time::sleep;

use super::history::DrainCounts;
use super::workload::WRITER;
use crate::test_pod::text;

/// Callers that send one request after the other, and the delay between two requests of one.
const CALLERS: usize = 4;
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// How long a request may take: less than a drain waits for it.
const PROBE_MAX: Duration = Duration::from_secs(20);

/// Sends requests until it is over, and counts those that fail. The client is the only one that repeats any.
pub async fn send_probes(client: &Client, is_over: &AtomicBool) -> DrainCounts {
    let counts = join_all((0..CALLERS).map(|_| send_in_sequence(client, is_over))).await;
    let mut total = DrainCounts::default();
    counts.into_iter().for_each(|counts| total.add(counts));
    total
}

async fn send_in_sequence(client: &Client, is_over: &AtomicBool) -> DrainCounts {
    let (mut counts, inputs) = (DrainCounts::default(), text("probe"));
    while !is_over.load(Ordering::Acquire) {
        let reply = client.agent(WRITER).inputs(&inputs).timeout(PROBE_MAX).send().await;
        counts.requests += 1;
        counts.failures.extend(failure_of(reply));
        sleep(PROBE_INTERVAL).await;
    }
    counts
}

/// Why a request has failed.
fn failure_of(reply: ReplyResult) -> Option<String> {
    match reply {
        Ok(reply) => reply.error.map(|cause| cause.to_string()),
        Err(error) => Some(error.to_string()),
    }
}
