//! One decision of the guard, from the caller and back: serialise, evaluate in WASM within its fuel,
//! decode, and the way to the shard's actor; beside an OPA server over loopback HTTP.
//!
//! The inputs are those that the demo's dispatches put to the guard: a tap beside it keeps them. The
//! policy is the one that ships. `OPA` names the pinned binary; without it the peer is left out.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use greenroom_client::client::CallParams;
use greenroom_integration_tests::bench::{Latencies, Threshold, missing, record};
use greenroom_integration_tests::test_pod::{StoreKind, TestPod, start_pod};
use greenroom_protocol::{Json, Status, TeamId, Values, WorkflowId};
use greenroom_rego::{EvaluationError, Evaluator, Explanation, Input, PolicyDecision};
use greenroom_supervisor::compose::Overrides;

/// Decisions that are measured, and before them those that warm up.
const DECISIONS: usize = 60_000;
const WARM_UP: usize = 5_000;
/// Decisions of the server, which are slower.
const SERVED: usize = 6_000;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let tap = Arc::new(InputRecorder::default());
        let rented = demo_pod(&tap).await?;
        let inputs = tap.inputs();
        ensure!(inputs.len() >= 7, "the demo put only {} questions", inputs.len());
        let policy = rented.pod.guard().active_policy();
        let sizes = inputs.iter().map(|input| input.to_pruned_json(policy.read_set()).map(|bytes| bytes.len()));
        let largest = sizes.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(0);
        record(
            "guard",
            format!("largest of the demo's {} inputs", inputs.len()),
            largest as f64,
            "B",
            Threshold::AtMost(512.0),
        )?;

        let guard = rented.pod.guard().clone();
        // The caller is a task of the runtime, as every stage of the pipeline is.
        let ours = tokio::spawn(decisions(guard, inputs.clone())).await??;
        record("guard", "decision from the caller, p10", ours.micros(0.1), "µs", Threshold::AtMost(20.0))?;
        record("guard", "decision from the caller, p50", ours.micros(0.5), "µs", Threshold::AtMost(40.0))?;
        record("guard", "decision from the caller, p99", ours.micros(0.99), "µs", Threshold::AtMost(130.0))?;
        let peer = "OPA server's p50 ÷ ours";
        let theirs = match std::env::var_os("OPA").filter(|opa| !opa.is_empty()) {
            Some(opa) => served(Path::new(&opa), &inputs).await.map_err(|error| format!("{error:#}")),
            None => Err("OPA names no server".to_owned()),
        };
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(why) => return missing("guard", peer, &why, "×", Threshold::AtLeast(15.0)),
        };
        record(
            "guard",
            "OPA server over loopback HTTP, keep-alive, p50",
            theirs.micros(0.5),
            "µs",
            Threshold::Informational,
        )?;
        let ratio = theirs.micros(0.5) / ours.micros(0.5);
        record("guard", peer, ratio, "×", Threshold::AtLeast(15.0))?;
        rented.pod.shutdown().await;
        Ok(())
    })
}

/// Keeps every question on its way to the guard.
#[derive(Default)]
struct InputRecorder {
    inputs: Mutex<Vec<Arc<Input>>>,
}

impl InputRecorder {
    fn inputs(&self) -> Vec<Arc<Input>> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct RecordingEvaluator {
    tap: Arc<InputRecorder>,
    guard: Arc<dyn Evaluator>,
}

#[async_trait]
impl Evaluator for RecordingEvaluator {
    async fn allowed(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        self.tap.inputs.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&input));
        self.guard.allowed(input).await
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError> {
        self.guard.explain(input).await
    }
}

/// A house that has run the demo's team once.
async fn demo_pod(tap: &Arc<InputRecorder>) -> anyhow::Result<TestPod> {
    let tap = Arc::clone(tap);
    let wrap = move |guard: Arc<dyn Evaluator>| {
        Arc::new(RecordingEvaluator { tap: Arc::clone(&tap), guard }) as Arc<dyn Evaluator>
    };
    let extras = Overrides { evaluator: Some(Box::new(wrap)), ..Overrides::default() };
    let rented = start_pod(StoreKind::Memory, None, extras).await?;
    let sales = Path::new(env!("CARGO_MANIFEST_DIR")).join("../supervisor/demo/sales.csv");
    let sales = std::fs::read(sales)?;
    let artifact = rented.pod.stores().artifacts.put(sales, "text/csv", "sales.csv").await?;
    let work = CallParams {
        inputs: Values::from([("data_source".to_owned(), artifact.to_json())]),
        context: Values::from([("quarter".to_owned(), Json::from("Q4 2024"))]),
        ..CallParams::default()
    };
    let team = TeamId::new("reporting_team")?;
    let reply = rented.admin()?.run_team(team, WorkflowId::new("generate_quarterly_report")?, work).await?;
    ensure!(reply.status == Status::Success, "{:?}", reply.error);
    Ok(rented)
}

async fn decisions(guard: impl Evaluator, inputs: Vec<Arc<Input>>) -> anyhow::Result<Latencies> {
    let mut took = Vec::with_capacity(DECISIONS);
    for (round, input) in inputs.iter().cycle().take(WARM_UP + DECISIONS).enumerate() {
        let began = Instant::now();
        let verdict = guard.allowed(Arc::clone(input)).await?;
        let elapsed = began.elapsed();
        ensure!(verdict.is_allowed(), "the demo's own question was denied");
        if round >= WARM_UP {
            took.push(elapsed);
        }
    }
    Ok(took.into_iter().collect())
}

/// Ends the server when the measurement does.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn served(opa: &Path, inputs: &[Arc<Input>]) -> anyhow::Result<Latencies> {
    let rego = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rego");
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let _server = Server(
        Command::new(opa)
            .args(["run", "--server", "--log-level", "error", "--ignore", "*_test.rego", "--addr"])
            .arg(format!("127.0.0.1:{port}"))
            .args([rego.join("policy"), rego.join("bundle/data.json")])
            .stdout(Stdio::null())
            .spawn()?,
    );
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().tcp_nodelay(true).no_proxy().build()?;
    let url = format!("http://127.0.0.1:{port}/v1/data/guard/allowed");
    let bodies: Vec<Vec<u8>> = inputs
        .iter()
        .map(|input| serde_json::to_vec(&serde_json::json!({ "input": &**input })))
        .collect::<Result<_, _>>()?;
    for _ in 0..200 {
        if client.get(format!("http://127.0.0.1:{port}/health")).send().await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut took = Vec::with_capacity(SERVED);
    for (round, body) in bodies.iter().cycle().take(SERVED + SERVED / 10).enumerate() {
        let began = Instant::now();
        let answer = client.post(&url).body(body.clone()).send().await.context("the OPA server does not answer")?;
        let answer: Json = serde_json::from_slice(&answer.bytes().await?)?;
        let elapsed = began.elapsed();
        ensure!(answer.pointer("/result/allow") == Some(&Json::Bool(true)), "OPA says {answer}");
        if round >= SERVED / 10 {
            took.push(elapsed);
        }
    }
    Ok(took.into_iter().collect())
}
