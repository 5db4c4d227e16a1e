//! Starts the effects of a run: each is one linked task that ends in one message.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::journal::StepKey;
use greenroom_protocol::{CallKey, Cause, Deadline, ErrorCode, RunId, StepId};
use ractor::ActorRef;
use tokio::sync::watch;

use super::waits::CalledRun;
use super::{RunActor, RunActorState};
use crate::pipeline::CommitWaiter;
use crate::run::context::ContextChanges;
use crate::run::effects::{self, AwaitedValue, Call, CallInputs, EffectContext, EffectOutcome, await_context};
use crate::run::evaluate::evaluate_step;
use crate::run::first_calls::FirstCalls;
use crate::run::machine::{CallTarget, Effect, Event, Phase, State};
use crate::run::message::RunMsg;
use crate::run::task::Task;
use crate::run::values::EffectInputs;
use crate::supervision::linked_tasks::UNBOUNDED;

/// A timer that is due soon looks at the clock this often.
const TIMER_SLEEP_MIN: Duration = Duration::from_millis(1);
/// A timer looks at the clock at least this often: the runtime does not count the time in which the machine is suspended.
const TIMER_SLEEP_MAX: Duration = Duration::from_secs(30);

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
                let Some(inputs) = self.evaluation_inputs(next, &step) else { return };
                let work = evaluate_step(self.running_context(next), step.clone(), inputs);
                self.spawn_task(myself, state, Task::Evaluate(StepKey { step, index: None }), work);
            }
            Effect::Call { key, attempt, target, call } => {
                let Some(inputs) = self.call_inputs(next, &key, &target) else { return };
                let idle = self.register_called_run(state, &key, &target, &call, attempt);
                let origin = state.call_origins.as_ref().map(|origins| origins.of_call(&key));
                let origin = origin.filter(|_| matches!(target, CallTarget::Agent { .. }));
                let (suspension, team_context) = (next.suspension(&key).cloned(), self.team_context());
                let call = Call { key: key.clone(), attempt, target, call, idle, origin, suspension, team_context };
                let work = effects::call(self.running_context(next), call, inputs, commit.clone());
                self.spawn_task(myself, state, Task::Call(key, attempt), work);
            }
            Effect::AwaitContext { key, attempt, context } => {
                let awaited = AwaitedValue { context, changes: self.team_context() };
                let work = await_context(self.running_context(next), key.clone(), attempt, awaited);
                self.spawn_task(myself, state, Task::Call(key, attempt), work);
            }
            Effect::Compensate { key, attempt, target, call, after } => {
                let Some(inputs) = self.compensation_inputs(next, &key) else { return };
                let (idle, origin, suspension, team_context) = (None, None, None, None);
                let call = Call { key: key.clone(), attempt, target, call, idle, origin, suspension, team_context };
                let work = effects::compensate(self.compensating_context(next), call, after, inputs);
                self.spawn_task(myself, state, Task::Compensate(key, attempt), work);
            }
            Effect::SetTimer { timer, at } => {
                let clock = self.ctx.env.clock.clone();
                let fired = Event::TimerFired { timer: timer.clone() };
                let work = async move {
                    while clock.now() < at {
                        let remaining = at.saturating_duration_since(clock.now());
                        tokio::time::sleep(remaining.clamp(TIMER_SLEEP_MIN, TIMER_SLEEP_MAX)).await;
                    }
                    fired.into()
                };
                self.spawn_task(myself, state, Task::Timer(timer), work);
            }
            Effect::Abort { key } => self.abort_step(state, &key),
            Effect::EndInnerRuns => {
                let ended = std::future::ready(EffectOutcome::from(Event::InnerRunsEnded));
                self.spawn_after_inner_runs(myself, state, next, Task::EndInnerRuns, ended);
            }
            Effect::CollectOutputs => {
                let Some(inputs) = EffectInputs::for_outputs(next, &self.ctx.pinned) else { return };
                let work = effects::collect_outputs(self.ctx.clone(), inputs);
                self.spawn_after_inner_runs(myself, state, next, Task::CollectOutputs, work);
            }
            Effect::Finish { reply } => self.finish(myself, state, *reply),
        }
    }

    /// Continues the calls that have begun while the run was created.
    pub(super) fn continue_calls(&self, myself: &ActorRef<RunMsg>, state: &mut RunActorState, calls: FirstCalls) {
        for call in calls.into_calls() {
            let (task, work) = call.into_task();
            self.spawn_task(myself, state, task, work);
        }
    }

    /// The changes of the context of the team, which this run has itself, or one that has called it; none without a team.
    fn team_context(&self) -> Option<Arc<ContextChanges>> {
        let team_run = self.ctx.started.team_run.as_ref()?;
        self.runs.hosted_runs().find(team_run)?.context
    }

    /// The context of an effect of the running run: its requests have the deadline that the run has now.
    fn running_context(&self, next: &State) -> EffectContext {
        next.effective_deadline().map_or_else(|| self.ctx.clone(), |deadline| self.ctx.with_deadline(deadline))
    }

    /// The context of a compensation, which has time of its own: the deadline of the run may have passed.
    fn compensating_context(&self, next: &State) -> EffectContext {
        match next.phase() {
            Phase::Compensating { until, .. } => self.ctx.with_deadline(Deadline(*until)),
            Phase::New | Phase::Running | Phase::Ended(_) => self.ctx.clone(),
        }
    }

    fn evaluation_inputs(&self, next: &State, step: &StepId) -> Option<EffectInputs> {
        let pinned = &self.ctx.pinned;
        EffectInputs::for_evaluation(next, pinned.plan.step(step)?, pinned)
    }

    /// The inputs of a call in state `next`. The items of a list capture the values that they share once.
    fn call_inputs(&self, next: &State, key: &StepKey, target: &CallTarget) -> Option<CallInputs> {
        let pinned = &self.ctx.pinned;
        let step = pinned.plan.step(&key.step)?;
        let is_loaded = key.index.is_some() && self.ctx.loops.open(&key.step).is_loaded();
        let values = match is_loaded {
            true => None,
            false => Some(EffectInputs::for_call(next, step, target, pinned)?),
        };
        self.with_list(next, key, values)
    }

    fn compensation_inputs(&self, next: &State, key: &StepKey) -> Option<CallInputs> {
        let pinned = &self.ctx.pinned;
        let values = EffectInputs::for_compensation(next, pinned.plan.step(&key.step)?, key, pinned)?;
        self.with_list(next, key, Some(values))
    }

    fn with_list(&self, next: &State, key: &StepKey, values: Option<EffectInputs>) -> Option<CallInputs> {
        if key.index.is_none() {
            return Some(CallInputs { values, list: None, list_values: None });
        }
        let list = next.step_state(&key.step)?.items.as_ref()?.list().cloned();
        let list_values = match &list {
            Some(_) => None,
            None => self.evaluation_inputs(next, &key.step),
        };
        Some(CallInputs { values, list, list_values })
    }

    /// Registers the run that a call starts, before it is requested. Returns whether that run only waits for approvals.
    fn register_called_run(
        &self,
        state: &mut RunActorState,
        key: &StepKey,
        target: &CallTarget,
        call: &CallKey,
        attempt: u32,
    ) -> Option<watch::Receiver<bool>> {
        if matches!(target, CallTarget::Agent { .. }) {
            return None;
        }
        let run = RunId::for_request(&call.request_id(attempt));
        self.runs.hosted_runs().expect_inner(self.run(), run.clone());
        let (idle, is_idle) = watch::channel(false);
        state.children.insert(key.clone(), CalledRun { run, idle });
        Some(is_idle)
    }

    /// Starts a task whose work begins after the end of the runs that no step needs any more.
    fn spawn_after_inner_runs<F>(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        next: &State,
        task: Task,
        work: F,
    ) where
        F: Future<Output = EffectOutcome> + Send + 'static,
    {
        if !next.has_unneeded_runs() {
            return self.spawn_task(myself, state, task, work);
        }
        let (runs, run, tree) = (self.runs.clone(), self.run().clone(), self.ctx.tree.clone());
        let work = async move {
            runs.end_inner_runs(&run, &tree).await;
            work.await
        };
        self.spawn_task(myself, state, task, work);
    }

    fn spawn_task<F>(&self, myself: &ActorRef<RunMsg>, state: &mut RunActorState, task: Task, work: F)
    where
        F: Future<Output = EffectOutcome> + Send + 'static,
    {
        let (me, task_id) = (myself.clone(), task.clone());
        state.tasks.spawn(task, UNBOUNDED, state.tickets.clone().scope(work), move |outcome| {
            // If the actor has stopped, the outcome is not needed.
            let _ = me.send_message(RunMsg::TaskEnded(task_id, outcome));
        });
    }

    /// Aborts the effects in flight of a step, and ends a run that the step has called.
    pub(super) fn abort_step(&self, state: &mut RunActorState, key: &StepKey) {
        // Before the call is aborted, so that a start of the run that is dropped with it ends the run.
        if let Some(called) = state.children.remove(key) {
            let cause = Cause::new(ErrorCode::Cancelled, format!("the run {} that started it was stopped", self.run()));
            self.end_inner(&called.run, cause);
        }
        state.tasks.abort(&Task::Evaluate(key.clone()));
        state.tasks.abort_if(|task| matches!(task, Task::Call(of, _) | Task::Compensate(of, _) if of == key));
    }
}
