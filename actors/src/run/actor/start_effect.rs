//! How what a run asks for is linked to its actor: each effect is one task that ends in one message.

use std::time::Duration;

use greenroom_protocol::journal::StepKey;
use greenroom_protocol::{Cause, Code, RunId, StepId};
use greenroom_registry::journal::JournalError;
use ractor::ActorRef;

use super::{RunActor, RunActorState, RunMsg, Task};
use crate::pipeline::Behind;
use crate::run::Hands;
use crate::run::effects::{self, Call};
use crate::run::machine::{Effect, Event, State, Target};
use crate::run::values::Material;
use crate::supervision::linked_tasks::FOREVER;

impl RunActor {
    /// Starts an effect of the run as it is `next`; what it does waits for `other`.
    pub(super) fn perform(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        next: &State,
        effect: Effect,
        other: &Behind,
    ) {
        match effect {
            Effect::Weigh { step } => {
                let Some(material) = self.material(next, &step) else { return };
                let work = effects::weigh(self.reach.clone(), step.clone(), material);
                self.link(myself, state, Task::Weigh(StepKey { step, index: None }), work);
            }
            Effect::Call { key, attempt, target, call } => {
                let Some(material) = self.material(next, &key.step) else { return };
                let call = Call { key: key.clone(), attempt, target, call };
                if !matches!(call.target, Target::Agent { .. }) {
                    state.children.insert(key.clone(), RunId::of(&call.call.request(attempt)));
                }
                let work = effects::call(self.reach.clone(), call, material, other.clone());
                self.link(myself, state, Task::Call(key, attempt), work);
            }
            Effect::Undo { key, attempt, target, call, after } => {
                let Some(material) = self.material(next, &key.step) else { return };
                let call = Call { key: key.clone(), attempt, target, call };
                let work = effects::undo(self.reach.clone(), call, after, material);
                self.link(myself, state, Task::Undo(key, attempt), work);
            }
            Effect::SetTimer { timer, at } => {
                let clock = self.reach.hands.clock.clone();
                let woke = Event::Woke { timer: timer.clone() };
                let work = async move {
                    while clock.now() < at {
                        let left = at.since(clock.now()).max(Duration::from_millis(1));
                        tokio::time::sleep(left).await;
                    }
                    woke
                };
                self.link(myself, state, Task::Timer(timer), work);
            }
            Effect::Abort { key } => self.abort(state, &key),
            Effect::Gather => {
                let Some(material) = Material::of_outputs(next, &self.reach.pinned.plan) else { return };
                self.link(myself, state, Task::Gather, effects::gather(self.reach.clone(), material));
            }
            Effect::Finish { reply } => self.finish(myself, state, *reply),
        }
    }

    /// What a step may refer to, as the run is `next`.
    fn material(&self, next: &State, step: &StepId) -> Option<Material> {
        Material::of_step(next, self.reach.pinned.plan.step(step)?)
    }

    fn link<F>(&self, myself: &ActorRef<RunMsg>, state: &mut RunActorState, task: Task, work: F)
    where
        F: Future<Output = Event> + Send + 'static,
    {
        let (me, named) = (myself.clone(), task.clone());
        state.tasks.link(task, FOREVER, work, move |ended| {
            // If the actor is dead, nobody waits for this.
            let _ = me.send_message(RunMsg::Told(named, ended));
        });
    }

    /// Lets go of whatever is under way for a step. A run that the step has started is told: it is the
    /// other end of a call that was permitted, so stopping it needs no permit of its own.
    fn abort(&self, state: &mut RunActorState, key: &StepKey) {
        state.tasks.abort(&Task::Weigh(key.clone()));
        state.tasks.abort_if(|task| matches!(task, Task::Call(of, _) | Task::Undo(of, _) if of == key));
        if let Some(child) = state.children.remove(key) {
            let cause = Cause::new(Code::Cancelled, format!("the run {} that started it was stopped", self.run));
            self.hosted.lose(&child, cause);
        }
    }

    /// Keeps the lease alive until another process has the run.
    pub(super) fn keep_lease(&self, myself: &ActorRef<RunMsg>, state: &mut RunActorState) {
        let Hands { stores, clock, lease, .. } = &*self.reach.hands;
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
        state.tasks.link(Task::Lease, FOREVER, work, move |_| {
            // If the actor is dead, it holds nothing any more.
            let _ = me.send_message(RunMsg::Fenced);
        });
    }
}
