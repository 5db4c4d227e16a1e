//! Demand becomes lease jobs, and lease jobs keep workers: the whole circle against the RunPod of tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use greenroom_client::Client;
use greenroom_integration_tests::runpod_api::{CallKind, FakeRunPod, KEY, Reaction};
use greenroom_integration_tests::runpod_jobs::{DrivenWorker, test_options};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_runpod::scale::{Demand, DemandSource, QueueEndpoint, Round, ScaleLimits, ScaleOptions, Scaler};
use greenroom_runpod::secret::SecretText;
use greenroom_runpod::worker::execution::{ExecutionHandler, Startup};
use greenroom_runpod::worker::lease::NoLeaseWork;
use serde_json::json;
use tokio::sync::watch;

use super::cancellations::EndlessRun;
use super::results;

/// What waits, as the test decides; `u64::MAX` is unknown.
#[derive(Default)]
struct Waiting(AtomicU64);

#[async_trait]
impl DemandSource for Waiting {
    async fn demand(&self) -> Result<Demand, Cause> {
        match self.0.load(Ordering::SeqCst) {
            u64::MAX => Err(Cause::new(ErrorCode::StoreUnavailable, "the store is away")),
            waiting => Ok(Demand { waiting, under_way: 0 }),
        }
    }
}

fn scaler(runpod: &FakeRunPod, waiting: &Arc<Waiting>, limits: ScaleLimits) -> Result<Scaler> {
    let endpoint = QueueEndpoint::new(&runpod.endpoints_url(), runpod.endpoint(), SecretText::new(KEY));
    let endpoint = endpoint.map_err(|cause| anyhow::anyhow!("{cause}"))?;
    let options = ScaleOptions {
        limits,
        interval: Duration::from_millis(20),
        lease_max: Duration::from_secs(600),
        lease_idle: Duration::ZERO,
        name: "test".to_owned(),
    };
    Ok(Scaler::new(endpoint, waiting.clone(), options))
}

/// A host that is ready. No lease sends a request to it.
fn ready() -> Startup {
    Startup::Ready(Client::new(Arc::new(EndlessRun::default())))
}

