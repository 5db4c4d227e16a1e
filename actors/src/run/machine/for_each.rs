//! A step that is done once for each item of a list: so many at a time, results in the list's order.

use greenroom_definitions::plan::PlanStep;
use greenroom_definitions::workflow::OnError;
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::limits::RUN_STEPS_MAX;
use greenroom_protocol::{Cause, ErrorCode};

use super::decide::DecisionBuilder;
use super::scheduling::whole_step;

impl DecisionBuilder<'_> {
    /// Takes in how many items there are.
    pub(super) fn expand(&mut self, step: &PlanStep, items: u32, unneeded: &[u32]) {
        if items as usize > RUN_STEPS_MAX {
            let message = format!("the list of `{}` has {items} items, a run takes {RUN_STEPS_MAX}", step.id);
            return self.fail_unbegun(whole_step(&step.id), Cause::new(ErrorCode::InvalidInput, message));
        }
        self.record(Entry::ItemsExpanded { step: step.id.clone(), items, skipped: unneeded.to_vec() });
        self.start_items(step);
    }

    /// Begins as many items as there is room for.
    pub(super) fn start_items(&mut self, step: &PlanStep) {
        let Some(for_each) = &step.for_each else { return };
        loop {
            let Some(items) = self.next.track(&step.id).and_then(|track| track.items.as_ref()) else { return };
            let is_full = items.live >= for_each.max_concurrency.max(1) || !self.has_call_capacity();
            let has_failed = items.failed.is_some() && for_each.on_error != OnError::Continue;
            let Some(index) = items.next().filter(|_| !is_full && !has_failed) else { return };
            let key = StepKey { step: step.id.clone(), index: Some(index) };
            self.start(step, key, 1);
        }
    }
}
