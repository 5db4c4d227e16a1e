//! The first calls of a run. They begin while the run is being created, so their audit entries share the commit of its
//! creation, and the guard decides them meanwhile. Each waits for the commit before it is executed; the actor of the run
//! continues them.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::{self, BoxFuture};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::Seq;

use super::call_origins::CallOrigins;
use super::effects::{self, Call, CallInputs, EffectContext, EffectOutcome};
use super::machine::{CallTarget, Decision, Effect};
use super::task::Task;
use super::values::EffectInputs;
use crate::pipeline::CommitWaiter;

/// Calls that begin before the actor of their run. Further ones begin with it: each wake-up of the start polls all of
/// them.
const FIRST_CALLS_MAX: usize = 16;

/// A call that has begun.
pub(super) struct FirstCall {
    task: Task,
    work: Work,
}

enum Work {
    Running(BoxFuture<'static, EffectOutcome>),
    /// It was rejected before the run was created.
    Ended(Box<EffectOutcome>),
    /// It has panicked. Its step fails, as if it had panicked later, and the request that starts the run does not.
    Panicked(Box<dyn Any + Send>),
}

impl FirstCall {
    fn proceed(&mut self, cx: &mut Context<'_>) {
        let Work::Running(work) = &mut self.work else { return };
        // A future that has panicked is dropped, and not polled again.
        match panic::catch_unwind(AssertUnwindSafe(|| work.poll_unpin(cx))) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(outcome)) => self.work = Work::Ended(Box::new(outcome)),
            Err(panicked) => self.work = Work::Panicked(panicked),
        }
    }

    /// The task that the call is, and the rest of its work.
    pub(super) fn into_task(self) -> (Task, BoxFuture<'static, EffectOutcome>) {
        let work = match self.work {
            Work::Running(work) => work,
            Work::Ended(outcome) => future::ready(*outcome).boxed(),
            // The linked task catches and reports it.
            Work::Panicked(panicked) => future::lazy(|_| -> EffectOutcome { panic::resume_unwind(panicked) }).boxed(),
        };
        (self.task, work)
    }
}

/// The first calls of a run that is being created. If they are dropped, none of them is executed, and their audit entries
/// are closed as interrupted.
#[derive(Default)]
pub(super) struct FirstCalls(Vec<FirstCall>);

impl FirstCalls {
    /// Takes the calls that may begin now out of the decision that starts a run: those of agents. A call of a run or of a
    /// team is registered by the actor, and a call in a team begins with a read of the team's context, for which the
    /// actor shows the context first.
    pub(super) fn take(ctx: &EffectContext, decision: &mut Decision, commit: &CommitWaiter) -> Self {
        if ctx.started.team_run.is_some() {
            return Self::default();
        }
        let origins = ctx.env.step_deltas.is_some().then(|| CallOrigins::new(Seq(0), decision.entries()));
        let taken = decision.take_first_calls(FIRST_CALLS_MAX, may_begin);
        let begin = |effect| begin_call(ctx, decision, effect, origins.as_ref(), commit);
        Self(taken.into_iter().filter_map(begin).collect())
    }

    /// When the creation of the run is committed: with the audit entries of the calls, if there are any.
    pub(super) const fn commit_timing(&self) -> CommitTiming {
        if self.0.is_empty() { CommitTiming::Immediate } else { CommitTiming::Coalesce }
    }

    /// Waits for the creation of the run, while the calls proceed. They begin after it was submitted, so it is written
    /// before their audit entries.
    pub(super) async fn proceed_until<T>(&mut self, creation: impl Future<Output = T> + Send) -> T {
        let mut creation = pin!(creation);
        future::poll_fn(|cx| {
            let polled = creation.as_mut().poll(cx);
            if polled.is_pending() {
                self.0.iter_mut().for_each(|call| call.proceed(cx));
            }
            polled
        })
        .await
    }

    /// The calls, for the actor of the run.
    pub(super) fn into_calls(self) -> Vec<FirstCall> {
        self.0
    }
}

/// True for the call of an agent, but for one of an item, which has the values of its list.
const fn may_begin(effect: &Effect) -> bool {
    let Effect::Call { key, target: CallTarget::Agent { .. }, .. } = effect else { return false };
    key.index.is_none()
}

/// Begins a call in the state that the decision leads to; nothing of it is done before it is polled.
fn begin_call(
    ctx: &EffectContext,
    decision: &Decision,
    effect: Effect,
    origins: Option<&CallOrigins>,
    commit: &CommitWaiter,
) -> Option<FirstCall> {
    let Effect::Call { key, attempt, target, call } = effect else { return None };
    let step = ctx.pinned.plan.step(&key.step)?;
    let values = Some(EffectInputs::for_call(decision.next(), step, &target, &ctx.pinned)?);
    let inputs = CallInputs { values, list: None, list_values: None };
    let origin = origins.map(|origins| origins.of_call(&key));
    let task = Task::Call(key.clone(), attempt);
    let call = Call { key, attempt, target, call, idle: None, origin, suspension: None, team_context: None };
    let work = effects::call(ctx.clone(), call, inputs, commit.clone()).boxed();
    Some(FirstCall { task, work: Work::Running(work) })
}
