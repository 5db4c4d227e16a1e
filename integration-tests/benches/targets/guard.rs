//! Measures one decision of the guard as the caller sees it: serialise, send to the worker's actor,
//! evaluate in WASM within the fuel limit, decode; compared with an OPA server over loopback HTTP.
//!
//! The inputs are those of the demo: an [`InputRecorder`] in front of the guard records them. The policy
//! is the shipped one. `OPA` names the pinned binary; without it the comparison is skipped.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use greenroom_client::CallParams;
use greenroom_integration_tests::bench::{Latencies, Threshold, missing, record};
use greenroom_integration_tests::test_pod::{StoreKind, TestPod, start_pod};
use greenroom_protocol::{Json, Status, TeamId, UserId, Values, WorkflowId};
use greenroom_rego::{EvaluationError, Evaluator, Explanation, Input, PolicyDecision};
use greenroom_supervisor::compose::Overrides;

/// Measured decisions, and the decisions before them that warm up the engines.
const DECISIONS: usize = 60_000;
const WARM_UP: usize = 5_000;
/// Measured decisions of the OPA server, which is slower.
const SERVED: usize = 6_000;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let recorder = Arc::new(InputRecorder::default());
        let test_pod = demo_pod(&recorder).await?;
        let inputs = recorder.inputs();
        ensure!(inputs.len() >= 7, "the demo made only {} access requests", inputs.len());
        let policy = test_pod.pod.guard().active_policy();
        let sizes = inputs.iter().map(|input| input.to_pruned_json(policy.read_set()).map(|bytes| bytes.len()));
        let largest = sizes.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(0);
        record(
            "guard",
            format!("largest of the demo's {} inputs", inputs.len()),
            largest as f64,
            "B",
            Threshold::AtMost(512.0),
        )?;

        let guard = test_pod.pod.guard().clone();
        // The caller is a task of the runtime, as every stage of the pipeline is.
        let guard_times = tokio::spawn(decisions(guard, inputs.clone())).await??;
        record("guard", "decision from the caller, p10", guard_times.micros(0.1), "µs", Threshold::AtMost(20.0))?;
        record("guard", "decision from the caller, p50", guard_times.micros(0.5), "µs", Threshold::AtMost(40.0))?;
        record("guard", "decision from the caller, p99", guard_times.micros(0.99), "µs", Threshold::AtMost(130.0))?;
        let peer = "OPA server's p50 ÷ ours";
        let server = match std::env::var_os("OPA").filter(|opa| !opa.is_empty()) {
            Some(opa) => server_decisions(Path::new(&opa), &inputs).await.map_err(|error| format!("{error:#}")),
            None => Err("OPA names no server".to_owned()),
        };
        let server = match server {
            Ok(server) => server,
            Err(reason) => return missing("guard", peer, &reason, "×", Threshold::AtLeast(15.0)),
        };
        record(
            "guard",
            "OPA server over loopback HTTP, keep-alive, p50",
            server.micros(0.5),
            "µs",
            Threshold::Informational,
        )?;
        let ratio = server.micros(0.5) / guard_times.micros(0.5);
        record("guard", peer, ratio, "×", Threshold::AtLeast(15.0))?;
        test_pod.pod.shutdown().await;
        Ok(())
    })
}

/// Records every policy input that is sent to the guard.
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
    recorder: Arc<InputRecorder>,
    guard: Arc<dyn Evaluator>,
}

#[async_trait]
impl Evaluator for RecordingEvaluator {
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        self.recorder.inputs.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&input));
        self.guard.decide(input).await
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError> {
        self.guard.explain(input).await
    }
}

/// Starts a pod and runs the demo's team once.
async fn demo_pod(recorder: &Arc<InputRecorder>) -> anyhow::Result<TestPod> {
    let recorder = Arc::clone(recorder);
    let wrap = move |guard: Arc<dyn Evaluator>| {
        Arc::new(RecordingEvaluator { recorder: Arc::clone(&recorder), guard }) as Arc<dyn Evaluator>
    };
    let overrides = Overrides { evaluator: Some(Box::new(wrap)), ..Overrides::default() };
    let test_pod = start_pod(StoreKind::Memory, None, overrides).await?;
    let sales = Path::new(env!("CARGO_MANIFEST_DIR")).join("../supervisor/demo/sales.csv");
    let sales = std::fs::read(sales)?;
    let artifact =
        test_pod.pod.ingress().store_artifact(&UserId::new("admin")?, sales, "text/csv", "sales.csv").await?;
    let params = CallParams {
        inputs: Values::from([("data_source".to_owned(), artifact.to_json())]),
        context: Values::from([("quarter".to_owned(), Json::from("Q4 2024"))]),
        ..CallParams::default()
    };
    let team = TeamId::new("reporting_team")?;
    let reply = test_pod.admin()?.run_team(team, WorkflowId::new("generate_quarterly_report")?, params).await?;
    ensure!(reply.status == Status::Success, "{:?}", reply.error);
    Ok(test_pod)
}

async fn decisions(guard: impl Evaluator, inputs: Vec<Arc<Input>>) -> anyhow::Result<Latencies> {
    let mut durations = Vec::with_capacity(DECISIONS);
    for (round, input) in inputs.iter().cycle().take(WARM_UP + DECISIONS).enumerate() {
        let started_at = Instant::now();
        let verdict = guard.decide(Arc::clone(input)).await?;
        let elapsed = started_at.elapsed();
        ensure!(verdict.is_allowed(), "an access request of the demo was denied");
        if round >= WARM_UP {
            durations.push(elapsed);
        }
    }
    Ok(durations.into_iter().collect())
}

/// Kills the OPA server at the end of the measurement.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn server_decisions(opa: &Path, inputs: &[Arc<Input>]) -> anyhow::Result<Latencies> {
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
    let requests: Vec<Vec<u8>> = inputs
        .iter()
        .map(|input| serde_json::to_vec(&serde_json::json!({ "input": &**input })))
        .collect::<Result<_, _>>()?;
    for _ in 0..200 {
        if client.get(format!("http://127.0.0.1:{port}/health")).send().await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut durations = Vec::with_capacity(SERVED);
    for (round, body) in requests.iter().cycle().take(SERVED + SERVED / 10).enumerate() {
        let started_at = Instant::now();
        let reply = client.post(&url).body(body.clone()).send().await.context("the OPA server does not reply")?;
        let reply: Json = serde_json::from_slice(&reply.bytes().await?)?;
        let elapsed = started_at.elapsed();
        ensure!(reply.pointer("/result/allow") == Some(&Json::Bool(true)), "OPA replied {reply}");
        if round >= SERVED / 10 {
            durations.push(elapsed);
        }
    }
    Ok(durations.into_iter().collect())
}
