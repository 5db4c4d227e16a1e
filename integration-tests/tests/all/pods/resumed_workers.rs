//! Workers of RunPod with a pod in their process, after a suspension of their machine: nothing is acknowledged before the
//! pod has renewed its lease, and nothing at all if another pod has declared it dead meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use greenroom_integration_tests::cluster::proxy::{Link, Proxy};
use greenroom_integration_tests::runpod_api::{CallKind, FakeRunPod};
use greenroom_integration_tests::runpod_jobs::{DrivenWorker, test_options};
use greenroom_integration_tests::shifted_clock::ShiftedClock;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::cluster::LeaseStatus;
use greenroom_runpod::worker::execution::{ExecutionHandler, Startup};
use greenroom_runpod::worker::lease::NoLeaseWork;
use greenroom_runpod::worker::{Job, JobContext, JobHandler, JobResult, ResumeHook, WorkerOptions};
use greenroom_supervisor::cli::runpod::HostProof;
use greenroom_supervisor::compose::Overrides;
use greenroom_supervisor::config::{Config, Secret, StoreConfig};
use serde_json::json;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::replying;
use super::shared_database::{PodProcess, SharedDatabase, WAIT_MAX, new_runtime};

const JOB: &str = "a-u1";
/// Longer than a lease.
const SUSPENSION: Duration = Duration::from_secs(10);
/// So many failed proofs after a result is there that it would have been sent if one attempt was enough.
const FURTHER_PROOFS: usize = 5;

/// What was observed of a worker.
#[derive(Default)]
struct Observed {
    /// The pod has executed the job.
    is_executed: AtomicBool,
    /// The worker has the result of the job.
    has_result: AtomicBool,
    /// Proofs that were successful.
    proven: AtomicUsize,
    /// Proofs that have failed because the pod has no lease.
    without_lease: AtomicUsize,
    /// Proofs that have failed for another reason.
    otherwise_failed: AtomicUsize,
}

/// Counts the proofs of a host.
struct ObservedProof {
    proof: HostProof,
    observed: Arc<Observed>,
}

#[async_trait]
impl ResumeHook for ObservedProof {
    async fn prove(&self) -> Result<(), Cause> {
        let outcome = self.proof.prove().await;
        let counter = match &outcome {
            Ok(()) => &self.observed.proven,
            Err(cause) if cause.code == ErrorCode::LeaseLost => &self.observed.without_lease,
            Err(_) => &self.observed.otherwise_failed,
        };
        counter.fetch_add(1, Ordering::SeqCst);
        outcome
    }
}

/// Executes a job on the pod, and delays the result until the test releases it.
struct DelayedResults {
    execution: ExecutionHandler,
    is_released: watch::Receiver<bool>,
    observed: Arc<Observed>,
}

#[async_trait]
impl JobHandler for DelayedResults {
    async fn execute(&self, job: &Job, context: &JobContext) -> JobResult {
        let result = self.execution.execute(job, context).await;
        self.observed.is_executed.store(true, Ordering::SeqCst);
        let _ = self.is_released.clone().wait_for(|is_released| *is_released).await;
        self.observed.has_result.store(true, Ordering::SeqCst);
        result
    }
}

/// A machine with a pod, which can be suspended. Its connections to the database are dead then.
struct Machine {
    pod: PodProcess,
    clock: Arc<ShiftedClock>,
    link: Proxy,
    runpod: FakeRunPod,
    observed: Arc<Observed>,
    released: watch::Sender<bool>,
    /// That of the link and of RunPod.
    _network: Runtime,
}

impl Machine {
    fn start(database: &SharedDatabase) -> Result<Self> {
        let network = new_runtime()?;
        let options: PgConnectOptions = database.url.parse()?;
        let server = format!("{}:{}", options.get_host(), options.get_port());
        let link = network.block_on(Proxy::start(server))?;
        let url = options.host("127.0.0.1").port(link.port()).to_url_lossy().to_string();
        let clock = Arc::new(ShiftedClock::default());
        let by_link = |config: &mut Config| {
            config.store = StoreConfig::Postgres { url: Secret::new(url) };
        };
        let pod = database.assemble_with("pod_a", clock.clone(), by_link, Overrides::default())?;
        let runpod = network.block_on(FakeRunPod::start())?;
        runpod.add_job(json!({ "id": JOB, "input": { "agent": "draft_agent", "inputs": { "text": "hello" } } }));
        let (observed, released) = (Arc::default(), watch::Sender::new(false));
        Ok(Self { pod, clock, link, runpod, observed, released, _network: network })
    }

    /// A worker on the machine, whose host is the pod.
    fn worker(&self) -> Result<DrivenWorker> {
        let (startup, is_started) = watch::channel(Startup::Ready(self.pod.client()?));
        let handler = DelayedResults {
            execution: ExecutionHandler::new(is_started, Arc::new(NoLeaseWork)),
            is_released: self.released.subscribe(),
            observed: Arc::clone(&self.observed),
        };
        let proof = ObservedProof { proof: HostProof::of_own_pod(startup), observed: Arc::clone(&self.observed) };
        let options = WorkerOptions { clock: self.clock.clone(), resume_hook: Arc::new(proof), ..test_options(1) };
        self.pod.block_on(async { DrivenWorker::new(&self.runpod.environment(), Arc::new(handler), options) })
    }

