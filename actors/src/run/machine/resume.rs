//! A run in a new process: what was in flight is asked for again under the same keys, what waited
//! for a moment waits for the same moment, and what was done is not touched.

use std::time::Duration;

use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::{CallKey, Deadline, Timestamp};

use super::decide::Draft;
use super::effect::{Effect, Target, TimerId};
use super::scheduling::whole;
use super::state::{Phase, State, Step};

impl Draft<'_> {
    pub(super) fn resume(&mut self, definitions_changed: bool, deadline: Deadline) {
        match self.next.phase() {
            Phase::New | Phase::Ended(_) => return,
            Phase::Running | Phase::Undoing { .. } => {}
        }
        self.note(Entry::Resumed { definitions_changed, deadline });
        self.gathering = false;
        match *self.next.phase() {
            Phase::Running => self.effects.push(Effect::SetTimer { timer: TimerId::Deadline, at: deadline.0 }),
            Phase::Undoing { until, .. } => {
                self.effects.push(Effect::SetTimer { timer: TimerId::Undo, at: until });
            }
            Phase::New | Phase::Ended(_) => {}
        }
        for (key, step) in begun_steps(&self.next) {
            self.ask_again(key, &step);
        }
    }

    fn ask_again(&mut self, key: StepKey, step: &Step) {
        let Some(run) = self.next.begun().map(|begun| begun.run.clone()) else { return };
        let Some(planned) = self.planned(&key) else { return };
        let call = CallKey::of_step(&run, &key.step, key.index);
        match step {
            Step::Weighing => self.effects.push(Effect::Weigh { step: key.step }),
            Step::InFlight { attempt, .. } => {
                if let Ok(Some(target)) = self.target(planned) {
                    self.effects.push(Effect::Call { key, attempt: *attempt, target, call });
                }
            }
            Step::Backoff { at, .. } => {
                self.effects.push(Effect::SetTimer { timer: TimerId::Retry(key), at: *at });
            }
            Step::Undoing { attempt, .. } => {
                if let Some(target) = self.undoer(planned) {
                    let (attempt, call) = (*attempt, call.undo());
                    self.effects.push(Effect::Undo { key, attempt, target, call, after: Duration::ZERO });
                }
            }
            Step::Waiting
            | Step::Asked { .. }
            | Step::Granted
            | Step::Spread
            | Step::Done { .. }
            | Step::Skipped
            | Step::Failed { .. }
            | Step::Cancelled
            | Step::Undone
            | Step::NotUndone => {}
        }
    }

    fn undoer(&self, step: &greenroom_definitions::plan::PlanStep) -> Option<Target> {
        self.pinned(&step.compensate.as_ref()?.agent).ok()
    }
}

/// When a resumed run must have ended: the time between its last entry and now does not count.
pub(crate) fn deadline_after_pause(state: &State, now: Timestamp) -> Deadline {
    let dead = now.since(state.last_at());
    Deadline(state.deadline().map_or(now, |deadline| deadline.0.plus(dead)))
}

/// Every step and item that something was journalled of.
fn begun_steps(state: &State) -> Vec<(StepKey, Step)> {
    let mut steps = Vec::new();
    for (step, track) in state.tracks() {
        steps.push((whole(step), track.own.clone()));
        let items = track.items.iter().flat_map(|items| items.iter());
        let begun = items.filter(|(_, item)| item.is_live() || matches!(item, Step::Undoing { .. }));
        steps.extend(begun.map(|(index, item)| (StepKey { step: step.clone(), index: Some(index) }, item.clone())));
    }
    steps
}
