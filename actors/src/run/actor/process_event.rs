//! Processes an event: decide → journal → release. `start_effect` starts the effects.

use greenroom_protocol::Timestamp;
use greenroom_protocol::journal::Entry;
use greenroom_registry::core::{PendingAppend, Unit};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::{AppendPosition, JournalError, Receipt, Seq};
use greenroom_registry::ledger::Settled;
use ractor::{ActorProcessingErr, ActorRef};

use super::{RunActor, RunActorState};
use crate::pipeline::{CommitWaiter, commit_signal};
use crate::run::JOURNAL_WAIT_MAX;
use crate::run::booked_cost::{add_booked_cost, booked_cost};
use crate::run::call_origins::CallOrigins;
use crate::run::machine::{Decision, Event, Phase, State, decide};
use crate::run::message::RunMsg;
use crate::run::pinned::PinnedDefinitions;
use crate::run::values::inline_outputs;

/// Entries of one append; more entries are written in several appends.
const ENTRIES_MAX: usize = greenroom_registry::journal::APPEND_ENTRIES_MAX;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventOutcome {
    /// Its entries are durable.
    Recorded,
    /// It changes nothing.
    Unchanged,
    /// Another owner has claimed the run, or has ended it: nothing was written, and the actor stops.
    Fenced,
}

impl RunActor {
    /// Processes an event that has cost nothing.
    pub(super) async fn process_event(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        event: &Event,
    ) -> Result<EventOutcome, ActorProcessingErr> {
        self.process_settled_event(myself, state, event, Vec::new()).await
    }

    /// Decides, journals, and only then releases the effects. Calls are authorized while the append is in flight, and
    /// their audit entries share its commit; each call waits for the receipt before it is executed. The settlements of
    /// the call whose end the event is are one unit with its entries.
    pub(super) async fn process_settled_event(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        event: &Event,
        settled: Vec<Settled>,
    ) -> Result<EventOutcome, ActorProcessingErr> {
        let now = self.ctx.env.clock.now();
        let mut decision = self.decide_within_budget(&state.machine, event, now);
        if decision.is_empty() {
            // The settlements of an outdated attempt are booked by themselves.
            return Ok(EventOutcome::Unchanged);
        }
        if decision.reply_mut().is_some() {
            self.add_booked_cost(state, &mut decision).await;
        }
        let calls = decision.take_calls();
        let timing = if calls.is_empty() { CommitTiming::Immediate } else { CommitTiming::Coalesce };
        let append = async {
            let pending = self.submit_entries(state.seq, decision.entries(), settled, timing, now).await?;
            let (signal, waiter) = commit_signal();
            self.set_call_origins(state, decision.entries());
            for call in calls {
                self.start_effect(myself, state, decision.next(), call, &waiter);
            }
            let receipt = pending.wait_receipt().await?;
            // What a step provides is in the view before the steps that depend on it start.
            let keeps_view = match &mut state.context {
                Some(context) => {
                    let applied = context.apply(state.seq, decision.entries(), now).await;
                    self.keeps_view(myself, applied)
                }
                None => true,
            };
            if keeps_view {
                signal.committed(&receipt);
            }
            Ok::<_, JournalError>((receipt, keeps_view))
        };
        let timeout_error = |_| JournalError::Store(greenroom_registry::StoreError::OutcomeUnknown);
        // In a store that pods share, it ends when the server is there again, or with this pod. If the actor failed before,
        // the calls in flight would be repeated although no pod has died.
        let appended = match self.ctx.env.stores.cluster.is_shared() {
            true => append.await,
            false => tokio::time::timeout(JOURNAL_WAIT_MAX, append).await.map_err(timeout_error).flatten(),
        };
        match appended {
            Ok((receipt, true)) => self.release(myself, state, decision, &receipt).await,
            // The next owner, which has claimed the view, continues from the entries.
            Ok((receipt, false)) => (state.machine, state.seq) = (decision.release(&receipt).0, receipt.through()),
            Err(JournalError::Fenced | JournalError::Ended) => {
                self.stop(myself, "fenced");
                return Ok(EventOutcome::Fenced);
            }
            Err(error) => return Err(Box::new(error)),
        }
        Ok(EventOutcome::Recorded)
    }

