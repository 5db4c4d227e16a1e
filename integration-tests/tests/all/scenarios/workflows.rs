//! Workflows: a run is started, found, listed and continued by any interface, whichever started it.

use anyhow::{Context, Result};
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_integration_tests::up_process::UpProcess;
use greenroom_integration_tests::wait::wait_until;
use serde_json::json;

use super::interface::{ADMIN, Callee, Interface, Outcome};
use super::{PAID, ROW, WAIT_MAX, detach, shared, start, wait_for_status};

#[tokio::test]
async fn a_workflow_returns_the_same_outputs_over_every_interface() -> Result<()> {
    let up = shared().await?;
    for interface in Interface::ALL {
        let outcome = interface.call(&up, &ADMIN, Callee::Workflow(ROW), Some("hello")).await?;
        assert_eq!(outcome, Outcome::run_outputs("hello"), "{interface:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_workflow_that_does_not_exist_is_refused_over_every_interface() -> Result<()> {
    let up = shared().await?;
    for interface in Interface::ALL {
        let outcome = interface.call(&up, &ADMIN, Callee::Workflow("no_such_flow"), Some("hello")).await?;
        assert_eq!(outcome, Outcome::refusal("unknown_workflow"), "{interface:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_run_that_was_started_over_http_is_described_over_every_interface() -> Result<()> {
    let up = shared().await?;
    let run = detach(&up, ROW).await?;
    let described = wait_for_status(&up, &run, "success").await?;
    assert_eq!(described["reply"]["outputs"]["final_output"], "hello");
    let by_command = up.terminal.run(&["runs", "show", &run]).await?.expect_success()?;
    assert_eq!(by_command["run"]["status"], "success", "{by_command:#}");
    let over_nats = up.nats(ADMIN_KEY).await?.run(&run).get().execute().await?;
    assert_eq!(over_nats["run"]["status"], "success", "{over_nats:?}");
    Ok(())
}

#[tokio::test]
async fn a_run_that_a_command_has_started_is_described_over_http() -> Result<()> {
    let up = shared().await?;
    let words = ["run", "workflow", ROW, "--input", "text=from a command", "--detach"];
    let reply = up.terminal.run(&words).await?.expect_success()?;
    let run = reply["outputs"]["run_id"].as_str().context("a run")?;
    let described = wait_for_status(&up, run, "success").await?;
    assert_eq!(described["reply"]["outputs"]["final_output"], "from a command");
    Ok(())
}

#[tokio::test]
async fn runs_are_listed_over_http_a_page_at_a_time() -> Result<()> {
    let up = start().await?;
    let mut started = Vec::new();
    for _ in 0..3 {
        let run = detach(&up, ROW).await?;
        wait_for_status(&up, &run, "success").await?;
        started.push(run);
    }
    let first = up.get(&format!("/v1/runs?workflow={ROW}&limit=2")).await?.json()?;
    let cursor = first["outputs"]["next"].as_str().context("a cursor")?;
    let second = up.get(&format!("/v1/runs?workflow={ROW}&limit=2&after={cursor}")).await?.json()?;
    let pages = [first.clone(), second];
    let rows = pages.iter().flat_map(|page| page["outputs"]["runs"].as_array().into_iter().flatten());
    let mut listed: Vec<&str> = rows.filter_map(|row| row["run_id"].as_str()).collect();
    listed.reverse();
    assert_eq!(listed, started, "the newest run is the first one");
    Ok(())
}

/// Waits until the run waits for its payment.
async fn wait_for_payment(up: &UpProcess, run: &str) -> Result<()> {
    let pending = || async {
        let described = up.get(&format!("/v1/runs/{run}")).await.ok()?.json().ok()?;
        (described["outputs"]["run"]["pending_waits"][0]["target"]["event"] == "paid").then_some(())
    };
    wait_until("a step waits for the event", WAIT_MAX, pending).await
}

#[tokio::test]
async fn an_event_that_a_command_publishes_continues_a_run() -> Result<()> {
    let up = shared().await?;
    let run = detach(&up, PAID).await?;
    wait_for_payment(&up, &run).await?;
    let words = ["runs", "publish", &run, "paid", "--data", "{\"amount\": 3}"];
    up.terminal.run(&words).await?.expect_success()?;
    let described = wait_for_status(&up, &run, "success").await?;
    assert_eq!(described["reply"]["outputs"]["final_output"], "paid 3");
    Ok(())
}

#[tokio::test]
async fn an_event_that_is_published_over_nats_continues_a_run() -> Result<()> {
    let up = shared().await?;
    let run = detach(&up, PAID).await?;
    wait_for_payment(&up, &run).await?;
    up.nats(ADMIN_KEY).await?.run(&run).publish("paid", json!({ "amount": 4 })).reply().await?;
    let described = wait_for_status(&up, &run, "success").await?;
    assert_eq!(described["reply"]["outputs"]["final_output"], "paid 4");
    Ok(())
}
