//! A consumer that reads nothing: the server ends its connection, and neither the pod nor another caller is slower for it.

use anyhow::{Context as _, Result};
use futures::future::join_all;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Status;

use super::fixture::{Caller, ECHO, NatsPod, WAIT_MAX, start};
use super::unread_connection::UnreadConnection;

/// Replies that the consumer requests, and their bytes: more than the buffers of the system hold.
const REPLIES: usize = 300;
const REPLY_BYTES: usize = 64 * 1024;
/// Requests of the consumer that may be under way: more would be too much for the connection of the pod too.
const UNDER_WAY_MAX: u64 = 8;
/// Requests of the other caller.
const REQUESTS: usize = 50;

/// The requests that the pod has replied to.
fn count_replied(pod: &NatsPod) -> Option<u64> {
    let page = pod.pod.metrics().render();
    page.lines().find_map(|line| line.strip_prefix("nats_requests{outcome=\"success\"} "))?.parse().ok()
}

/// Sends the requests, and reads no reply. The server may end the connection meanwhile.
async fn request(connection: &mut UnreadConnection, pod: &NatsPod) -> Result<()> {
    let body = format!("{{\"inputs\":{{\"text\":\"{}\"}}}}", "x".repeat(REPLY_BYTES));
    let subject = format!("greenroom.v1.agents.{ECHO}.execute");
    let replied_before = count_replied(pod).context("the metric")?;
    for sent in 1..=REPLIES as u64 {
        if connection.request(&subject, &body).await.is_err() {
            break;
        }
        let is_replied = || async {
            let replied = count_replied(pod)?.saturating_sub(replied_before);
            (replied.saturating_add(UNDER_WAY_MAX) >= sent).then_some(())
        };
        wait_until("the pod replies", WAIT_MAX, is_replied).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_reads_nothing_slows_neither_the_pod_nor_another_caller() -> Result<()> {
    let server = NatsServer::start_with("max_pending: 2097152\n").await?;
    let pod = start(&server.url(), "greenroom").await?;
    let caller = Caller::connect(&server.url(), "greenroom").await?;
    let mut slow = UnreadConnection::connect(&server.url()).await?;
    request(&mut slow, &pod).await?;
    for reply in join_all((0..REQUESTS).map(|_| caller.echo("x"))).await {
        assert_eq!(reply?.status, Status::Success);
    }
    let rest = slow.wait_ended().await?;
    assert!(rest < REPLIES * REPLY_BYTES, "the server has dropped what was not read");
    let page = pod.pod.metrics().render();
    assert!(pod.shows("nats_connected 1") && pod.shows("nats_reconnects 0"), "{page}");
    assert!(pod.shows("nats_dropped{message=\"outgoing\"} 0"), "{page}");
    assert_eq!(caller.echo("after it").await?.status, Status::Success);
    pod.pod.shutdown().await;
    Ok(())
}