    /// Aborts the calls in flight of a run that ends, and replies with what was booked for all of its calls. None of
    /// these calls has started a run: the runs that it called have ended before it.
    async fn add_booked_cost(&self, state: &mut RunActorState, decision: &mut Decision) {
        decision.take_aborts().iter().for_each(|key| self.abort_step(state, key));
        let booked = booked_cost(&self.ctx.env.stores, self.run(), true).await;
        let ended = decision.reply_mut().zip(booked).map(|(reply, booked)| {
            add_booked_cost(reply, &booked);
            reply.clone()
        });
        if let Some(ended) = ended {
            decision.replace_reply(&ended);
        }
    }

    /// Releases the effects of a durable decision.
    pub(super) async fn release(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        decision: Decision,
        receipt: &Receipt,
    ) {
        self.set_call_origins(state, decision.entries());
        let (next, effects) = decision.release(receipt);
        state.seq = receipt.through();
        for effect in effects {
            self.start_effect(myself, state, &next, effect, &CommitWaiter::ready());
        }
        state.machine = next;
        let machine = &state.machine;
        if *machine.phase() == Phase::Running {
            self.ctx.loops.retain(|step| machine.step_state(step).is_some_and(|loop_state| !loop_state.is_finished()));
        }
        self.report_waits(state);
        self.observe_waiting(myself, state);
        if let (Phase::Ended(_), Some(context)) = (state.machine.phase(), &state.context) {
            context.remove_view().await;
        }
    }

    /// Notes where the calls of a decision begin, before its entries are counted.
    fn set_call_origins(&self, state: &mut RunActorState, entries: &[Entry]) {
        if self.ctx.env.step_deltas.is_some() {
            state.call_origins = Some(CallOrigins::new(state.seq, entries));
        }
    }

    /// All runs of a tree and their calls share its retries and may have taken the last one. In that case the decision is
    /// repeated for a state without retries.
    fn decide_within_budget(&self, state: &State, event: &Event, now: Timestamp) -> Decision {
        let pinned = &self.ctx.pinned;
        let decision = decide_with_outputs(pinned, state, event, now);
        let is_retry = |entry: &&Entry| matches!(entry, Entry::StepRetried { .. });
        let retries = decision.entries().iter().filter(is_retry).count();
        // The root records its own retries by this decision, and those of all other runs when it learns of them.
        let take = || if self.is_root() { self.budget.try_take_unobserved() } else { self.budget.try_take() };
        if (0..retries).all(|_| take()) {
            return decision;
        }
        decide_with_outputs(pinned, &state.without_retries(), event, now)
    }

    /// Submits the entries to the journal; if they need several appends, it awaits all but the last, which it submits.
    /// The first one has the end of the call, and so the settlements.
    async fn submit_entries(
        &self,
        after: Seq,
        entries: &[Entry],
        settled: Vec<Settled>,
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAppend, JournalError> {
        let core = &self.ctx.env.stores.core;
        let (mut after, mut entries, mut settled) = (after, entries, settled);
        let position = |after| AppendPosition { run: self.run(), fence: self.ctx.tree.fence(), after };
        while let Some((chunk, rest)) = entries.split_at_checked(ENTRIES_MAX).filter(|(_, rest)| !rest.is_empty()) {
            let unit = Unit::new(now).append(position(after), chunk).settle(std::mem::take(&mut settled));
            let unit = unit.outlast_outage(true);
            after = core.submit_entries(unit, CommitTiming::Immediate).await?.wait_receipt().await?.through();
            entries = rest;
        }
        let unit = Unit::new(now).append(position(after), entries).settle(settled).outlast_outage(true);
        core.submit_entries(unit, timing).await
    }
}

/// Decides an event. If the outputs of a run are all inline, and it waits for no run that it called, its last step and
/// its end are one decision and one append.
pub(in crate::run) fn decide_with_outputs(
    pinned: &PinnedDefinitions,
    state: &State,
    event: &Event,
    now: Timestamp,
) -> Decision {
    let plan = &pinned.plan;
    let decision = decide(state, plan, event, now);
    if !decision.collects_outputs() || decision.next().has_unneeded_runs() {
        return decision;
    }
    match inline_outputs(decision.next(), pinned) {
        Some(outputs) => {
            let outcome = decide(decision.next(), plan, &Event::OutputsCollected { outputs: Ok(outputs) }, now);
            decision.merge(outcome)
        }
        None => decision,
    }
}
