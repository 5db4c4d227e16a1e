//! Resumes a run from its journal. Its steps in flight repeat their calls, and so resume the runs that they had called;
//! runs that it had called and does not need any more end.

use std::collections::HashSet;
use std::sync::Arc;

use greenroom_definitions::plan::Plan;
use greenroom_protocol::journal::StepKey;
use greenroom_protocol::{CallKey, Cause, ContentHash, ErrorCode, RunId};
use greenroom_registry::journal::Seq;
use greenroom_rego::{Grant, SpendingScope};

use super::context::replay_context;
use super::effects::EffectContext;
use super::handle::RunsHandle;
use super::inner_start::InnerStart;
use super::loops::Loops;
use super::machine::{Event, State, StepStatus, deadline_after_pause};
use super::message::{FirstAction, RunArgs, UnneededRun};
use super::pinned::PinnedDefinitions;
use super::tree::RunTree;
use crate::concurrency::OwnedTickets;
use crate::dispatcher::RunTicket;

/// Entries of a journal that one read returns.
const REPLAY_ENTRIES_MAX: u32 = 1_000;

/// A run to resume.
pub(super) struct ResumedRun<'r> {
    pub(super) run: &'r RunId,
    pub(super) tree: &'r Arc<RunTree>,
    /// The grant of the request that resumes it.
    pub(super) grant: &'r Grant,
    /// The run whose call resumes it.
    pub(super) caller: Option<&'r RunId>,
    pub(super) ticket: Option<RunTicket>,
}

impl RunsHandle {
    /// Resumes the run that a step of a resumed run calls again. Returns false if it had not started yet.
    ///
    /// # Errors
    /// [`ErrorCode::IdempotencyConflict`] if another request has started it; an error of the stores.
    pub(super) async fn resume_inner(
        &self,
        run: &RunId,
        request_hash: &ContentHash,
        start: &InnerStart,
        grant: &Grant,
    ) -> Result<bool, Cause> {
        let found = self.env().stores.runs.get(run).await.map_err(|error| error.cause())?;
        let Some(record) = found else { return Ok(false) };
        let tree = start.tree();
        if record.root != *tree.root() || record.request_hash != *request_hash {
            return Err(Cause::new(
                ErrorCode::IdempotencyConflict,
                format!("another request has started the run {run}"),
            ));
        }
        if !record.status.is_terminal() && !self.is_hosted(run) {
            let caller = Some(&start.caller().run);
            self.resume_from_journal(ResumedRun { run, tree, grant, caller, ticket: None }).await?;
        }
        Ok(true)
    }

    /// Resumes a run of a tree that this pod owns.
    ///
    /// # Errors
    /// An error of the stores; `unknown_workflow` or `unknown_agent` if a version that it is pinned to is missing.
    pub(super) async fn resume_from_journal(&self, resumed: ResumedRun<'_>) -> Result<(), Cause> {
        let ResumedRun { run, tree, grant, caller, ticket } = resumed;
        let env = self.env();
        let (seq, state) = self.replay(run).await?;
        let Some(started) = state.started().cloned() else {
            let cause = Cause::new(ErrorCode::Interrupted, "the process ended before the run started");
            return self.append_run_ended(run, tree.fence(), seq, &state, cause).await;
        };
        let definitions = PinnedDefinitions::from_recorded(&started, &*env.resolver).await?;
        let now = env.clock.now();
        let deadline = deadline_after_pause(&state, tree.last_activity(), now);
        let definitions_changed = definitions.is_outdated(&started.inner, &*env.resolver);
        let first = FirstAction::Resume(Box::new(Event::Resumed { definitions_changed, deadline }));
        let needed = called_runs(run, &state, &definitions.plan);
        let ctx = EffectContext {
            env: env.clone(),
            tree: tree.clone(),
            pinned: Arc::new(definitions),
            grant: grant
                .with_run_deadline(deadline)
                .with_spending_limits(SpendingScope::Run(run.clone()), started.limits),
            started,
            loops: Loops::default(),
        };
        let context = replay_context(env, &ctx.started, ctx.artifacts()).await?;
        if let (Some(team), Some(team_restorer)) = (&ctx.started.team, self.team_restorer())
            && ctx.started.team_run.as_ref() == Some(run)
        {
            team_restorer.restore_team(run, team, &ctx.started.members).await?;
        }
        let caller = caller.cloned();
        // A run without a ticket of its own is a part of the work that resumes it.
        let tickets = ticket.map_or_else(OwnedTickets::of_task, |own| OwnedTickets::default().with(own));
        self.activate(RunArgs { seq, state, context, first, caller, ctx, tickets }).await?;
        for record in tree.claimed_below(run).filter(|record| !needed.contains(&record.run)) {
            let cause =
                Cause::new(ErrorCode::Cancelled, format!("the call of the run {run} that started it has ended"));
            let (run, tree) = (record.run.clone(), tree.clone());
            self.end_unneeded(UnneededRun { run, caller: None, tree, cause });
        }
        Ok(())
    }

    /// Replays the journal of a run into its state.
    pub(super) async fn replay(&self, run: &RunId) -> Result<(Seq, State), Cause> {
        let journal = &self.env().stores.journal;
        let (mut seq, mut state) = (Seq(0), State::default());
        loop {
            let entries = journal.read(run, seq, REPLAY_ENTRIES_MAX).await.map_err(|error| error.cause())?;
            let Some(last) = entries.last().map(|entry| entry.seq) else { return Ok((seq, state)) };
            for entry in &entries {
                state.apply(entry.at, &entry.entry);
            }
            seq = last;
        }
    }
}

/// The runs that the steps in flight have called.
fn called_runs(run: &RunId, state: &State, plan: &Plan) -> HashSet<RunId> {
    let mut called = HashSet::new();
    let calls_run = |key: &StepKey| plan.step(&key.step).is_some_and(|step| step.workflow().is_some());
    for (step, step_state) in state.step_states() {
        let items = step_state.items.iter().flat_map(|items| items.iter());
        let all = std::iter::once((None, &step_state.status)).chain(items.map(|(index, item)| (Some(index), item)));
        for (index, status) in all {
            let key = StepKey { step: step.clone(), index };
            if let StepStatus::InFlight { attempt, .. } = status
                && calls_run(&key)
            {
                let call = CallKey::for_step(run, &key.step, key.index);
                called.insert(RunId::for_request(&call.request_id(*attempt)));
            }
        }
    }
    called
}
