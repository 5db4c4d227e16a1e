//! Two clusters on one server: each has a prefix and a secret of its own, and neither reads or serves anything of the other.

use anyhow::Result;
use greenroom_protocol::{ErrorCode, Frame, Status};
use greenroom_supervisor::config::Secret;
use serde_json::json;

use super::fixture::{Caller, NatsPod, shared_url, start_with};
use super::start_signed;

/// Requests of each cluster.
const REQUESTS: usize = 32;

async fn cluster(prefix: &str) -> Result<(NatsPod, Caller)> {
    let url = shared_url()?;
    let pod = start_with(&url, prefix, |config| {
        config.cluster.name = prefix.to_owned();
        config.cluster.secret = Some(Secret::new(format!("planted secret of {prefix}")));
    });
    Ok((pod.await?, Caller::connect(&url, prefix).await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_on_one_server_neither_serve_nor_know_each_other() -> Result<()> {
    let (green, of_green) = cluster("t_green").await?;
    let (red, of_red) = cluster("t_red").await?;
    let run = start_signed(&of_green).await?;
    for _ in 0..REQUESTS {
        assert_eq!(of_green.echo("x").await?.status, Status::Success);
        assert_eq!(of_red.echo("x").await?.status, Status::Success);
    }
    // A run is one of its cluster only, for the same user.
    let subject = format!("runs.{run}.get");
    assert_eq!(of_red.code(&subject, "{}").await?, ErrorCode::UnknownRun);
    let frames = of_red.frames(&format!("runs.{run}.events"), &json!({})).await?;
    assert!(matches!(frames.as_slice(), [Frame::Refused { .. }]), "{frames:?}");
    assert_eq!(of_green.request(&subject, &json!({})).await?.outputs["run"]["status"], "waiting_approval");
    // No message between the pods of one cluster has reached the other one, not even as one to drop.
    for pod in [&green, &red] {
        assert!(pod.shows("nats_dropped{message=\"unsigned\"} 0"), "{}", pod.pod.metrics().render());
        assert!(pod.pod.readiness().unready_cause().is_none());
    }
    assert!(red.shows(&format!("nats_requests{{outcome=\"success\"}} {REQUESTS}")), "{}", red.pod.metrics().render());
    for pod in [green, red] {
        pod.pod.shutdown().await;
    }
    Ok(())
}