async fn round(scaler: &mut Scaler) -> Result<Round> {
    scaler.round().await.map_err(|cause| anyhow::anyhow!("{cause}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_becomes_lease_jobs_within_the_limits_and_leases_end_without_work() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    let waiting = Arc::new(Waiting::default());
    let mut scaler = scaler(&runpod, &waiting, ScaleLimits { min: 0, max: 3, work_per_worker: 10 })?;
    // An endpoint without jobs is taken away, so there is one short lease in the beginning.
    assert_eq!(round(&mut scaler).await?, Round { active: 0, added: 1 });
    waiting.0.store(25, Ordering::SeqCst);
    // It ends at once, so it is none for what waits.
    assert_eq!(round(&mut scaler).await?, Round { active: 0, added: 3 });
    waiting.0.store(1_000, Ordering::SeqCst);
    assert_eq!(round(&mut scaler).await?, Round { active: 3, added: 0 });
    let leases: Vec<serde_json::Value> =
        runpod.calls().iter().filter(|call| call.target.ends_with("/run")).map(|call| call.json()).collect();
    assert_eq!(leases[1]["input"]["mode"], json!("lease"));
    assert_eq!(leases[1]["policy"], json!({ "executionTimeout": 600_000, "ttl": 1_200_000 }));
    let (_startup, is_started) = watch::channel(ready());
    let handler = Arc::new(ExecutionHandler::new(is_started, Arc::new(NoLeaseWork)));
    let worker = DrivenWorker::new(&runpod.environment(), handler, test_options(4))?;
    worker.run_until(results(&runpod, 4)).await?;
    assert_eq!(runpod.result("00000002-e1").unwrap()["output"]["lease"]["end"], json!("idle"));
    waiting.0.store(0, Ordering::SeqCst);
    assert_eq!(round(&mut scaler).await?, Round { active: 0, added: 0 });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scaler_that_starts_again_counts_the_leases_of_the_one_before() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    let waiting = Arc::new(Waiting::default());
    waiting.0.store(1_000, Ordering::SeqCst);
    let limits = ScaleLimits { min: 0, max: 3, work_per_worker: 1 };
    assert_eq!(round(&mut scaler(&runpod, &waiting, limits)?).await?, Round { active: 0, added: 3 });
    let mut second = scaler(&runpod, &waiting, limits)?;
    assert_eq!(round(&mut second).await?, Round { active: 3, added: 0 });
    let (_startup, is_started) = watch::channel(ready());
    let handler = Arc::new(ExecutionHandler::new(is_started, Arc::new(NoLeaseWork)));
    let worker = DrivenWorker::new(&runpod.environment(), handler, test_options(4))?;
    worker.run_until(results(&runpod, 3)).await?;
    assert_eq!(round(&mut second).await?, Round { active: 0, added: 3 });
    assert_eq!(round(&mut second).await?, Round { active: 3, added: 0 });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_when_the_worker_shall_end() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    runpod.add_job(json!({ "id": "l", "input": { "mode": "lease", "idle_s": 3_000 } }));
    let (_startup, is_started) = watch::channel(Startup::Loading);
    let handler = Arc::new(ExecutionHandler::new(is_started, Arc::new(NoLeaseWork)));
    let worker = DrivenWorker::new(&runpod.environment(), handler, test_options(1))?;
    let is_taken = async {
        let is_pinged = || async {
            let pings = runpod.calls_of(CallKind::Ping);
            pings.iter().any(|call| call.target.contains("job_id=l")).then_some(())
        };
        wait_until("the lease is taken", super::WAIT_MAX, is_pinged).await
    };
    worker.run_until(is_taken).await?;
    assert_eq!(runpod.result("l").unwrap()["output"]["lease"]["end"], json!("draining"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_demand_and_a_refusal_change_nothing() -> Result<()> {
    let runpod = FakeRunPod::start_with(|call| {
        if call.target.ends_with("/run") { Reaction::Json(429, json!({})) } else { Reaction::Default }
    })
    .await?;
    let waiting = Arc::new(Waiting::default());
    let mut scaler = scaler(&runpod, &waiting, ScaleLimits { min: 0, max: 3, work_per_worker: 1 })?;
    waiting.0.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(scaler.round().await.unwrap_err().code, ErrorCode::StoreUnavailable);
    assert!(runpod.calls().is_empty());
    waiting.0.store(2, Ordering::SeqCst);
    let refusal = scaler.round().await.unwrap_err();
    assert_eq!((refusal.code, scaler.leases()), (ErrorCode::Overloaded, 0));
    assert!(!refusal.message.contains(KEY));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_host_that_cannot_start_fails_with_the_reason() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    runpod.add_job(json!({ "id": "a", "input": { "agent": "echo" } }));
    runpod.add_job(json!({ "id": "l", "input": { "mode": "lease", "idle_s": 0 } }));
    let (startup, is_started) = watch::channel(Startup::Loading);
    let handler = Arc::new(ExecutionHandler::new(is_started, Arc::new(NoLeaseWork)));
    let worker = DrivenWorker::new(&runpod.environment(), handler, test_options(2))?;
    let failed = async {
        let are_taken = || async {
            let pings = runpod.calls_of(CallKind::Ping);
            pings.iter().any(|call| call.target.contains("a%2Cl") || call.target.contains("l%2Ca")).then_some(())
        };
        wait_until("both jobs are taken", super::WAIT_MAX, are_taken).await?;
        startup.send_replace(Startup::Failed(Cause::new(ErrorCode::InvalidDefinition, "agents.yaml: line 3")));
        results(&runpod, 2).await
    };
    worker.run_until(failed).await?;
    for id in ["a", "l"] {
        let result = runpod.result(id).unwrap();
        let error = result["error"].as_str().unwrap();
        assert!(error.contains("invalid_definition") && error.contains("agents.yaml: line 3"), "{id}: {error}");
    }
    Ok(())
}
