//! `greenroom runpod …` as a process: the worker with a pod inside, one job outside of RunPod, the plan of a deployment, and no
//! secret in any output.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::runpod_api::{FakeRunPod, KEY};
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::CliHarness;
use serde_json::{Value, json};

use super::result_of;

const AGENT: &str = "llm_agent";

/// The path of a file of the tree.
fn path(name: &str) -> String {
    format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_pod_inside_executes_jobs_and_ends_at_sigterm() -> Result<()> {
    let model = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let mut fixture = ModelFixture::with_openai(model.url())?;
    fixture.write_llm_agent(AGENT, 60, 200)?;
    let runpod = FakeRunPod::start().await?;
    for (name, value) in runpod.environment() {
        fixture.terminal.set_variable(&name, &value);
    }
    // The job is there before the pod is: it is taken at once, and waits.
    runpod.add_job(json!({ "id": "a-u1", "input": { "agent": AGENT, "inputs": { "text": "x" } } }));
    runpod.add_job(json!({ "id": "s-u1", "input": { "agent": AGENT, "inputs": { "text": "y" }, "stream": true } }));
    let worker = fixture.terminal.start(&["runpod", "worker"])?;
    let result = result_of(&runpod, "a-u1").await?;
    assert_eq!(result["output"]["status"], json!("success"), "{result}");
    let streamed = result_of(&runpod, "s-u1").await?;
    assert_eq!(streamed["output"]["outputs"]["text"], json!("done"), "{streamed}");
    let parts = runpod.parts("s-u1");
    let texts: Option<Vec<&str>> = parts.iter().map(|part| part["text"].as_str()).collect();
    ensure!(texts.is_some_and(|texts| !texts.concat().is_empty()), "the text of the model is streamed: {parts:?}");
    worker.terminate()?;
    let ended = worker.wait().await?;
    assert_eq!(ended.code, 0, "{ended:?}");
    ensure!(!ended.out.contains(KEY) && !ended.err.contains(KEY), "{ended:?}");
    let line = ended.out.lines().last().context("the log is on standard output")?;
    let line: Value = serde_json::from_str(line)?;
    let members = (line["level"].as_str(), line["requestId"].is_null(), line["message"].is_string());
    assert_eq!(members, (Some("INFO"), true, true), "{line}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_start_fails_its_job_and_reports_itself() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    let mut terminal = CliHarness::open()?;
    for (name, value) in runpod.environment() {
        terminal.set_variable(&name, &value);
    }
    terminal.set_variable("GREENROOM_DEFINITIONS", "no-such-folder");
    runpod.add_job(json!({ "id": "a-u1", "input": { "agent": AGENT } }));
    let ended = terminal.run(&["runpod", "worker"]).await?;
    ensure!(ended.code == 2, "{ended:?}");
    let calls = runpod.calls();
    let report = calls.iter().find(|call| call.target.contains("status=unhealthy&check=start"));
    let since_report = report.context("it is reported")?.at.elapsed();
    ensure!(since_report < Duration::from_millis(2_500), "the process ends after its report: {since_report:?}");
    let result = runpod.result("a-u1").context("the job has a result")?;
    let error: Value = serde_json::from_str(result["error"].as_str().context("it has failed")?)?;
    assert_eq!(error["error_type"], json!("invalid_definition"), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_plan_for_the_customers_file_is_printed_without_a_key() -> Result<()> {
    let terminal = CliHarness::open()?;
    let file = path("runpod/endpoints/runpod-config.yaml");
    let planned = terminal.run(&["runpod", "deploy", "--dry-run", &file]).await?.expect_success()?;
    let plan = planned["plan"].as_array().context("a plan")?;
    let actions: Vec<(&str, &str)> =
        plan.iter().filter_map(|step| Some((step["name"].as_str()?, step["action"].as_str()?))).collect();
    assert_eq!(actions, [("ai-agents-platform", "create"), ("ai-agents-platform-bridge", "create")]);
    assert_eq!((&planned["applied"], planned["keys"].as_array().map(Vec::len)), (&json!(false), Some(23)));
    assert_eq!(planned["needs"].as_array().map(Vec::len), Some(6), "{planned:#}");
    let image = "ghcr.io/acme/greenroom:1.0.0";
    let text = terminal.run(&["runpod", "deploy", "--dry-run", &file, "--image", image, "-o", "table"]).await?;
    assert_eq!(text.code, 0, "{text:?}");
    insta::assert_snapshot!(text.out);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_has_no_secret_in_its_output() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    let mut terminal = CliHarness::open()?;
    terminal.set_variable("RUNPOD_API_KEY", KEY);
    let (file, url) = (path("runpod/endpoints/queue.yaml"), runpod.rest_url());
    for (command, expected) in [("deploy", "create"), ("deploy", "keep"), ("status", "RUNNING")] {
        let output = terminal.run(&["runpod", command, &file, "--api-url", &url]).await?;
        ensure!(output.code == 0 && output.out.contains(expected), "{output:?}");
        ensure!(!output.out.contains(KEY) && !output.err.contains(KEY), "{output:?}");
    }
    let refused = terminal.run(&["runpod", "deploy", &path("README.md")]).await?;
    ensure!(refused.code == 2, "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn commands_without_what_they_need_are_refused() -> Result<()> {
    let terminal = CliHarness::open()?;
    let file = path("runpod/endpoints/queue.yaml");
    for arguments in [
        &["runpod", "deploy", file.as_str()][..],
        &["runpod", "status", file.as_str()],
        &["runpod", "scale", "--endpoint", "abc"],
        &["runpod", "worker"],
        &["runpod", "worker", "--test-input", "{}"],
        &["healthcheck"],
    ] {
        let refused = terminal.run(arguments).await?;
        ensure!(refused.code == 2, "{refused:?}");
    }
    Ok(())
}
