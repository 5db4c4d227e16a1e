//! How what a run asks for is linked to its actor: each effect is one task that ends in one message.

use std::time::Duration;

use greenroom_protocol::journal::StepKey;
use greenroom_protocol::{Cause, ErrorCode, RunId, StepId};
use greenroom_registry::journal::JournalError;
use ractor::ActorRef;

use super::{RunActor, RunActorState, RunMsg, Task};
use crate::pipeline::CommitWaiter;
use crate::run::RunEnv;
use crate::run::effects::{self, Call};
use crate::run::machine::{CallTarget, Effect, Event, State};
use crate::run::values::EffectInputs;
use crate::supervision::linked_tasks::UNBOUNDED;

impl RunActor {
    /// Starts an effect of the run as it is `next`; what it does waits for `other`.
    pub(super) fn start_effect(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        next: &State,
        effect: Effect,
        other: &CommitWaiter,
    ) {
        match effect {
            Effect::EvaluateStep { step } => {
                let Some(material) = self.material(next, &step) else { return };
                let work = effects::evaluate_step(self.ctx.clone(), step.clone(), material);
                self.link(myself, state, Task::Evaluate(StepKey { step, index: None }), work);
            }
            Effect::Call { key, attempt, target, call } => {
                let Some(material) = self.material(next, &key.step) else { return };
                let call = Call { key: key.clone(), attempt, target, call };
                if !matches!(call.target, CallTarget::Agent { .. }) {
                    state.children.insert(key.clone(), RunId::for_request(&call.call.request_id(attempt)));
                }
                let work = effects::call(self.ctx.clone(), call, material, other.clone());
                self.link(myself, state, Task::Call(key, attempt), work);
            }
            Effect::Compensate { key, attempt, target, call, after } => {
                let Some(material) = self.material(next, &key.step) else { return };
                let call = Call { key: key.clone(), attempt, target, call };
                let work = effects::undo(self.ctx.clone(), call, after, material);
                self.link(myself, state, Task::Compensate(key, attempt), work);
            }
            Effect::SetTimer { timer, at } => {
                let clock = self.ctx.env.clock.clone();
                let woke = Event::TimerFired { timer: timer.clone() };
                let work = async move {
                    while clock.now() < at {
                        let left = at.saturating_duration_since(clock.now()).max(Duration::from_millis(1));
                        tokio::time::sleep(left).await;
                    }
                    woke
                };
                self.link(myself, state, Task::Timer(timer), work);
            }
            Effect::Abort { key } => self.abort_step(state, &key),
            Effect::CollectOutputs => {
                let Some(material) = EffectInputs::of_outputs(next, &self.ctx.pinned.plan) else { return };
                self.link(myself, state, Task::CollectOutputs, effects::collect_outputs(self.ctx.clone(), material));
            }
            Effect::Finish { reply } => self.finish(myself, state, *reply),
        }
    }

    /// What a step may refer to, as the run is `next`.
    fn material(&self, next: &State, step: &StepId) -> Option<EffectInputs> {
        EffectInputs::of_step(next, self.ctx.pinned.plan.step(step)?)
    }

    fn link<F>(&self, myself: &ActorRef<RunMsg>, state: &mut RunActorState, task: Task, work: F)
    where
        F: Future<Output = Event> + Send + 'static,
    {
        let (me, named) = (myself.clone(), task.clone());
        state.tasks.spawn(task, UNBOUNDED, work, move |ended| {
            // If the actor is dead, nobody waits for this.
            let _ = me.send_message(RunMsg::TaskEnded(named, ended));
        });
    }

    /// Lets go of whatever is under way for a step. A run that the step has started is told: it is the
    /// other end of a call that was permitted, so stopping it needs no permit of its own.
    fn abort_step(&self, state: &mut RunActorState, key: &StepKey) {
        state.tasks.abort(&Task::Evaluate(key.clone()));
        state.tasks.abort_if(|task| matches!(task, Task::Call(of, _) | Task::Compensate(of, _) if of == key));
        if let Some(child) = state.children.remove(key) {
            let cause = Cause::new(ErrorCode::Cancelled, format!("the run {} that started it was stopped", self.run));
            self.hosted.terminate(&child, cause);
        }
    }

    /// Keeps the lease alive until another process has the run.
    pub(super) fn renew_lease(&self, myself: &ActorRef<RunMsg>, state: &mut RunActorState) {
        let RunEnv { stores, clock, lease, .. } = &*self.ctx.env;
        let (runs, clock, lease) = (stores.runs.clone(), clock.clone(), *lease);
        let (run, fence, me) = (self.run.clone(), self.fence, myself.clone());
        let work = async move {
            loop {
                tokio::time::sleep(lease / 3).await;
                match runs.renew(&run, fence, lease, clock.now()).await {
                    Ok(()) => {}
                    Err(JournalError::Fenced | JournalError::Unknown | JournalError::Ended) => return,
                    Err(error) => tracing::warn!(run.id = %run, error = %error, "lease could not be renewed"),
                }
            }
        };
        state.tasks.spawn(Task::Lease, UNBOUNDED, work, move |_| {
            // If the actor is dead, it holds nothing any more.
            let _ = me.send_message(RunMsg::Fenced);
        });
    }
}
