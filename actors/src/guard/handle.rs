//! The handle through which the rest of the platform uses the guard.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{Bundle, EvaluationError, Evaluator, Explanation, Input, PolicyDecision, PolicySnapshot};
use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::load_error::LoadError;
use super::message::GuardSupervisorMsg;
use super::validation::validate;
use super::worker::{GuardWorkerQueue, PolicyJob};
use crate::supervision::{JobQueue, PushError};

/// Jobs that may wait for one worker; the pod's admission control admits fewer.
pub(super) const WORKER_JOBS_MAX: usize = 131_072;
/// Longest wait for a decision, if the deadline of the request is not earlier.
const DECISION_WAIT_MAX: Duration = Duration::from_secs(300);
/// Longest wait for the compilation and validation of a bundle.
const LOAD_WAIT_MAX: Duration = Duration::from_secs(60);

/// Introspection of the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardInfo {
    /// The revision of the active policy.
    pub revision: String,
    /// Workers that run.
    pub workers: usize,
    /// Number of waiting jobs.
    pub waiting: usize,
}

/// State that survives a restart of the guard's actors.
pub(super) struct Inner {
    pub(super) queues: Vec<Arc<GuardWorkerQueue>>,
    pub(super) active: Arc<ArcSwap<PolicySnapshot>>,
    pub(super) compiler: Compiler,
    pub(super) supervisor: Mutex<Option<ActorRef<GuardSupervisorMsg>>>,
    next_queue: AtomicUsize,
}

/// The handle of the guard. Cheap to clone.
#[derive(Clone)]
pub struct GuardHandle {
    pub(super) inner: Arc<Inner>,
}

impl GuardHandle {
    /// Creates a guard with this active policy and queues for `workers` engines (at least one). It decides once a
    /// supervisor is started with [`GuardHandle::start_supervisor`].
    #[must_use]
    pub fn new(snapshot: Arc<PolicySnapshot>, compiler: Compiler, workers: usize) -> Self {
        log_warnings(&snapshot);
        let queues = (0..workers.max(1)).map(|_| Arc::new(JobQueue::new(WORKER_JOBS_MAX))).collect();
        let active = Arc::new(ArcSwap::new(snapshot));
        let inner = Inner { queues, active, compiler, supervisor: Mutex::new(None), next_queue: AtomicUsize::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// The active policy.
    #[must_use]
    pub fn active_policy(&self) -> Arc<PolicySnapshot> {
        self.inner.active.load_full()
    }

    /// Introspection of the guard.
    #[must_use]
    pub fn info(&self) -> GuardInfo {
        GuardInfo {
            revision: self.inner.active.load().revision().to_string(),
            workers: self.inner.queues.iter().filter(|queue| queue.is_attached()).count(),
            waiting: self.inner.queues.iter().map(|queue| queue.len()).sum(),
        }
    }

    /// Compiles, validates and activates a bundle, and returns its revision. Every later request is evaluated by it.
    /// No waiting job is dropped.
    ///
    /// # Errors
    /// [`LoadError::Rejected`] with [`ErrorCode::InvalidPolicy`]; [`LoadError::Unavailable`] while the guard is being
    /// restarted.
    pub async fn load(&self, bundle: Bundle) -> Result<Arc<str>, LoadError> {
        let supervisor = self.inner.supervisor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (port, result) = oneshot::channel();
        let supervisor = supervisor.ok_or(LoadError::Unavailable)?;
        let message = GuardSupervisorMsg::Load(Box::new(bundle), port);
        supervisor.send_message(message).map_err(|_| LoadError::Unavailable)?;
        match tokio::time::timeout(LOAD_WAIT_MAX, result).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_closed)) => Err(LoadError::Unavailable),
            Err(_elapsed) => {
                let message = "the bundle took too long to compile";
                Err(LoadError::Rejected(Cause::new(ErrorCode::InvalidPolicy, message)))
            }
        }
    }

    /// Compiles and validates a bundle as [`GuardHandle::load`] does, and activates nothing.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidPolicy`].
    pub async fn validate(&self, bundle: Bundle) -> Result<Arc<PolicySnapshot>, Cause> {
        let validation = validate(self.inner.compiler.clone(), bundle);
        match tokio::time::timeout(LOAD_WAIT_MAX, validation).await {
            Ok(validated) => validated.map_err(Cause::from),
            Err(_elapsed) => Err(Cause::new(ErrorCode::InvalidPolicy, "the bundle took too long to compile")),
        }
    }

    /// Pushes the job to the next worker's queue, or to the first one that is not full.
    fn enqueue(&self, mut job: PolicyJob) -> Result<(), EvaluationError> {
        let queues = &self.inner.queues;
        let first = self.inner.next_queue.fetch_add(1, Ordering::Relaxed) % queues.len().max(1);
        let now = Instant::now();
        for queue in queues.iter().cycle().skip(first).take(queues.len()) {
            match queue.push(job, now) {
                // A worker is permanent, so its supervisor restarts it without a request.
                Ok(_) => return Ok(()),
                Err(PushError::Full(rejected) | PushError::CircuitOpen(rejected, _) | PushError::Closed(rejected)) => {
                    job = rejected
                }
            }
        }
        Err(EvaluationError::Unavailable("the queue of every guard worker is full".to_owned()))
    }

    async fn await_decision<T>(
        &self,
        reply: oneshot::Receiver<Result<T, EvaluationError>>,
    ) -> Result<T, EvaluationError> {
        match tokio::time::timeout(DECISION_WAIT_MAX, reply).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_closed)) => {
                Err(EvaluationError::Unavailable("the guard worker failed during the evaluation".to_owned()))
            }
            Err(_elapsed) => Err(EvaluationError::Unavailable("no guard worker decided in time".to_owned())),
        }
    }
}

/// Logs what an operator should know of a policy that becomes active.
pub(super) fn log_warnings(snapshot: &PolicySnapshot) {
    for warning in snapshot.warnings() {
        tracing::warn!(policy.revision = %snapshot.revision(), policy.warning = %warning, "policy bundle has a warning");
    }
}

#[async_trait]
impl Evaluator for GuardHandle {
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        let (port, reply) = oneshot::channel();
        self.enqueue(PolicyJob::Allowed(input, port))?;
        self.await_decision(reply).await
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError> {
        let (port, reply) = oneshot::channel();
        self.enqueue(PolicyJob::Explain(input, port))?;
        self.await_decision(reply).await
    }
}
