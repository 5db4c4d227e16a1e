//! Approvals: a step that waits for a person is resolved by any interface, whichever started its run.

use anyhow::{Context, Result};
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_protocol::ErrorCode;

use super::{SIGNED, await_approval, code, shared, wait_for_status};

const STEP: &str = r#"{"step":"sign"}"#;

#[tokio::test]
async fn a_step_of_a_command_is_approved_over_http() -> Result<()> {
    let up = shared().await?;
    let words = ["run", "workflow", SIGNED, "--input", "text=hello", "--detach"];
    let reply = up.terminal.run(&words).await?.expect_success()?;
    let run = reply["outputs"]["run_id"].as_str().context("a run")?;
    wait_for_status(&up, run, "waiting_approval").await?;
    assert_eq!(up.post(&format!("/v1/runs/{run}/approve"), &[], STEP).await?.status, 200);
    let described = wait_for_status(&up, run, "success").await?;
    assert_eq!(described["reply"]["outputs"]["final_output"], "hello");
    Ok(())
}

#[tokio::test]
async fn a_step_is_approved_by_a_command() -> Result<()> {
    let up = shared().await?;
    let run = await_approval(&up).await?;
    up.terminal.run(&["runs", "approve", &run, "sign"]).await?.expect_success()?;
    wait_for_status(&up, &run, "success").await?;
    Ok(())
}

#[tokio::test]
async fn a_step_is_rejected_over_nats_and_fails_its_run() -> Result<()> {
    let up = shared().await?;
    let run = await_approval(&up).await?;
    up.nats(ADMIN_KEY).await?.run(&run).reject("sign").reply().await?;
    wait_for_status(&up, &run, "failed").await?;
    Ok(())
}

#[tokio::test]
async fn a_step_that_awaits_nothing_is_refused_over_every_interface() -> Result<()> {
    let up = shared().await?;
    let run = await_approval(&up).await?;
    for client in [up.http(ADMIN_KEY)?, up.nats(ADMIN_KEY).await?] {
        let refused = client.run(&run).approve("no_such_step").reply().await;
        assert_eq!(code(refused), Some(ErrorCode::UnknownStep));
    }
    let refused = up.terminal.run(&["runs", "approve", &run, "no_such_step"]).await?.expect_error(2)?;
    assert_eq!(refused["code"], "unknown_step");
    up.nats(ADMIN_KEY).await?.run(&run).cancel().reply().await?;
    wait_for_status(&up, &run, "cancelled").await?;
    Ok(())
}

#[tokio::test]
async fn a_run_that_has_ended_is_approved_and_cancelled_no_more() -> Result<()> {
    let up = shared().await?;
    let run = await_approval(&up).await?;
    assert_eq!(up.post(&format!("/v1/runs/{run}/cancel"), &[], "").await?.status, 200);
    wait_for_status(&up, &run, "cancelled").await?;
    let client = up.nats(ADMIN_KEY).await?;
    assert_eq!(code(client.run(&run).approve("sign").reply().await), Some(ErrorCode::RunNotActive));
    assert_eq!(code(client.run(&run).cancel().reply().await), Some(ErrorCode::RunNotActive));
    Ok(())
}
