//! Processes an event: decide → journal → release. `start_effect` starts the effects.

use greenroom_definitions::binding::run_outputs;
use greenroom_definitions::plan::Plan;
use greenroom_protocol::Timestamp;
use greenroom_protocol::journal::Entry;
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::{AppendPosition, JournalError, PendingAppend, Receipt, Seq};
use ractor::{ActorProcessingErr, ActorRef};

use super::{RunActor, RunActorState};
use crate::pipeline::{CommitWaiter, commit_signal};
use crate::run::JOURNAL_WAIT_MAX;
use crate::run::machine::{Decision, Event, State, decide};
use crate::run::message::RunMsg;
use crate::run::values::{EffectInputs, fits_inline};

/// Entries of one append; more entries are written in several appends.
const ENTRIES_MAX: usize = greenroom_registry::journal::APPEND_ENTRIES_MAX;

impl RunActor {
    /// Decides, journals, and only then releases the effects. Calls are authorized while the append is in flight, and
    /// their audit entries share its commit; each call waits for the receipt before it is executed.
    pub(super) async fn process_event(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        event: &Event,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.ctx.env.clock.now();
        let mut decision = self.decide_within_budget(&state.machine, event, now);
        if decision.is_empty() {
            return Ok(());
        }
        let calls = decision.take_calls();
        let timing = if calls.is_empty() { CommitTiming::Immediate } else { CommitTiming::Coalesce };
        let append = async {
            let pending = self.submit_entries(state.seq, decision.entries(), timing, now).await?;
            let (signal, waiter) = commit_signal();
            for call in calls {
                self.start_effect(myself, state, decision.next(), call, &waiter);
            }
            let receipt = pending.wait_receipt().await?;
            signal.committed(&receipt);
            Ok(receipt)
        };
        let timeout_error = |_| JournalError::Store(greenroom_registry::StoreError::Timeout);
        let receipt = match tokio::time::timeout(JOURNAL_WAIT_MAX, append).await.map_err(timeout_error).flatten() {
            Ok(receipt) => receipt,
            Err(JournalError::Fenced | JournalError::Ended) => {
                self.stop(myself, "fenced");
                return Ok(());
            }
            Err(error) => return Err(Box::new(error)),
        };
        self.release(myself, state, decision, &receipt);
        Ok(())
    }

    /// Releases the effects of a durable decision.
    pub(super) fn release(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        decision: Decision,
        receipt: &Receipt,
    ) {
        let (next, effects) = decision.release(receipt);
        state.seq = receipt.through();
        for effect in effects {
            self.start_effect(myself, state, &next, effect, &CommitWaiter::ready());
        }
        state.machine = next;
    }

    /// All runs of a tree and their calls share its retries and may have taken the last one. In that case the decision is repeated
    /// for a state without retries.
    fn decide_within_budget(&self, state: &State, event: &Event, now: Timestamp) -> Decision {
        let plan = &self.ctx.pinned.plan;
        let decision = decide_with_outputs(plan, state, event, now);
        let is_retry = |entry: &&Entry| matches!(entry, Entry::StepRetried { .. });
        let retries = decision.entries().iter().filter(is_retry).count();
        // The root records its own retries by this decision, and those of all other runs when it learns of them.
        let take = || if self.is_root() { self.budget.try_take_unobserved() } else { self.budget.try_take() };
        if (0..retries).all(|_| take()) {
            return decision;
        }
        decide_with_outputs(plan, &state.without_retries(), event, now)
    }

    /// Submits the entries to the journal; if they need several appends, it awaits all but the last, which it submits.
    async fn submit_entries(
        &self,
        after: Seq,
        entries: &[Entry],
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAppend, JournalError> {
        let journal = &self.ctx.env.stores.journal;
        let (mut after, mut entries) = (after, entries);
        while let Some((chunk, rest)) = entries.split_at_checked(ENTRIES_MAX).filter(|(_, rest)| !rest.is_empty()) {
            after = journal.append(self.run(), self.ctx.tree.fence(), after, chunk, now).await?.through();
            entries = rest;
        }
        let position = AppendPosition { run: self.run(), fence: self.ctx.tree.fence(), after };
        journal.submit(position, entries, timing, now).await
    }
}

/// Decides an event. If the outputs of a run are all inline, its last step and its end are one decision and one
/// append.
pub(in crate::run) fn decide_with_outputs(plan: &Plan, state: &State, event: &Event, now: Timestamp) -> Decision {
    let decision = decide(state, plan, event, now);
    if !decision.collects_outputs() {
        return decision;
    }
    let loaded = EffectInputs::for_outputs(decision.next(), plan).and_then(EffectInputs::into_loaded);
    let outputs = loaded.map(|loaded| run_outputs(plan, &loaded.scope()));
    match outputs.filter(|outputs| outputs.values().all(fits_inline)) {
        Some(outputs) => {
            let outcome = decide(decision.next(), plan, &Event::OutputsCollected { outputs: Ok(outputs) }, now);
            decision.merge(outcome)
        }
        None => decision,
    }
}
