//! Which steps may begin: those whose dependencies have ended, as long as the run has places.

use greenroom_definitions::expr::{Expr, ReferenceRoot};
use greenroom_definitions::plan::{PlanStep, StepTarget as Doer};
use greenroom_protocol::journal::{Entry, ResultRef, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{CallKey, Cause, ContentHash, ErrorCode, StepId, Timestamp, Values};

use super::RUN_CALLS_MAX;
use super::decide::DecisionBuilder;
use super::effect::{CallTarget, Effect};
use super::event::StepEvaluation;
use super::state::{Phase, StepStatus};

/// Whether a step may begin.
enum Readiness {
    Not,
    Now,
    Never,
}

impl DecisionBuilder<'_> {
    /// Begins every step that may begin. The plan's order puts a step behind what it depends on, so
    /// one pass also skips what refers to a step that was skipped in the same pass.
    pub(super) fn start_ready_steps(&mut self) {
        let plan = self.plan;
        for step in &plan.steps {
            let own = self.next.track(&step.id).map_or(StepStatus::Waiting, |track| track.status.clone());
            match own {
                StepStatus::Waiting => match self.readiness(step) {
                    Readiness::Not => {}
                    Readiness::Never => self.record(Entry::StepSkipped { key: whole_step(&step.id) }),
                    Readiness::Now if is_weighed(step) => self.weigh(&step.id),
                    Readiness::Now => self.start(step, whole_step(&step.id), 1),
                },
                StepStatus::Approved if step.for_each.is_some() => self.weigh(&step.id),
                StepStatus::Approved => self.start(step, whole_step(&step.id), 1),
                StepStatus::RunningItems => self.start_items(step),
                StepStatus::Evaluating
                | StepStatus::AwaitingApproval { .. }
                | StepStatus::InFlight { .. }
                | StepStatus::Backoff { .. }
                | StepStatus::Done { .. }
                | StepStatus::Skipped
                | StepStatus::Failed { .. }
                | StepStatus::Cancelled
                | StepStatus::Compensating { .. }
                | StepStatus::Compensated
                | StepStatus::CompensationFailed => {}
            }
        }
    }

    fn readiness(&self, step: &PlanStep) -> Readiness {
        let mut skipped = false;
        for dependency in &step.depends_on {
            match self.next.track(dependency) {
                Some(track) if track.is_finished() => {
                    skipped |= track.status == StepStatus::Skipped && refers_to(step, dependency);
                }
                Some(_) | None => return Readiness::Not,
            }
        }
        match (skipped, self.has_call_capacity()) {
            (true, _) => Readiness::Never,
            (false, true) => Readiness::Now,
            (false, false) => Readiness::Not,
        }
    }

    /// True if the run may make another call now.
    pub(super) const fn has_call_capacity(&self) -> bool {
        self.next.in_flight < RUN_CALLS_MAX
    }

    fn weigh(&mut self, step: &StepId) {
        self.record(Entry::StepReady { step: step.clone() });
        self.effects.push(Effect::EvaluateStep { step: step.clone() });
    }

    /// Takes in what a step's condition, items and question came to.
    pub(super) fn weighed(&mut self, step: &StepId, weight: &Result<StepEvaluation, Cause>) {
        let key = whole_step(step);
        let Some(planned) = self.planned(&key) else { return };
        if *self.next.phase() != Phase::Running || *self.next.step(&key) != StepStatus::Evaluating {
            return;
        }
        let weight = match weight {
            Ok(weight) => weight,
            Err(cause) => return self.fail_unbegun(key, cause.clone()),
        };
        let is_granted = self.next.track(step).is_some_and(|track| track.approved);
        match (weight.runs || is_granted, is_granted, &weight.approval_prompt, weight.item_count) {
            (false, ..) => self.record(Entry::StepSkipped { key }),
            (true, false, Some(prompt), _) => self.record(Entry::ApprovalRequested { key, prompt: prompt.clone() }),
            (true, _, _, Some(items)) => self.expand(planned, items, &weight.skipped_items),
            (true, _, _, None) => self.start(planned, key, 1),
        }
    }

    /// Calls whoever does the step. A step that is only an approval is done by having been approved.
    pub(super) fn start(&mut self, step: &PlanStep, key: StepKey, attempt: u32) {
        let target = match self.target(step) {
            Ok(Some(target)) => target,
            Ok(None) => return self.done_by_approval(key),
            Err(cause) => return self.fail_unbegun(key, cause),
        };
        let Some(run) = self.next.started().map(|begun| begun.run.clone()) else { return };
        let agent = match &target {
            CallTarget::Agent { agent, .. } => Some(agent.clone()),
            CallTarget::Workflow { .. } | CallTarget::Team { .. } => None,
        };
        let call = CallKey::for_step(&run, &key.step, key.index);
        self.record(Entry::StepStarted { key: key.clone(), attempt, agent });
        self.effects.push(Effect::Call { key, attempt, target, call });
    }

    /// Who does the step, in the version that the run is pinned to.
    pub(super) fn target(&self, step: &PlanStep) -> Result<Option<CallTarget>, Cause> {
        Ok(Some(match &step.target {
            Doer::Agent(agent) => self.pinned(agent)?,
            Doer::Workflow(workflow) => CallTarget::Workflow { workflow: workflow.clone() },
            Doer::Team { team, workflow } => CallTarget::Team { team: team.clone(), workflow: workflow.clone() },
            Doer::Approval => return Ok(None),
        }))
    }

    /// The agent of that name, in the version that the run is pinned to.
    pub(super) fn pinned(&self, written: &greenroom_protocol::AgentId) -> Result<CallTarget, Cause> {
        let found = self.next.started().and_then(|begun| begun.agent(written));
        match found {
            Some((agent, version)) => Ok(CallTarget::Agent { agent: agent.clone(), version }),
            None => Err(Cause::new(ErrorCode::UnknownAgent, format!("the run is pinned to no agent `{written}`"))),
        }
    }

    fn done_by_approval(&mut self, key: StepKey) {
        let values = Values::from([("approved".to_owned(), serde_json::Value::Bool(true))]);
        let hash = ContentHash::of(serde_json::json!(values).to_string().as_bytes());
        let result = ResultRef::Inline(values);
        self.record(Entry::StepDone { key, attempt: 1, result, hash, usage: Usage::default(), duration_ms: 0 });
    }

    /// A step that failed before anybody was called.
    pub(super) fn fail_unbegun(&mut self, key: StepKey, cause: Cause) {
        self.record(Entry::StepFailed { key, attempt: 0, cause, usage: Usage::default(), duration_ms: 0 });
    }

    /// Since when this attempt is under way; `None` if it is not, so that its answer comes too late.
    pub(super) fn in_flight_since(&self, key: &StepKey, attempt: u32) -> Option<Timestamp> {
        match (self.next.phase(), self.next.step(key)) {
            (Phase::Running, StepStatus::InFlight { attempt: current, since }) if *current == attempt => Some(*since),
            _ => None,
        }
    }
}

/// True if a step has something to work out before it begins.
const fn is_weighed(step: &PlanStep) -> bool {
    step.when.is_some() || step.for_each.is_some() || step.approval.is_some()
}

/// True if a step works with what another one gives, and does not only wait for it.
fn refers_to(step: &PlanStep, other: &StepId) -> bool {
    let exprs = step.inputs.values().chain(step.approval.as_ref());
    let exprs = exprs.chain(step.for_each.as_ref().map(|each| &each.items));
    let mut references = exprs.flat_map(Expr::references);
    references.any(|reference| matches!(&reference.root, ReferenceRoot::Step(step) if step == other))
        || step.when.as_ref().is_some_and(|when| when.steps().any(|step| step == other.as_str()))
}

pub(super) fn whole_step(step: &StepId) -> StepKey {
    StepKey { step: step.clone(), index: None }
}
