//! The real worker beside a NATS server: a lease keeps it while its pod has work that is no job, and `--thin` sends jobs to
//! the pods of others.

use anyhow::{Context as _, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::runpod_api::{FakeRunPod, KEY};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_integration_tests::wait::wait_until;
use serde_json::json;

use super::{WAIT_MAX, result_of};
use crate::postgres::create_database;

const ECHO: &str = "echo_agent";
const WORKFLOW: &str = "one_echo";

/// A terminal with an agent that calls no model, whose pods receive requests over the server.
fn fixture(server: &NatsServer) -> Result<ModelFixture> {
    let mut fixture = ModelFixture::with_openai("http://127.0.0.1:1/v1")?;
    server.configure(&mut fixture.terminal)?;
    fixture.definitions.write_echo_agent(ECHO)?;
    fixture.definitions.write_row_workflow(WORKFLOW, ECHO, 1)?;
    Ok(fixture)
}

fn set_environment(terminal: &mut CliHarness, runpod: &FakeRunPod) {
    for (name, value) in runpod.environment() {
        terminal.set_variable(&name, &value);
    }
}

/// Waits until a pod has replied to a request over the server.
async fn wait_serving(server: &NatsServer) -> Result<()> {
    let client = server.client().await?;
    let request = || async { client.agent(ECHO).input("text", "hello").execute().await.ok() };
    let outputs = wait_until("a pod serves", WAIT_MAX, request).await?;
    assert_eq!(outputs["text"], "hello");
    Ok(())
}

async fn status(terminal: &CliHarness, run: &str) -> Result<String> {
    let report = terminal.run(&["runs", "show", run]).await?.expect_success()?;
    Ok(report["run"]["status"].as_str().context("a status")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_keeps_the_worker_while_its_pod_ends_a_run_that_waited_and_serves_requests() -> Result<()> {
    let (server, runpod) = (NatsServer::start().await?, FakeRunPod::start().await?);
    let mut fixture = fixture(&server)?;
    fixture.terminal.set_variable("DATABASE_URL", &create_database("runpod_lease").await?);
    fixture.terminal.run(&["db", "migrate"]).await?.expect_success()?;
    // The pod of this command leaves the run to another one, and there is none.
    let words = ["run", "workflow", WORKFLOW, "--input", "text=hello", "--detach"];
    let accepted = fixture.terminal.run(&words).await?.expect_success()?;
    let run = accepted["id"].as_str().context("the id of the run")?;
    assert_ne!(status(&fixture.terminal, run).await?, "success", "no pod has executed it");

    set_environment(&mut fixture.terminal, &runpod);
    runpod.add_job(json!({ "id": "l-e1", "input": { "mode": "lease", "max_s": 600, "idle_s": 4 } }));
    let worker = fixture.terminal.start(&["runpod", "worker"])?;
    wait_serving(&server).await.with_context(|| worker.err())?;
    ensure!(runpod.result("l-e1").is_none(), "the lease has not ended while there was work");
    let result = result_of(&runpod, "l-e1").await?;
    let lease = &result["output"]["lease"];
    assert_eq!(lease["end"], json!("idle"), "{result}");
    ensure!(lease["requests"].as_u64().is_some_and(|requests| requests > 0), "the request is counted: {result}");
    worker.terminate()?;
    let ended = worker.wait().await?;
    ensure!(ended.code == 0 && !ended.out.contains(KEY), "{ended:?}");
    assert_eq!(status(&fixture.terminal, run).await?, "success");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thin_worker_sends_its_jobs_to_a_pod_over_nats() -> Result<()> {
    let (server, runpod) = (NatsServer::start().await?, FakeRunPod::start().await?);
    let fixture = fixture(&server)?;
    let (_pod, _) = fixture.up().await?;
    wait_serving(&server).await?;
    let mut terminal = CliHarness::open()?;
    server.configure(&mut terminal)?;
    set_environment(&mut terminal, &runpod);
    runpod.add_job(json!({ "id": "a-u1", "input": { "agent": ECHO, "inputs": { "text": "x" } } }));
    let worker = terminal.start(&["runpod", "worker", "--thin"])?;
    let result = result_of(&runpod, "a-u1").await.with_context(|| worker.err())?;
    assert_eq!(result["output"]["outputs"]["text"], json!("x"), "{result}");
    // Of the work of other pods it knows nothing, so a lease ends after its idle time.
    runpod.add_job(json!({ "id": "l-e1", "input": { "mode": "lease", "idle_s": 0 } }));
    assert_eq!(result_of(&runpod, "l-e1").await?["output"]["lease"]["end"], json!("idle"));
    worker.terminate()?;
    let ended = worker.wait().await?;
    ensure!(ended.code == 0 && !ended.out.contains(KEY), "{ended:?}");
    Ok(())
}
