//! A step that is executed for each item of a list, with bounded concurrency and results in the order of the list.

use greenroom_definitions::plan::PlanStep;
use greenroom_definitions::workflow::OnError;
use greenroom_protocol::journal::{Entry, ItemList, StepKey};
use greenroom_protocol::limits::RUN_STEPS_MAX;
use greenroom_protocol::{Cause, ErrorCode};

use super::decide::DecisionBuilder;
use super::scheduling::step_key;

impl DecisionBuilder<'_> {
    /// Records the items.
    pub(super) fn expand_items(&mut self, step: &PlanStep, items: u32, list: Option<&ItemList>, skipped: &[u32]) {
        if items as usize > RUN_STEPS_MAX {
            let message = format!("the list of `{}` has {items} items, a run takes {RUN_STEPS_MAX}", step.id);
            return self.fail_unstarted(step_key(&step.id), Cause::new(ErrorCode::InvalidInput, message));
        }
        let (step_id, list, skipped) = (step.id.clone(), list.cloned(), skipped.to_vec());
        self.record(Entry::ItemsExpanded { step: step_id, items, skipped, list });
        self.start_items(step);
    }

    /// Starts as many items as the limits allow.
    pub(super) fn start_items(&mut self, step: &PlanStep) {
        let Some(for_each) = &step.for_each else { return };
        loop {
            let Some(items) = self.next.step_state(&step.id).and_then(|step_state| step_state.items.as_ref()) else {
                return;
            };
            let is_full = items.in_flight >= for_each.max_concurrency.max(1) || !self.has_call_capacity();
            let has_failed = items.first_failed.is_some() && for_each.on_error != OnError::Continue;
            if is_full || has_failed {
                return;
            }
            let Some(index) = items.next_waiting() else { return };
            let key = StepKey { step: step.id.clone(), index: Some(index) };
            self.start_step(step, key, 1);
        }
    }
}
