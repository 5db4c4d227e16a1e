//! How the rest of the platform reaches the guard.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use greenroom_protocol::{Cause, Code};
use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{Bundle, Evaluator, Explanation, Fault, Input, PolicySnapshot, Verdict};
use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::supervisor::KeeperMsg;
use super::worker::{ShardJob, ShardSlot};
use crate::supervision::{Refused, Slot};

/// Questions that may wait for one shard; the pod's gate lets fewer in.
pub(super) const SHARD_JOBS_MAX: usize = 131_072;
/// How long a question waits for its verdict, if its own deadline is not nearer.
const VERDICT_WAIT_MAX: Duration = Duration::from_secs(300);
/// How long a new bundle may take to be compiled and tried.
const LOAD_WAIT_MAX: Duration = Duration::from_secs(60);

/// What the guard tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardSight {
    /// The revision of the policy in force.
    pub revision: String,
    /// Shards that sit.
    pub shards: usize,
    /// Questions that wait.
    pub waiting: usize,
}

/// What outlives the guard's actors.
pub(super) struct Inner {
    pub(super) slots: Vec<Arc<ShardSlot>>,
    pub(super) in_force: Arc<ArcSwap<PolicySnapshot>>,
    pub(super) compiler: Compiler,
    pub(super) keeper: Mutex<Option<ActorRef<KeeperMsg>>>,
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
    pub fn new(snapshot: Arc<PolicySnapshot>, compiler: Compiler, shards: usize) -> Self {
        let slots = (0..shards.max(1)).map(|_| Arc::new(Slot::new(SHARD_JOBS_MAX))).collect();
        let in_force = Arc::new(ArcSwap::new(snapshot));
        let inner = Inner { slots, in_force, compiler, keeper: Mutex::new(None), next: AtomicUsize::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// The policy in force.
    #[must_use]
    pub fn in_force(&self) -> Arc<PolicySnapshot> {
        self.inner.in_force.load_full()
    }

    /// What the guard tells of itself.
    #[must_use]
    pub fn observe(&self) -> GuardSight {
        GuardSight {
            revision: self.inner.in_force.load().revision().to_string(),
            shards: self.inner.slots.iter().filter(|slot| slot.is_seated()).count(),
            waiting: self.inner.slots.iter().map(|slot| slot.len()).sum(),
        }
    }

    /// Compiles and tries a bundle, and puts it in force. It answers with its revision; whatever is
    /// asked after that is judged by it. No question that waits is dropped.
    ///
    /// # Errors
    /// [`Code::InvalidPolicy`], and the policy in force stays; [`Code::Internal`] if the guard is
    /// being restarted.
    pub async fn load(&self, bundle: Bundle) -> Result<Arc<str>, Cause> {
        let keeper = self.inner.keeper.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (port, loaded) = oneshot::channel();
        let unreachable = || Cause::new(Code::Internal, "the guard is being restarted; nothing was changed");
        let keeper = keeper.ok_or_else(unreachable)?;
        keeper.send_message(KeeperMsg::Load(Box::new(bundle), port)).map_err(|_| unreachable())?;
        match tokio::time::timeout(LOAD_WAIT_MAX, loaded).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_closed)) => Err(unreachable()),
            Err(_elapsed) => Err(Cause::new(Code::InvalidPolicy, "the bundle took too long to compile")),
        }
    }

    /// Gives the job to the next shard, or to the first one with room.
    fn push(&self, mut job: ShardJob) -> Result<(), Fault> {
        let slots = &self.inner.slots;
        let first = self.inner.next.fetch_add(1, Ordering::Relaxed) % slots.len().max(1);
        let now = Instant::now();
        for slot in slots.iter().cycle().skip(first).take(slots.len()) {
            match slot.push(job, now) {
                // A shard is permanent: its keeper seats the next one by itself.
                Ok(_) => return Ok(()),
                Err(Refused::Full(back) | Refused::Barred(back, _) | Refused::Closed(back)) => job = back,
            }
        }
        Err(Fault::Unreachable("every shard is full".to_owned()))
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, Fault>>) -> Result<T, Fault> {
        match tokio::time::timeout(VERDICT_WAIT_MAX, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_closed)) => Err(Fault::Unreachable("the shard died over the question".to_owned())),
            Err(_elapsed) => Err(Fault::Unreachable("no shard answered in time".to_owned())),
        }
    }
}

#[async_trait]
impl Evaluator for GuardHandle {
    async fn allowed(&self, input: Arc<Input>) -> Result<Verdict, Fault> {
        let (port, answer) = oneshot::channel();
        self.push(ShardJob::Allowed(input, port))?;
        self.answer(answer).await
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, Fault> {
        let (port, answer) = oneshot::channel();
        self.push(ShardJob::Explain(input, port))?;
        self.answer(answer).await
    }
}
