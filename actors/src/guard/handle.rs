//! How the rest of the platform reaches the guard.

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

use super::supervisor::GuardSupervisorMsg;
use super::worker::{GuardWorkerQueue, PolicyJob};
use crate::supervision::{JobQueue, PushError};

/// Questions that may wait for one shard; the pod's gate lets fewer in.
pub(super) const WORKER_JOBS_MAX: usize = 131_072;
/// How long a question waits for its verdict, if its own deadline is not nearer.
const DECISION_WAIT_MAX: Duration = Duration::from_secs(300);
/// How long a new bundle may take to be compiled and tried.
const LOAD_WAIT_MAX: Duration = Duration::from_secs(60);

/// What the guard tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardInfo {
    /// The revision of the policy in force.
    pub revision: String,
    /// Shards that sit.
    pub workers: usize,
    /// Questions that wait.
    pub waiting: usize,
}

/// What outlives the guard's actors.
pub(super) struct Inner {
    pub(super) queues: Vec<Arc<GuardWorkerQueue>>,
    pub(super) in_force: Arc<ArcSwap<PolicySnapshot>>,
    pub(super) compiler: Compiler,
    pub(super) supervisor: Mutex<Option<ActorRef<GuardSupervisorMsg>>>,
    next: AtomicUsize,
}

/// The way to the guard. Cheap to clone.
#[derive(Clone)]
pub struct GuardHandle {
    pub(super) inner: Arc<Inner>,
}

impl GuardHandle {
    /// A guard with this policy in force and room for `shards` engines (at least one). It answers
    /// once a [`super::GuardKeeper`] is spawned over it.
    #[must_use]
    pub fn new(snapshot: Arc<PolicySnapshot>, compiler: Compiler, workers: usize) -> Self {
        let queues = (0..workers.max(1)).map(|_| Arc::new(JobQueue::new(WORKER_JOBS_MAX))).collect();
        let in_force = Arc::new(ArcSwap::new(snapshot));
        let inner = Inner { queues, in_force, compiler, supervisor: Mutex::new(None), next: AtomicUsize::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// The policy in force.
    #[must_use]
    pub fn active_policy(&self) -> Arc<PolicySnapshot> {
        self.inner.in_force.load_full()
    }

    /// What the guard tells of itself.
    #[must_use]
    pub fn observe(&self) -> GuardInfo {
        GuardInfo {
            revision: self.inner.in_force.load().revision().to_string(),
            workers: self.inner.queues.iter().filter(|queue| queue.is_attached()).count(),
            waiting: self.inner.queues.iter().map(|queue| queue.len()).sum(),
        }
    }

    /// Compiles and tries a bundle, and puts it in force. It answers with its revision; whatever is
    /// asked after that is judged by it. No question that waits is dropped.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidPolicy`], and the policy in force stays; [`ErrorCode::Internal`] if the guard is
    /// being restarted.
    pub async fn load(&self, bundle: Bundle) -> Result<Arc<str>, Cause> {
        let supervisor = self.inner.supervisor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (port, loaded) = oneshot::channel();
        let unreachable = || Cause::new(ErrorCode::Internal, "the guard is being restarted; nothing was changed");
        let supervisor = supervisor.ok_or_else(unreachable)?;
        supervisor.send_message(GuardSupervisorMsg::Load(Box::new(bundle), port)).map_err(|_| unreachable())?;
        match tokio::time::timeout(LOAD_WAIT_MAX, loaded).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_closed)) => Err(unreachable()),
            Err(_elapsed) => Err(Cause::new(ErrorCode::InvalidPolicy, "the bundle took too long to compile")),
        }
    }

    /// Gives the job to the next shard, or to the first one with room.
    fn enqueue(&self, mut job: PolicyJob) -> Result<(), EvaluationError> {
        let queues = &self.inner.queues;
        let first = self.inner.next.fetch_add(1, Ordering::Relaxed) % queues.len().max(1);
        let now = Instant::now();
        for queue in queues.iter().cycle().skip(first).take(queues.len()) {
            match queue.push(job, now) {
                // A shard is permanent: its keeper seats the next one by itself.
                Ok(_) => return Ok(()),
                Err(PushError::Full(back) | PushError::Barred(back, _) | PushError::Closed(back)) => job = back,
            }
        }
        Err(EvaluationError::Unavailable("every shard is full".to_owned()))
    }

    async fn await_decision<T>(
        &self,
        answer: oneshot::Receiver<Result<T, EvaluationError>>,
    ) -> Result<T, EvaluationError> {
        match tokio::time::timeout(DECISION_WAIT_MAX, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_closed)) => Err(EvaluationError::Unavailable("the shard died over the question".to_owned())),
            Err(_elapsed) => Err(EvaluationError::Unavailable("no shard answered in time".to_owned())),
        }
    }
}

#[async_trait]
impl Evaluator for GuardHandle {
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        let (port, answer) = oneshot::channel();
        self.enqueue(PolicyJob::Allowed(input, port))?;
        self.await_decision(answer).await
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError> {
        let (port, answer) = oneshot::channel();
        self.enqueue(PolicyJob::Explain(input, port))?;
        self.await_decision(answer).await
    }
}
