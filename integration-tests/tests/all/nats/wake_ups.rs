//! Wake-ups of a pod that are lost on their way: their numbers have a gap, which the receiver counts.

use anyhow::Result;
use async_nats::{Client, HeaderMap};
use greenroom_integration_tests::wait::wait_until;
use greenroom_supervisor::cluster::keys::{ClusterKey, ClusterSecret, KeyLabel};
use greenroom_supervisor::cluster::signed::signature;
use greenroom_supervisor::config::{ClusterConfig, Secret};
use serde_json::json;

use super::fixture::{CLUSTER_SECRET, WAIT_MAX, shared_url, start_with};

const PREFIX: &str = "t_wake_ups";
const CLUSTER: &str = "wake_ups";

/// Sends the wake-up with this number to all pods, as another pod of the cluster does.
async fn send_wake_up(client: &Client, key: &ClusterKey, n: u64) -> Result<()> {
    let (subject, body) =
        (format!("{PREFIX}.internal.wake.messages"), json!({ "pod": "another_pod", "n": n }).to_string());
    let mut headers = HeaderMap::new();
    headers.insert("Greenroom-Signature", signature(key, &subject, body.as_bytes()));
    client.publish_with_headers(subject, headers, body.into()).await?;
    Ok(client.flush().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_wake_ups_of_another_pod_are_counted_as_missed() -> Result<()> {
    let url = shared_url()?;
    let cluster = ClusterConfig { name: CLUSTER.to_owned(), secret: Some(Secret::new(CLUSTER_SECRET)) };
    let pod = start_with(&url, PREFIX, |config| config.cluster = cluster).await?;
    let (client, key) = (
        async_nats::connect(&url).await?,
        ClusterSecret::new(CLUSTER_SECRET, CLUSTER)?.key(KeyLabel::Wake, PREFIX.as_bytes())?,
    );
    let is_received = || async {
        send_wake_up(&client, &key, 7).await.ok()?;
        (!pod.shows("nats_wake_ups{event=\"received\"} 0")).then_some(())
    };
    wait_until("the pod listens", WAIT_MAX, is_received).await?;
    assert!(pod.shows("nats_wake_ups{event=\"missed\"} 0"), "{}", pod.pod.metrics().render());
    // Those with the numbers 8 and 9 have not arrived.
    send_wake_up(&client, &key, 10).await?;
    let is_missed = || async { pod.shows("nats_wake_ups{event=\"missed\"} 2").then_some(()) };
    wait_until("the gap is counted", WAIT_MAX, is_missed).await?;
    pod.pod.shutdown().await;
    Ok(())
}
