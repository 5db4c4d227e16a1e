//! Starts the effects of a run: each is one linked task that ends in one message.

use std::time::Duration;

use greenroom_protocol::journal::StepKey;
use greenroom_protocol::{Cause, ErrorCode, RunId, StepId};
use ractor::ActorRef;

use super::{RunActor, RunActorState};
use crate::pipeline::CommitWaiter;
use crate::run::effects::{self, Call};
use crate::run::machine::{CallTarget, Effect, Event, State};
use crate::run::message::{RunMsg, Task};
use crate::run::values::EffectInputs;
use crate::supervision::linked_tasks::UNBOUNDED;

impl RunActor {
    /// Starts an effect of the run in state `next`; a call waits for `commit`.
    pub(super) fn start_effect(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        next: &State,
        effect: Effect,
        commit: &CommitWaiter,
    ) {
        match effect {
            Effect::EvaluateStep { step } => {
                let Some(inputs) = self.effect_inputs(next, &step) else { return };
                let work = effects::evaluate_step(self.ctx.clone(), step.clone(), inputs);
                self.spawn_task(myself, state, Task::Evaluate(StepKey { step, index: None }), work);
            }
            Effect::Call { key, attempt, target, call } => {
                let Some(inputs) = self.effect_inputs(next, &key.step) else { return };
                let call = Call { key: key.clone(), attempt, target, call };
                if !matches!(call.target, CallTarget::Agent { .. }) {
                    let called = RunId::for_request(&call.call.request_id(attempt));
                    self.runs.hosted_runs().expect_inner(self.run(), called.clone());
                    state.children.insert(key.clone(), called);
                }
                let work = effects::call(self.ctx.clone(), call, inputs, commit.clone());
                self.spawn_task(myself, state, Task::Call(key, attempt), work);
            }
            Effect::Compensate { key, attempt, target, call, after } => {
                let Some(inputs) = self.effect_inputs(next, &key.step) else { return };
                let call = Call { key: key.clone(), attempt, target, call };
                let work = effects::compensate(self.ctx.clone(), call, after, inputs);
                self.spawn_task(myself, state, Task::Compensate(key, attempt), work);
            }
            Effect::SetTimer { timer, at } => {
                let clock = self.ctx.env.clock.clone();
                let fired = Event::TimerFired { timer: timer.clone() };
                let work = async move {
                    while clock.now() < at {
                        let remaining = at.saturating_duration_since(clock.now()).max(Duration::from_millis(1));
                        tokio::time::sleep(remaining).await;
                    }
                    fired
                };
                self.spawn_task(myself, state, Task::Timer(timer), work);
            }
            Effect::Abort { key } => self.abort_step(state, &key),
            Effect::CollectOutputs => {
                let Some(inputs) = EffectInputs::for_outputs(next, &self.ctx.pinned.plan) else { return };
                self.spawn_task(
                    myself,
                    state,
                    Task::CollectOutputs,
                    effects::collect_outputs(self.ctx.clone(), inputs),
                );
            }
            Effect::Finish { reply } => self.finish(myself, state, *reply),
        }
    }

    /// The inputs of a step's effect in state `next`.
    fn effect_inputs(&self, next: &State, step: &StepId) -> Option<EffectInputs> {
        EffectInputs::for_step(next, self.ctx.pinned.plan.step(step)?)
    }

    fn spawn_task<F>(&self, myself: &ActorRef<RunMsg>, state: &mut RunActorState, task: Task, work: F)
    where
        F: Future<Output = Event> + Send + 'static,
    {
        let (me, task_id) = (myself.clone(), task.clone());
        state.tasks.spawn(task, UNBOUNDED, work, move |outcome| {
            // If the actor has stopped, the outcome is not needed.
            let _ = me.send_message(RunMsg::TaskEnded(task_id, outcome));
        });
    }

    /// Aborts the effects in flight of a step, and ends a run that the step has called.
    fn abort_step(&self, state: &mut RunActorState, key: &StepKey) {
        // Before the call is aborted, so that a start of the run that is dropped with it ends the run.
        if let Some(called) = state.children.remove(key) {
            let cause = Cause::new(ErrorCode::Cancelled, format!("the run {} that started it was stopped", self.run()));
            self.end_inner(&called, cause);
        }
        state.tasks.abort(&Task::Evaluate(key.clone()));
        state.tasks.abort_if(|task| matches!(task, Task::Call(of, _) | Task::Compensate(of, _) if of == key));
    }
}
