//! One engine and the actor that owns it. An engine needs no lock, because nobody else has it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use greenroom_rego::{Engine, Explanation, Fault, Input, PolicySnapshot, Verdict};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::supervision::{Slot, Wakes};

/// One question for a shard. Its port is closed once nobody waits any more.
pub(super) enum ShardJob {
    /// The hot decision.
    Allowed(Arc<Input>, oneshot::Sender<Result<Verdict, Fault>>),
    /// The decision with its reasons.
    Explain(Arc<Input>, oneshot::Sender<Result<Explanation, Fault>>),
}

/// A wake-up: everything else lies in the slot.
pub(super) struct ShardMsg;

impl ractor::Message for ShardMsg {}

impl Wakes for ShardMsg {
    fn wake() -> Self {
        Self
    }
}

/// The inbox of a shard.
pub(super) type ShardSlot = Slot<ShardJob, ShardMsg>;

/// One engine of the guard.
pub(super) struct GuardShard {
    pub(super) slot: Arc<ShardSlot>,
    pub(super) in_force: Arc<ArcSwap<PolicySnapshot>>,
}

impl Actor for GuardShard {
    type Msg = ShardMsg;
    type State = Engine;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<ShardMsg>, (): ()) -> Result<Engine, ActorProcessingErr> {
        Ok(Engine::new(self.in_force.load_full()).await?)
    }

    async fn handle(&self, _: ActorRef<ShardMsg>, _: ShardMsg, engine: &mut Engine) -> Result<(), ActorProcessingErr> {
        while let Some(job) = self.slot.take() {
            self.answer(engine, job).await;
        }
        Ok(())
    }
}

impl GuardShard {
    async fn answer(&self, engine: &mut Engine, job: ShardJob) {
        let ready = self.follow(engine).await;
        // Whoever has gone away needs no answer, so a failed send is no failure.
        match job {
            ShardJob::Allowed(_, port) if port.is_closed() => {}
            ShardJob::Explain(_, port) if port.is_closed() => {}
            ShardJob::Allowed(input, port) => {
                let answer = match ready {
                    Ok(()) => engine.allowed(&input).await,
                    Err(fault) => Err(fault),
                };
                let _ = port.send(answer);
            }
            ShardJob::Explain(input, port) => {
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
    async fn follow(&self, engine: &mut Engine) -> Result<(), Fault> {
        let in_force = self.in_force.load();
        if Arc::ptr_eq(engine.snapshot(), &in_force) {
            return Ok(());
        }
        *engine = Engine::new(Arc::clone(&in_force)).await?;
        Ok(())
    }
}
