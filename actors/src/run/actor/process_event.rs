//! From what a run is told to what it does: decide → journal → release. What is done for an effect
//! lives in `perform`.

use greenroom_definitions::binding::run_outputs;
use greenroom_definitions::plan::Plan;
use greenroom_protocol::Timestamp;
use greenroom_protocol::journal::Entry;
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::{AppendPosition, JournalError, PendingAppend, Receipt, Seq};
use ractor::{ActorProcessingErr, ActorRef};

use super::{RunActor, RunActorState, RunMsg};
use crate::pipeline::{CommitWaiter, commit_signal};
use crate::run::JOURNAL_WAIT_MAX;
use crate::run::machine::{Decision, Event, State, decide};
use crate::run::values::{EffectInputs, fits_inline};

/// Entries that one append writes; more are written in several.
const ENTRIES_MAX: usize = greenroom_registry::journal::APPEND_ENTRIES_MAX;

impl RunActor {
    /// Decides, journals, and only then acts. Calls are on their way to the guard while the journal is
    /// written, and share its commit with their own records; each waits for the receipt before its act.
    pub(super) async fn process_event(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        event: &Event,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.ctx.env.clock.now();
        let mut decision = self.decided_within_budget(&state.machine, event, now);
        if decision.is_empty() {
            return Ok(());
        }
        let calls = decision.take_calls();
        let timing = if calls.is_empty() { CommitTiming::Immediate } else { CommitTiming::Coalesce };
        let written = async {
            let pending = self.hand_in(state.seq, decision.entries(), timing, now).await?;
            let (ahead, behind) = commit_signal();
            for call in calls {
                self.start_effect(myself, state, decision.next(), call, &behind);
            }
            let receipt = pending.wait_receipt().await?;
            ahead.committed(&receipt);
            Ok(receipt)
        };
        let late = |_| JournalError::Store(greenroom_registry::StoreError::Timeout);
        let receipt = match tokio::time::timeout(JOURNAL_WAIT_MAX, written).await.map_err(late).flatten() {
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

    /// Does what was decided and is durable.
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

    /// The calls below a run share its retries, and may have taken the last one already: then the
    /// decision is made again as of a run that has none.
    fn decided_within_budget(&self, state: &State, event: &Event, now: Timestamp) -> Decision {
        let plan = &self.ctx.pinned.plan;
        let decision = decided(plan, state, event, now);
        let is_retry = |entry: &&Entry| matches!(entry, Entry::StepRetried { .. });
        let retries = decision.entries().iter().filter(is_retry).count();
        if (0..retries).all(|_| self.budget.try_take_unobserved()) {
            return decision;
        }
        decided(plan, &state.without_retries(), event, now)
    }

    /// Hands the entries to the journal; where they are too many for one append, the last part.
    async fn hand_in(
        &self,
        after: Seq,
        entries: &[Entry],
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAppend, JournalError> {
        let journal = &self.ctx.env.stores.journal;
        let (mut after, mut entries) = (after, entries);
        while let Some((chunk, rest)) = entries.split_at_checked(ENTRIES_MAX).filter(|(_, rest)| !rest.is_empty()) {
            after = journal.append(&self.run, self.fence, after, chunk, now).await?.through();
            entries = rest;
        }
        journal.submit(AppendPosition { run: &self.run, fence: self.fence, after }, entries, timing, now).await
    }
}

/// What follows from an event. Where the outputs of a run need no fetching, its last step and its end
/// are one decision, and one write.
pub(in crate::run) fn decided(plan: &Plan, state: &State, event: &Event, now: Timestamp) -> Decision {
    let decision = decide(state, plan, event, now);
    if !decision.collects_outputs() {
        return decision;
    }
    let loaded = EffectInputs::of_outputs(decision.next(), plan).and_then(EffectInputs::into_loaded);
    let outputs = loaded.map(|loaded| run_outputs(plan, &loaded.scope()));
    match outputs.filter(|outputs| outputs.values().all(fits_inline)) {
        Some(outputs) => {
            let ended = decide(decision.next(), plan, &Event::OutputsCollected { outputs: Ok(outputs) }, now);
            decision.merge(ended)
        }
        None => decision,
    }
}
