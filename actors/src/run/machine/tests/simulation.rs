//! A simulation of one run: it journals decisions, records effects and completes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use greenroom_definitions::plan::Plan;
use greenroom_definitions::workflow::Workflow;
use greenroom_protocol::journal::{Entry, InnerVersions, ResultRef, RunStarted, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::CallOptions;
use greenroom_protocol::{
    Cause, ContentHash, Deadline, ErrorCode, Json, PrincipalId, Reply, RunId, SpendingLimits, StepId, TenantId,
    Timestamp, UserId, Values,
};
use greenroom_registry::journal::{Receipt, Seq};
use serde_json::json;

use crate::run::machine::{
    CallResult, Decision, Effect, Event, State, StepEvaluation, StepStatus, TimerId, deadline_after_pause, decide,
};

/// The start of every run of these tests.
pub(super) const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
/// The duration until the deadline of these runs.
pub(super) const TIME: Duration = Duration::from_secs(600);

/// The result of a call, by its step and attempt.
pub(super) type Script = Box<dyn Fn(&StepKey, u32) -> CallResult>;
/// The evaluated condition, items and approval prompt of a step.
pub(super) type EvaluationScript = Box<dyn Fn(&StepId) -> StepEvaluation>;

pub(super) struct Simulation {
    pub(super) plan: Arc<Plan>,
    pub(super) started: Arc<RunStarted>,
    pub(super) state: State,
    pub(super) journal: Vec<(Timestamp, Entry)>,
    /// Effects that are not completed.
    pub(super) open: Vec<Effect>,
    pub(super) timers: BTreeMap<TimerId, Timestamp>,
    pub(super) now: Timestamp,
    pub(super) reply: Option<Reply>,
    /// Every call, in order.
    pub(super) calls: Vec<(StepKey, u32)>,
    /// Every compensation, in order.
    pub(super) compensated: Vec<StepKey>,
    pub(super) aborted: Vec<StepKey>,
    pub(super) script: Script,
    pub(super) compensation_script: Script,
    pub(super) evaluation_script: EvaluationScript,
}

pub(super) fn step_id(text: &str) -> StepId {
    StepId::new(text).unwrap()
}

pub(super) fn key(step: &str) -> StepKey {
    StepKey { step: step_id(step), index: None }
}

pub(super) fn item(step: &str, index: u32) -> StepKey {
    StepKey { step: step_id(step), index: Some(index) }
}

pub(super) fn admin() -> UserId {
    UserId::new("admin").unwrap()
}

pub(super) fn failed_call(code: ErrorCode) -> CallResult {
    CallResult::Failed { cause: Cause::new(code, "it broke"), usage: Usage::default() }
}

/// A result that depends on the step alone, as that of a deterministic agent does.
pub(super) fn completed_call(key: &StepKey) -> CallResult {
    let out = format!("{}{}", key.step, key.index.map(|index| format!("#{index}")).unwrap_or_default());
    let values = Values::from([("out".to_owned(), Json::String(out))]);
    let hash = ContentHash::from_content(json!(values).to_string().as_bytes());
    let usage = Usage { decisions: 1, ..Usage::default() };
    CallResult::Completed {
        result: ResultRef::Inline(values),
        hash,
        usage,
        provided: std::collections::BTreeMap::new(),
    }
}

pub(super) fn plan(workflow: &Json) -> Arc<Plan> {
    let spec = serde_json::from_value(workflow.clone()).unwrap();
    Workflow::new(spec).unwrap().plan().clone()
}

/// A workflow of these steps.
pub(super) fn workflow(steps: &Json) -> Arc<Plan> {
    plan(&json!({"workflow_id": "w", "name": "W", "steps": steps}))
}

pub(super) fn run_started(plan: &Plan) -> RunStarted {
    let agents =
        plan.agents().into_iter().map(|agent| (agent.clone(), ContentHash::from_content(agent.as_str().as_bytes())));
    RunStarted {
        run: RunId::new("run_1").unwrap(),
        workflow: plan.workflow.clone(),
        version: plan.hash,
        agents: agents.collect(),
        inner: InnerVersions::default(),
        team: None,
        team_run: None,
        parent: None,
        root: RunId::new("run_1").unwrap(),
        owner: PrincipalId::local(TenantId::default(), admin()),
        inputs: ResultRef::Inline(Values::new()),
        context: ResultRef::Inline(Values::new()),
        options: CallOptions::default(),
        limits: SpendingLimits::default(),
        deadline: Deadline::after(START, TIME),
        request_deadline: None,
        steps: u32::try_from(plan.steps.len()).unwrap(),
        retry_budget: 8,
        members: Vec::new(),
        checks: Vec::new(),
        policies: None,
        trace: None,
    }
}

impl Simulation {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let started = Arc::new(run_started(&plan));
        Self {
            plan,
            started,
            state: State::default(),
            journal: Vec::new(),
            open: Vec::new(),
            timers: BTreeMap::new(),
            now: START,
            reply: None,
            calls: Vec::new(),
            compensated: Vec::new(),
            aborted: Vec::new(),
            script: Box::new(|key, _| completed_call(key)),
            compensation_script: Box::new(|key, _| completed_call(key)),
            evaluation_script: Box::new(|_| StepEvaluation::default()),
        }
    }

    pub(super) fn start(&mut self) -> &mut Self {
        self.process(&Event::Started(self.started.clone()))
    }

    /// The same run after a crash, with only the first entries of its journal.
    pub(super) fn crashed_after(&self, entries: usize, script: Script, scale: EvaluationScript) -> Self {
        let mut next = Self::new(self.plan.clone());
        next.started = self.started.clone();
        next.journal = self.journal[..entries].to_vec();
        for (at, entry) in &next.journal {
            next.state.apply(*at, entry);
        }
        next.now = self.now;
        next.script = script;
        next.evaluation_script = scale;
        next
    }

    pub(super) fn resume(&mut self) -> &mut Self {
        let deadline = deadline_after_pause(&self.state, None, self.now);
        self.process(&Event::Resumed { definitions_changed: false, deadline })
    }

    pub(super) fn process(&mut self, event: &Event) -> &mut Self {
        let decision = decide(&self.state, &self.plan, event, self.now);
        self.apply_decision(decision);
        self
    }

    fn apply_decision(&mut self, decision: Decision) {
        let is_over = self.reply.is_some();
        assert!(!is_over || decision.is_empty(), "nothing follows the end");
        assert!(!is_over || decision.effects().is_empty(), "nothing is done after the end");
        let after = self.journal.len() as u64;
        for entry in decision.entries() {
            self.state.apply(self.now, entry);
            self.journal.push((self.now, entry.clone()));
        }
        let receipt = Receipt::for_test(self.started.run.clone(), Seq(after), Seq(self.journal.len() as u64));
        let (next, effects) = decision.release(&receipt);
        assert_eq!(next, self.state, "what was decided is what its entries say");
        effects.into_iter().for_each(|effect| self.start_effect(effect));
    }

    fn start_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Call { ref key, attempt, .. } => {
                self.calls.push((key.clone(), attempt));
                self.open.push(effect);
            }
            Effect::Compensate { ref key, .. } => {
                self.compensated.push(key.clone());
                self.open.push(effect);
            }
            Effect::EvaluateStep { .. }
            | Effect::AwaitContext { .. }
            | Effect::EndInnerRuns
            | Effect::CollectOutputs => self.open.push(effect),
            Effect::SetTimer { timer, at } => {
                self.timers.insert(timer, at);
            }
            Effect::Abort { key } => {
                self.open.retain(|effect| effect_key(effect) != Some(&key));
                self.aborted.push(key);
            }
            Effect::Finish { reply } => self.reply = Some(*reply),
        }
    }

    /// Completes one open effect.
    pub(super) fn complete(&mut self, index: usize) -> &mut Self {
        let event = match self.open.remove(index) {
            Effect::EvaluateStep { step } => {
                Event::StepEvaluated { evaluation: Ok((self.evaluation_script)(&step)), step }
            }
            Effect::Call { key, attempt, .. } => {
                Event::CallCompleted { result: (self.script)(&key, attempt), key, attempt }
            }
            Effect::AwaitContext { key, attempt, .. } => {
                Event::CallCompleted { result: (self.script)(&key, attempt), key, attempt }
            }
            Effect::Compensate { key, attempt, .. } => match (self.compensation_script)(&key, attempt) {
                CallResult::Completed { usage, .. } => Event::Compensated { key, attempt, cause: None, usage },
                CallResult::Failed { cause, usage } => Event::Compensated { key, attempt, cause: Some(cause), usage },
            },
            Effect::EndInnerRuns => Event::InnerRunsEnded,
            Effect::CollectOutputs => Event::OutputsCollected { outputs: Ok(self.outputs()) },
            Effect::SetTimer { .. } | Effect::Abort { .. } | Effect::Finish { .. } => return self,
        };
        self.process(&event)
    }

    /// Completes the first open evaluation.
    pub(super) fn complete_evaluation(&mut self) -> &mut Self {
        let index = self.open.iter().position(|effect| matches!(effect, Effect::EvaluateStep { .. })).unwrap();
        self.complete(index)
    }

    /// Completes the call of a step.
    pub(super) fn complete_step(&mut self, wanted: &StepKey) -> &mut Self {
        let index = self.open.iter().position(|effect| effect_key(effect) == Some(wanted)).unwrap();
        self.complete(index)
    }

    /// Advances the time until a timer fires.
    pub(super) fn wake(&mut self, timer: &TimerId) -> &mut Self {
        let at = self.timers.remove(timer).unwrap();
        self.now = self.now.max(at);
        self.process(&Event::TimerFired { timer: timer.clone() })
    }

    /// Completes the oldest effect until the run ends; when none is open, approves the next step or fires the next
    /// retry.
    pub(super) fn run_to_end(&mut self) -> Reply {
        self.run_by(|_| 0)
    }

    /// Completes effects until the run ends; `choose` picks the index of the next one.
    pub(super) fn run_by(&mut self, mut choose: impl FnMut(usize) -> usize) -> Reply {
        for _ in 0..20_000 {
            if let Some(reply) = &self.reply {
                return reply.clone();
            }
            if let (true, Some(step)) = (self.open.is_empty(), self.next_approval()) {
                self.process(&Event::Approved { step, by: admin() });
            } else if self.open.is_empty() {
                let retry = self.timers.iter().filter(|(timer, _)| matches!(timer, TimerId::Retry(_)));
                let next = retry.min_by_key(|(_, at)| **at).map(|(timer, _)| timer.clone());
                self.wake(&next.expect("a run that is not over waits for something"));
            } else {
                let index = choose(self.open.len());
                self.complete(index);
            }
        }
        panic!("the run does not end");
    }

    /// The first step that awaits an approval.
    pub(super) fn next_approval(&self) -> Option<StepId> {
        let mut awaiting =
            self.state.step_states().filter(|(_, step)| matches!(step.status, StepStatus::AwaitingApproval { .. }));
        awaiting.next().map(|(step, _)| step.clone())
    }

    /// Lets time pass without an event.
    pub(super) fn wait(&mut self, time: Duration) -> &mut Self {
        self.now = self.now.saturating_add(time);
        self
    }

    /// The outputs of the run: the results of all steps, in order.
    fn outputs(&self) -> Values {
        let mut outputs = Values::new();
        for (step, step_state) in self.state.step_states() {
            let items = step_state.items.iter().flat_map(|items| items.iter());
            let all = std::iter::once((None, &step_state.status)).chain(items.map(|(index, item)| (Some(index), item)));
            for (index, step_state) in all {
                if let Some(ResultRef::Inline(values)) = step_state.result().map(AsRef::as_ref) {
                    outputs.insert(format!("{step}{index:?}"), json!(values));
                }
            }
        }
        outputs
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.journal.iter().map(|(_, entry)| entry)
    }

    /// The completed steps, in order of completion.
    pub(super) fn completed(&self) -> Vec<StepKey> {
        let done = self.entries().filter_map(|entry| match entry {
            Entry::StepDone { key, .. } => Some(key.clone()),
            _ => None,
        });
        done.collect()
    }

    pub(super) fn calls_of(&self, wanted: &StepKey) -> usize {
        self.calls.iter().filter(|(key, _)| key == wanted).count()
    }
}

fn effect_key(effect: &Effect) -> Option<&StepKey> {
    match effect {
        Effect::Call { key, .. }
        | Effect::AwaitContext { key, .. }
        | Effect::Compensate { key, .. }
        | Effect::Abort { key } => Some(key),
        Effect::EvaluateStep { .. }
        | Effect::SetTimer { .. }
        | Effect::EndInnerRuns
        | Effect::CollectOutputs
        | Effect::Finish { .. } => None,
    }
}
