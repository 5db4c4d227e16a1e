//! Jobs that a pod executes: their results, their costs, and the id of a job as the idempotency key.

use std::sync::Arc;

use anyhow::Result;
use greenroom_client::Client;
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::runpod_api::{CallKind, FakeRunPod};
use greenroom_integration_tests::runpod_jobs::{DrivenWorker, test_options};
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::RunningCommand;
use greenroom_runpod::cost::ComputePrice;
use greenroom_runpod::worker::execution::{ExecutionHandler, Startup};
use greenroom_runpod::worker::lease::NoLeaseWork;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{result_of, results};

const AGENT: &str = "llm_agent";
const WORKFLOW: &str = "one_call";

/// A pod, and a model that counts its calls.
struct Fixture {
    model: ScriptServer,
    client: Client,
    _up: RunningCommand,
    _fixture: ModelFixture,
}

async fn fixture() -> Result<Fixture> {
    let model = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = ModelFixture::with_openai(model.url())?;
    fixture.write_llm_agent(AGENT, 60, 200)?;
    fixture.definitions.write_row_workflow(WORKFLOW, AGENT, 1)?;
    let (up, client) = fixture.up().await?;
    Ok(Fixture { model, client, _up: up, _fixture: fixture })
}

/// A worker whose host is the pod, and becomes ready when the sender is used.
fn worker(runpod: &FakeRunPod) -> Result<(DrivenWorker, watch::Sender<Startup>)> {
    let (startup, is_started) = watch::channel(Startup::Loading);
    let handler = ExecutionHandler::new(is_started, Arc::new(NoLeaseWork));
    let handler = handler.with_price(Some(ComputePrice::listed(0.03, 2)));
    Ok((DrivenWorker::new(&runpod.environment(), Arc::new(handler), test_options(4))?, startup))
}

fn job(id: &str, input: &Value) -> Value {
    json!({ "id": id, "input": input })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_taken_while_the_pod_starts_has_the_reply_and_the_cost_of_its_execution() -> Result<()> {
    let (pod, runpod) = (fixture().await?, FakeRunPod::start().await?);
    runpod.add_job(job("a-u1", &json!({ "agent": AGENT, "inputs": { "text": "x" } })));
    let (worker, startup) = worker(&runpod)?;
    let executed = async {
        startup.send_replace(Startup::Ready(pod.client.clone()));
        result_of(&runpod, "a-u1").await
    };
    let (result, _) = worker.run_until(executed).await?;
    let output = &result["output"];
    assert_eq!((&output["status"], &result["error"]), (&json!("success"), &Value::Null), "{result}");
    assert_eq!(output["outputs"]["text"], json!("done"));
    let cost = &output["cost"];
    let (seconds, compute) = (cost["worker_seconds"].as_f64().unwrap(), cost["compute_usd"].as_f64().unwrap());
    assert!(seconds > 0.0 && (compute - seconds * 2.0 * 0.03 / 3_600.0).abs() < 1e-9, "{cost}");
    assert!(cost["total_usd"].as_f64().unwrap() >= compute);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_another_worker_gets_again_is_not_executed_again() -> Result<()> {
    let pod = fixture().await?;
    let repeated = job("b-u1", &json!({ "workflow": WORKFLOW, "inputs": { "text": "x" } }));
    let mut ids = Vec::new();
    for _ in 0..2 {
        // Each time from a server of its own, because the last poll of a worker that has ended may take a job.
        let runpod = FakeRunPod::start().await?;
        runpod.add_job(repeated.clone());
        let (worker, startup) = worker(&runpod)?;
        startup.send_replace(Startup::Ready(pod.client.clone()));
        let (result, _) = worker.run_until(result_of(&runpod, "b-u1")).await?;
        ids.push(result["output"]["id"].clone());
    }
    assert_eq!(pod.model.count(), 1);
    assert_eq!(ids[0], ids[1], "both results are the reply of the same run");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_refused_or_fails_has_the_code_of_its_cause() -> Result<()> {
    let (pod, runpod) = (fixture().await?, FakeRunPod::start().await?);
    let jobs = [
        ("unknown", json!({ "agent": "no_such_agent", "inputs": {} }), "unknown_agent"),
        ("team", json!({ "team": "t", "inputs": {} }), "invalid_request"),
        ("members", json!({ "agent": AGENT, "arguments": {} }), "invalid_request"),
        ("missing", json!({ "agent": AGENT, "inputs": {} }), "missing_input"),
        ("text", json!("hello"), "invalid_request"),
    ];
    for (id, input, _) in &jobs {
        runpod.add_job(job(id, input));
    }
    let (worker, startup) = worker(&runpod)?;
    startup.send_replace(Startup::Ready(pod.client.clone()));
    worker.run_until(results(&runpod, jobs.len())).await?;
    for (id, _, code) in &jobs {
        let result = runpod.result(id).unwrap();
        let error: Value = serde_json::from_str(result["error"].as_str().unwrap())?;
        assert_eq!(error["error_type"], json!(code), "{id}: {result}");
    }
    assert_eq!(pod.model.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_streams_ends_its_stream_with_the_reply_or_its_failure() -> Result<()> {
    let (pod, runpod) = (fixture().await?, FakeRunPod::start().await?);
    runpod.add_job(job("s-u1", &json!({ "agent": AGENT, "inputs": { "text": "x" }, "stream": true })));
    runpod.add_job(job("f-u1", &json!({ "agent": "no_such_agent", "inputs": {}, "stream": true })));
    let (worker, startup) = worker(&runpod)?;
    startup.send_replace(Startup::Ready(pod.client.clone()));
    worker.run_until(results(&runpod, 2)).await?;
    assert_eq!(runpod.result("s-u1").unwrap()["output"]["outputs"]["text"], json!("done"));
    assert!(runpod.result("f-u1").unwrap()["error"].is_string());
    for call in runpod.calls_of(CallKind::Done) {
        assert!(call.target.ends_with("&isStream=true"), "{}", call.target);
    }
    Ok(())
}