    /// Waits until the pod has executed the job, and suspends the machine.
    async fn suspend(&self) -> Result<()> {
        wait_for("the pod has executed the job", || self.observed.is_executed.load(Ordering::SeqCst)).await?;
        self.link.set(Link::Cut);
        self.clock.put_forward(SUSPENSION);
        Ok(())
    }

    /// Gives the result to the worker, which tries to send it several times in vain.
    async fn try_in_vain(&self) -> Result<()> {
        let failed = || self.observed.without_lease.load(Ordering::SeqCst);
        wait_for("a proof has failed", || failed() > 0).await?;
        self.released.send_replace(true);
        wait_for("the worker has the result", || self.observed.has_result.load(Ordering::SeqCst)).await?;
        let before = failed();
        wait_for("further proofs have failed", || failed() >= before + FURTHER_PROOFS).await?;
        assert!(self.runpod.calls_of(CallKind::Done).is_empty(), "nothing is acknowledged");
        assert_eq!(self.observed.proven.load(Ordering::SeqCst), 0);
        Ok(())
    }
}

async fn wait_for(condition: &str, is_met: impl Fn() -> bool) -> Result<()> {
    wait_until(condition, WAIT_MAX, || async { is_met().then_some(()) }).await
}

#[test]
fn a_worker_whose_pod_was_declared_dead_during_a_suspension_acknowledges_nothing() -> Result<()> {
    let database = SharedDatabase::create("resumes_dead", [replying("draft")])?;
    let machine = Machine::start(&database)?;
    let other = database.start("pod_b")?;
    let declared = || other.pod().stores().cluster.watch().borrow().pods_declared_dead;
    let worker = machine.worker()?;
    let resumed = async {
        machine.suspend().await?;
        wait_for("the other pod declares it dead", || declared() == 1).await?;
        machine.link.set(Link::Open);
        let is_dead = || machine.pod.pod().stores().cluster.lease_status() == LeaseStatus::Dead;
        wait_for("the pod knows that it is dead", is_dead).await?;
        machine.try_in_vain().await?;
        assert_eq!(machine.observed.otherwise_failed.load(Ordering::SeqCst), 0);
        anyhow::Ok(())
    };
    // The worker is not drained: it would wait for the job until its time is over.
    machine.pod.block_on(async {
        tokio::select! {
            ended = worker.run_to_end() => bail!("the worker has ended: {ended:?}"),
            outcome = resumed => outcome,
        }
    })?;
    assert_eq!((machine.runpod.result(JOB), database.calls()), (None, 1));
    Ok(())
}

#[test]
fn a_worker_whose_pod_renews_its_lease_after_a_suspension_acknowledges_its_job_then() -> Result<()> {
    let database = SharedDatabase::create("resumes_alive", [replying("draft")])?;
    let machine = Machine::start(&database)?;
    let worker = machine.worker()?;
    let resumed = async {
        machine.suspend().await?;
        machine.try_in_vain().await?;
        machine.link.set(Link::Open);
        wait_until("the result is acknowledged", WAIT_MAX, || async { machine.runpod.result(JOB) }).await
    };
    let (result, report) = machine.pod.block_on(worker.run_until(resumed))?;
    let output = &result["output"];
    assert_eq!((&output["status"], &output["outputs"]["text"]), (&json!("success"), &json!("draft")), "{result}");
    assert!(report.resumes >= 1 && machine.observed.proven.load(Ordering::SeqCst) >= 1, "{report:?}");
    assert_eq!((report.accepted, report.unfinished, database.calls()), (1, 0, 1), "{report:?}");
    Ok(())
}

#[test]
fn a_worker_whose_pod_has_its_lease_after_a_short_suspension_proves_it_and_continues() -> Result<()> {
    let database = SharedDatabase::create("resumes_soon", [replying("draft")])?;
    let machine = Machine::start(&database)?;
    let _other = database.start("pod_b")?;
    let worker = machine.worker()?;
    let resumed = async {
        wait_for("the pod has executed the job", || machine.observed.is_executed.load(Ordering::SeqCst)).await?;
        // The worker notices it, whose heartbeats are one second apart; no other pod has.
        machine.clock.put_forward(Duration::from_millis(2_200));
        wait_for("the host is proven", || machine.observed.proven.load(Ordering::SeqCst) > 0).await?;
        machine.released.send_replace(true);
        wait_until("the result is acknowledged", WAIT_MAX, || async { machine.runpod.result(JOB) }).await
    };
    let (result, report) = machine.pod.block_on(worker.run_until(resumed))?;
    assert_eq!(result["output"]["status"], "success", "{result}");
    assert!(report.resumes >= 1 && report.accepted == 1, "{report:?}");
    assert_eq!(machine.observed.otherwise_failed.load(Ordering::SeqCst), 0);
    Ok(())
}
