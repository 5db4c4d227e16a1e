//! Scheduling of steps: a step starts when its dependencies have ended and the run has call capacity.

use std::collections::BTreeSet;

use greenroom_definitions::plan::{PlanStep, StepTarget};
use greenroom_protocol::journal::{Entry, ResultRef, SkipReason, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{CallKey, Cause, ContentHash, ErrorCode, StepId, Timestamp, Values};

use super::RUN_CALLS_MAX;
use super::decide::DecisionBuilder;
use super::effect::{CallTarget, Effect};
use super::event::StepEvaluation;
use super::state::{Phase, StepStatus};

/// Whether a step may start.
enum Readiness {
    Blocked,
    Ready,
    /// Ready, but a step to which it refers was skipped, and it may need a value of it.
    Doubtful,
    Skip(SkipReason),
}

impl DecisionBuilder<'_> {
    /// Starts every ready step. The plan orders a step after its dependencies, so one pass also skips steps that
    /// refer to a step that was skipped in the same pass.
    pub(super) fn start_ready_steps(&mut self) {
        let plan = self.plan;
        for step in &plan.steps {
            let status =
                self.next.step_state(&step.id).map_or(StepStatus::Waiting, |step_state| step_state.status.clone());
            match status {
                StepStatus::Waiting => match self.readiness(step) {
                    Readiness::Blocked => {}
                    Readiness::Skip(reason) => self.skip_step(step_key(&step.id), reason),
                    Readiness::Doubtful => self.evaluate_step(&step.id),
                    Readiness::Ready if needs_evaluation(step) => self.evaluate_step(&step.id),
                    Readiness::Ready => self.start_step(step, step_key(&step.id), 1),
                },
                StepStatus::Approved if step.for_each.is_some() => self.evaluate_step(&step.id),
                StepStatus::Approved => self.start_step(step, step_key(&step.id), 1),
                StepStatus::RunningItems => self.start_items(step),
                StepStatus::Evaluating
                | StepStatus::AwaitingApproval { .. }
                | StepStatus::AwaitingEvent { .. }
                | StepStatus::AwaitingToolApproval { .. }
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
        let mut skipped: Vec<&StepId> = Vec::new();
        for dependency in &step.depends_on {
            match self.next.step_state(dependency) {
                Some(step_state) if step_state.is_finished() => {
                    skipped.extend((step_state.status == StepStatus::Skipped).then_some(dependency));
                }
                Some(_) | None => return Readiness::Blocked,
            }
        }
        let referenced = if skipped.is_empty() { BTreeSet::new() } else { step.input_steps() };
        let is_skipped = |id: &&StepId| skipped.contains(id);
        if !referenced.is_empty() && referenced.iter().all(is_skipped) {
            let steps = referenced.into_iter().cloned().collect();
            return Readiness::Skip(SkipReason::ReferencesSkipped { steps });
        }
        match (self.has_call_capacity(), referenced.iter().any(is_skipped)) {
            (false, _) => Readiness::Blocked,
            (true, true) => Readiness::Doubtful,
            (true, false) => Readiness::Ready,
        }
    }

    /// True if the run may start another call now.
    pub(super) const fn has_call_capacity(&self) -> bool {
        self.next.counts.in_flight < RUN_CALLS_MAX
    }

    fn skip_step(&mut self, key: StepKey, reason: SkipReason) {
        self.record(Entry::StepSkipped { key, reason: Some(reason) });
    }

    fn evaluate_step(&mut self, step: &StepId) {
        self.record(Entry::StepReady { step: step.clone() });
        self.effects.push(Effect::EvaluateStep { step: step.clone() });
    }

    /// Processes the evaluation of a step.
    pub(super) fn on_step_evaluated(&mut self, step: &StepId, evaluation: &Result<StepEvaluation, Cause>) {
        let key = step_key(step);
        let Some(planned) = self.plan_step(&key) else { return };
        if *self.next.phase() != Phase::Running || *self.next.step_status(&key) != StepStatus::Evaluating {
            return;
        }
        let evaluation = match evaluation {
            Ok(evaluation) => evaluation,
            Err(cause) => return self.fail_unstarted(key, cause.clone()),
        };
        let is_approved = self.next.step_state(step).is_some_and(|step_state| step_state.approved);
        if let Some(reason) = evaluation.skip.as_ref().filter(|_| !is_approved) {
            return self.skip_step(key, reason.clone());
        }
        match (&evaluation.approval_prompt, evaluation.item_count) {
            (Some(prompt), _) if !is_approved => self.request_approval(planned, prompt.clone()),
            (_, Some(items)) => {
                self.expand_items(planned, items, evaluation.item_list.as_ref(), &evaluation.skipped_items);
            }
            (_, None) => self.start_step(planned, key, 1),
        }
    }

    /// Calls the target of the step, or waits for it. A step that is only an approval completes with its approval.
    pub(super) fn start_step(&mut self, step: &PlanStep, key: StepKey, attempt: u32) {
        if let StepTarget::Wait { target, timeout } = &step.target {
            return self.start_wait(&key, attempt, target, *timeout);
        }
        let target = match self.call_target(step) {
            Ok(Some(target)) => target,
            Ok(None) => return self.complete_approval(key),
            Err(cause) => return self.fail_unstarted(key, cause),
        };
        let Some(run) = self.next.started().map(|started| started.run.clone()) else { return };
        let agent = match &target {
            CallTarget::Agent { agent, .. } => Some(agent.clone()),
            CallTarget::Workflow { .. } | CallTarget::Team { .. } => None,
        };
        let call = CallKey::for_step(&run, &key.step, key.index);
        self.record(Entry::StepStarted { key: key.clone(), attempt, agent });
        self.effects.push(Effect::Call { key, attempt, target, call });
    }

    /// The target of the step, in the version that the run is pinned to.
    pub(super) fn call_target(&self, step: &PlanStep) -> Result<Option<CallTarget>, Cause> {
        Ok(Some(match &step.target {
            StepTarget::Agent(agent) => self.pinned_agent(agent)?,
            StepTarget::Workflow(workflow) => CallTarget::Workflow { workflow: workflow.clone() },
            StepTarget::Team { team, workflow } => CallTarget::Team { team: team.clone(), workflow: workflow.clone() },
            StepTarget::Approval | StepTarget::Wait { .. } => return Ok(None),
        }))
    }

    /// The agent with this id, in the version that the run is pinned to.
    pub(super) fn pinned_agent(&self, agent_id: &greenroom_protocol::AgentId) -> Result<CallTarget, Cause> {
        let found = self.next.started().and_then(|started| started.agent(agent_id));
        match found {
            Some((agent, version)) => Ok(CallTarget::Agent { agent: agent.clone(), version }),
            None => Err(Cause::new(ErrorCode::UnknownAgent, format!("the run is pinned to no agent `{agent_id}`"))),
        }
    }

    fn complete_approval(&mut self, key: StepKey) {
        let values = Values::from([("approved".to_owned(), serde_json::Value::Bool(true))]);
        let hash = ContentHash::from_content(serde_json::json!(values).to_string().as_bytes());
        let result = ResultRef::Inline(values);
        self.record(Entry::StepDone { key, attempt: 1, result, hash, usage: Usage::default(), duration_ms: 0 });
    }

    /// Records the failure of a step before its first call.
    pub(super) fn fail_unstarted(&mut self, key: StepKey, cause: Cause) {
        self.record(Entry::StepFailed { key, attempt: 0, cause, usage: Usage::default(), duration_ms: 0 });
    }

    /// The start of this attempt; `None` if it is not in flight, so that its result is ignored.
    pub(super) fn in_flight_since(&self, key: &StepKey, attempt: u32) -> Option<Timestamp> {
        let (current, since) = match self.next.step_status(key) {
            StepStatus::InFlight { attempt, since } | StepStatus::AwaitingEvent { attempt, since, .. } => {
                (*attempt, *since)
            }
            _ => return None,
        };
        (*self.next.phase() == Phase::Running && current == attempt).then_some(since)
    }
}

/// True if a step has a condition, items or an approval to evaluate before it starts.
const fn needs_evaluation(step: &PlanStep) -> bool {
    step.when.is_some() || step.for_each.is_some() || step.approval.is_some()
}

pub(super) fn step_key(step: &StepId) -> StepKey {
    StepKey { step: step.clone(), index: None }
}
