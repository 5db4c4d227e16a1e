//! Recovery: a process that is killed or ended loses nothing that it has confirmed, and a reader of events reads each of
//! them once.

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, RunningCommand};
use greenroom_integration_tests::up_process::{UpProcess, free_address, wait_until_ready};
use greenroom_integration_tests::wait::wait_until;
use tokio::net::TcpStream;

use super::readers::start_reader;
use super::sse::{RunRow, numbers_and_kinds, rows};
use super::{ECHO, ROW, WAIT_MAX, await_approval, detach, start, wait_for_status};

/// Approves the step of a run, as soon as a process that was started again has the run.
async fn approve(up: &UpProcess, run: &str) -> Result<()> {
    let client = up.nats(ADMIN_KEY).await?;
    let approved = || async { client.run(run).approve("sign").reply().await.ok().map(drop) };
    wait_until("the resumed run is approved", WAIT_MAX, approved).await.with_context(|| up.log())
}

/// Waits until a reader has the request for an approval.
async fn wait_for_request(reader: &RunningCommand) -> Result<()> {
    let has_request = || async {
        let read = rows(&reader.out()).ok()?;
        read.iter().any(|row| row.kind == "approval_requested").then_some(())
    };
    wait_until("the reader has the request", COMMAND_WAIT_MAX, has_request).await
}

/// Fails unless these are the events of the run, each once and in order.
async fn ensure_complete(up: &UpProcess, run: &str, read: &[RunRow]) -> Result<()> {
    let whole = rows(&up.get(&format!("/v1/runs/{run}/events")).await?.text())?;
    assert_eq!(numbers_and_kinds(read), numbers_and_kinds(&whole));
    ensure!(read.iter().any(|row| row.kind == "run_resumed"), "the run was not resumed: {read:?}");
    ensure!(read.last().is_some_and(|row| row.kind == "run_ended"), "{read:?}");
    Ok(())
}

#[tokio::test]
async fn a_reader_that_connects_again_after_its_pod_was_killed_reads_every_event_once() -> Result<()> {
    let up = start().await?;
    let run = await_approval(&up).await?;
    let reader = start_reader(&up.terminal, up.addr, &run, None)?;
    wait_for_request(&reader).await?;
    up.kill();
    let first = reader.wait_or_kill().await?.context("a reader ends by itself")?;
    let mut read = rows(&first.out)?;
    up.restart().await?;
    let last = read.last().context("an event")?.id.clone();
    let reader = start_reader(&up.terminal, up.addr, &run, Some(&last))?;
    approve(&up, &run).await?;
    let second = reader.wait().await?;
    assert_eq!(second.code, 0, "{second:?}");
    read.extend(rows(&second.out)?);
    ensure_complete(&up, &run, &read).await
}

#[tokio::test]
async fn a_reader_of_a_bridge_reads_every_event_once_while_a_pod_is_killed() -> Result<()> {
    let mut up = start().await?;
    let (addr, bridge_addr) = (up.addr, free_address()?);
    up.terminal.set_variable("GREENROOM_HTTP_ADDR", &bridge_addr.to_string());
    let _bridge = up.terminal.start(&["bridge"])?;
    up.terminal.set_variable("GREENROOM_HTTP_ADDR", &addr.to_string());
    wait_until_ready(bridge_addr).await?;
    let run = await_approval(&up).await?;
    let reader = start_reader(&up.terminal, bridge_addr, &run, None)?;
    wait_for_request(&reader).await?;
    up.kill();
    up.restart().await?;
    approve(&up, &run).await?;
    // The stream of the bridge has never ended.
    let read = reader.wait().await?;
    assert_eq!(read.code, 0, "{read:?}");
    ensure_complete(&up, &run, &rows(&read.out)?).await
}

#[tokio::test]
async fn a_run_that_waits_for_a_person_outlives_a_kill() -> Result<()> {
    let up = start().await?;
    let run = await_approval(&up).await?;
    up.kill();
    up.restart().await?;
    approve(&up, &run).await?;
    let described = wait_for_status(&up, &run, "success").await?;
    assert_eq!(described["reply"]["outputs"]["final_output"], "hello");
    assert_eq!(up.terminal.run(&["audit", "verify"]).await?.expect_success()?["valid"], true);
    Ok(())
}

#[tokio::test]
async fn a_reply_with_an_idempotency_key_outlives_a_kill() -> Result<()> {
    let up = start().await?;
    let client = up.http(ADMIN_KEY)?;
    let call = || client.agent(ECHO).input("text", "hello").idempotency_key("before_the_kill").reply();
    let first = call().await?;
    up.kill();
    up.restart().await?;
    assert_eq!(call().await?.id, first.id);
    Ok(())
}

#[tokio::test]
async fn an_artifact_and_a_run_that_has_ended_outlive_a_kill() -> Result<()> {
    let up = start().await?;
    let stored = up.http(ADMIN_KEY)?.upload("note.txt", "text/plain", "confirmed").await?;
    let run = detach(&up, ROW).await?;
    wait_for_status(&up, &run, "success").await?;
    up.kill();
    up.restart().await?;
    assert_eq!(up.get(&format!("/v1/artifacts/{}", stored.hash)).await?.text(), "confirmed");
    wait_for_status(&up, &run, "success").await?;
    Ok(())
}

#[tokio::test]
async fn a_process_that_is_terminated_frees_its_port_and_its_runs_continue_with_the_next_one() -> Result<()> {
    let up = start().await?;
    let run = await_approval(&up).await?;
    up.terminate().await?;
    ensure!(TcpStream::connect(up.addr).await.is_err(), "the port is free");
    up.restart().await?;
    approve(&up, &run).await?;
    wait_for_status(&up, &run, "success").await?;
    Ok(())
}
