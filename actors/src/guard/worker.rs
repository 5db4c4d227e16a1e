//! One engine and the actor that owns it. An engine needs no lock, because nobody else has it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use greenroom_rego::{Engine, EvaluationError, Explanation, Input, PolicyDecision, PolicySnapshot};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::supervision::{JobQueue, WakeMessage};

/// One question for a shard. Its port is closed once nobody waits any more.
pub(super) enum PolicyJob {
    /// The hot decision.
    Allowed(Arc<Input>, oneshot::Sender<Result<PolicyDecision, EvaluationError>>),
    /// The decision with its reasons.
    Explain(Arc<Input>, oneshot::Sender<Result<Explanation, EvaluationError>>),
}

/// A wake-up: everything else lies in the slot.
pub(super) struct GuardWorkerMsg;

impl ractor::Message for GuardWorkerMsg {}

impl WakeMessage for GuardWorkerMsg {
    fn wake() -> Self {
        Self
    }
}

/// The inbox of a shard.
pub(super) type GuardWorkerQueue = JobQueue<PolicyJob, GuardWorkerMsg>;

/// One engine of the guard.
pub(super) struct GuardWorker {
    pub(super) queue: Arc<GuardWorkerQueue>,
    pub(super) in_force: Arc<ArcSwap<PolicySnapshot>>,
}

impl Actor for GuardWorker {
    type Msg = GuardWorkerMsg;
    type State = Engine;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<GuardWorkerMsg>, (): ()) -> Result<Engine, ActorProcessingErr> {
        Ok(Engine::new(self.in_force.load_full()).await?)
    }

    async fn handle(
        &self,
        _: ActorRef<GuardWorkerMsg>,
        _: GuardWorkerMsg,
        engine: &mut Engine,
    ) -> Result<(), ActorProcessingErr> {
        while let Some(job) = self.queue.pop() {
            self.evaluate(engine, job).await;
        }
        Ok(())
    }
}

impl GuardWorker {
    async fn evaluate(&self, engine: &mut Engine, job: PolicyJob) {
        let ready = self.follow(engine).await;
        // Whoever has gone away needs no answer, so a failed send is no failure.
        match job {
            PolicyJob::Allowed(_, port) if port.is_closed() => {}
            PolicyJob::Explain(_, port) if port.is_closed() => {}
            PolicyJob::Allowed(input, port) => {
                let answer = match ready {
                    Ok(()) => engine.decide(&input).await,
                    Err(fault) => Err(fault),
                };
                let _ = port.send(answer);
            }
            PolicyJob::Explain(input, port) => {
                let answer = match ready {
                    Ok(()) => engine.explain(&input).await,
                    Err(fault) => Err(fault),
                };
                let _ = port.send(answer);
            }
        }
    }

    /// Takes over the policy in force, if it was swapped since the last question. A swap is one store
    /// of a pointer: whatever is asked after it is judged by the new policy, and no inbox is touched.
    async fn follow(&self, engine: &mut Engine) -> Result<(), EvaluationError> {
        let in_force = self.in_force.load();
        if Arc::ptr_eq(engine.snapshot(), &in_force) {
            return Ok(());
        }
        *engine = Engine::new(Arc::clone(&in_force)).await?;
        Ok(())
    }
}
