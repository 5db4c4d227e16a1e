//! One engine and the actor that owns it. The engine needs no lock, because only its actor uses it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use greenroom_rego::{Engine, EvaluationError, Explanation, Input, PolicyDecision, PolicySnapshot};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::supervision::{JobQueue, WakeMessage};

/// One job of a worker. Its port is closed once its caller no longer waits.
pub(super) enum PolicyJob {
    /// The hot decision.
    Allowed(Arc<Input>, oneshot::Sender<Result<PolicyDecision, EvaluationError>>),
    /// The decision with its reasons.
    Explain(Arc<Input>, oneshot::Sender<Result<Explanation, EvaluationError>>),
}

/// A wake-up; the job itself is in the queue.
pub(super) struct GuardWorkerMsg;

impl ractor::Message for GuardWorkerMsg {}

impl WakeMessage for GuardWorkerMsg {
    fn wake() -> Self {
        Self
    }
}

/// The queue of a worker.
pub(super) type GuardWorkerQueue = JobQueue<PolicyJob, GuardWorkerMsg>;

/// One worker of the guard.
pub(super) struct GuardWorker {
    pub(super) queue: Arc<GuardWorkerQueue>,
    pub(super) active: Arc<ArcSwap<PolicySnapshot>>,
}

impl Actor for GuardWorker {
    type Msg = GuardWorkerMsg;
    type State = Engine;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<GuardWorkerMsg>, (): ()) -> Result<Engine, ActorProcessingErr> {
        Ok(Engine::new(self.active.load_full()).await?)
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
        let ready = self.load_active_policy(engine).await;
        // A caller may have dropped its request, so a failed send is not an error.
        match job {
            PolicyJob::Allowed(_, port) if port.is_closed() => {}
            PolicyJob::Explain(_, port) if port.is_closed() => {}
            PolicyJob::Allowed(input, port) => {
                let result = match ready {
                    Ok(()) => engine.decide(&input).await,
                    Err(error) => Err(error),
                };
                let _ = port.send(result);
            }
            PolicyJob::Explain(input, port) => {
                let result = match ready {
                    Ok(()) => engine.explain(&input).await,
                    Err(error) => Err(error),
                };
                let _ = port.send(result);
            }
        }
    }

    /// Loads the active policy if it has changed since the last job. Activation is one store of a pointer: later jobs
    /// are evaluated by the new policy, and no queue is touched.
    async fn load_active_policy(&self, engine: &mut Engine) -> Result<(), EvaluationError> {
        let active = self.active.load();
        if Arc::ptr_eq(engine.snapshot(), &active) {
            return Ok(());
        }
        *engine = Engine::new(Arc::clone(&active)).await?;
        Ok(())
    }
}
