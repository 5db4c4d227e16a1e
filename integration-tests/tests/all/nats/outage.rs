//! A NATS that is away: the pod starts without it, is not ready, keeps its runs, and serves again once it is back.

use anyhow::Result;
use greenroom_client::CallParams;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::test_pod::text;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{AgentId, Status, UserId};

use super::fixture::{Caller, ECHO, NatsPod, WAIT_MAX, start};
use super::{start_signed, wait_for_status};
use serde_json::json;

async fn wait_served(caller: &Caller) -> Result<()> {
    let is_served = || async { (caller.echo("x").await.ok()?.status == Status::Success).then_some(()) };
    wait_until("the pod serves over NATS", WAIT_MAX, is_served).await
}

async fn wait_ready(pod: &NatsPod, expected: bool) -> Result<()> {
    let is_expected = || async { (pod.pod.readiness().unready_cause().is_none() == expected).then_some(()) };
    wait_until("the readiness of the pod changes", WAIT_MAX, is_expected).await
}

/// Executes an agent by a request that does not pass NATS.
async fn echo_locally(pod: &NatsPod) -> Result<()> {
    let params = CallParams { inputs: text("x"), ..CallParams::default() };
    let reply = pod.pod.client(&UserId::new("admin")?).run_agent(AgentId::new(ECHO)?, params).await?;
    assert_eq!(reply.status, Status::Success);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_nats_is_not_ready_and_serves_again_after_its_restart() -> Result<()> {
    let mut server = NatsServer::start().await?;
    let pod = start(&server.url(), "greenroom").await?;
    let caller = Caller::connect(&server.url(), "greenroom").await?;
    wait_served(&caller).await?;
    let run = start_signed(&caller).await?;
    assert!(pod.shows("nats_connected 1") && pod.pod.readiness().unready_cause().is_none());
    server.kill()?;
    wait_ready(&pod, false).await?;
    assert!(pod.shows("nats_connected 0") && pod.shows("pod_ready 0"), "{}", pod.pod.metrics().render());
    echo_locally(&pod).await?;
    server.restart().await?;
    wait_ready(&pod, true).await?;
    wait_served(&caller).await?;
    // Its runs are as they were.
    wait_for_status(&caller, &run, "waiting_approval").await?;
    let approved =
        caller.request(&format!("runs.{run}.signal"), &json!({ "signal": "approve", "step": "sign" })).await?;
    assert_eq!(approved.error, None);
    wait_for_status(&caller, &run, "success").await?;
    let reconnected = pod.pod.metrics().render();
    assert!(reconnected.contains("\nnats_reconnects 1\n"), "{reconnected}");
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_starts_before_nats_and_serves_once_it_is_there() -> Result<()> {
    let mut server = NatsServer::start().await?;
    server.kill()?;
    let pod = start(&server.url(), "greenroom").await?;
    assert!(pod.pod.readiness().unready_cause().is_some());
    echo_locally(&pod).await?;
    server.restart().await?;
    wait_ready(&pod, true).await?;
    wait_served(&Caller::connect(&server.url(), "greenroom").await?).await?;
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_ends_in_order_while_nats_does_not_reply() -> Result<()> {
    let server = NatsServer::start().await?;
    let pod = start(&server.url(), "greenroom").await?;
    echo_locally(&pod).await?;
    server.set_suspended(true)?;
    tokio::time::timeout(WAIT_MAX, pod.pod.shutdown()).await?;
    server.set_suspended(false)
}
