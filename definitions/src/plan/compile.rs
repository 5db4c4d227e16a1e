//! Workflow → plan. The compiler collects all problems instead of stopping at the first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use greenroom_protocol::{ContentHash, Json, StepId, Values};

use super::order::{ancestors, order};
use super::problem::{PlanPart, PlanProblem};
use super::target::target;
use super::{COMPENSATION_TIMEOUT, Compensate, ForEach, Plan, PlanStep, STEPS_MAX, StepTarget};
use crate::condition::Condition;
use crate::expr::{Expr, Reference, ReferenceRoot};
use crate::named_values::{NamedValues, Names};
use crate::problem::{ProblemKind, did_you_mean};
use crate::spec::workflow::{StepSpec, WorkflowSpec};

struct Compiler<'a> {
    spec: &'a WorkflowSpec,
    ids: Vec<&'a str>,
    depends_on: BTreeMap<&'a str, BTreeSet<&'a str>>,
    problems: Vec<PlanProblem>,
}

impl Plan {
    /// Compiles a workflow without a catalogue: order, references, conditions.
    ///
    /// # Errors
    /// All problems, with the part of the workflow that has them.
    pub fn compile(spec: &WorkflowSpec, hash: ContentHash) -> Result<Self, Vec<PlanProblem>> {
        compile(spec, hash)
    }
}

fn compile(spec: &WorkflowSpec, hash: ContentHash) -> Result<Plan, Vec<PlanProblem>> {
    let ids = spec.steps.iter().map(|step| step.id.as_str()).collect();
    let mut compiler = Compiler { spec, ids, depends_on: BTreeMap::new(), problems: Vec::new() };
    compiler.check_steps();
    let mut steps: BTreeMap<&str, PlanStep> = BTreeMap::new();
    for step in &spec.steps {
        let compiled = compiler.step(step);
        steps.insert(step.id.as_str(), compiled);
    }
    let outputs = compiler.entries(None, "outputs", &spec.outputs, false);
    let final_output = spec
        .final_output
        .as_ref()
        .and_then(|value| compiler.expr(None, PlanPart::Member("final_output"), value, false));
    let ordered = match order(&compiler.ids, &compiler.depends_on) {
        Ok(ordered) => ordered,
        Err(cycle) => {
            compiler.report_cycle(&cycle);
            Vec::new()
        }
    };
    compiler.check_parallel();
    if !compiler.problems.is_empty() {
        return Err(compiler.problems);
    }
    let position: BTreeMap<&str, usize> = ordered.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let in_order = |id: &StepId| position.get(id.as_str()).copied();
    let mut steps: Vec<PlanStep> = ordered.iter().filter_map(|id| steps.remove(id)).collect();
    for step in &mut steps {
        step.depends_on.sort_by_key(in_order);
    }
    let mut plan = Plan {
        workflow: spec.workflow_id.clone(),
        hash,
        inputs: spec.inputs.clone(),
        steps,
        outputs,
        final_output,
        cost_max: spec.limits.cost_max(),
        tokens_max: spec.limits.max_tokens,
        timeout: spec.timeout.map(Duration::from_secs),
        compensation_timeout: spec.compensation_timeout.map_or(COMPENSATION_TIMEOUT, Duration::from_secs),
    };
    name_item_outputs(&mut plan);
    Ok(plan)
}

/// Collects the names of the outputs of each `for_each` step: those that it declares or that the workflow references.
fn name_item_outputs(plan: &mut Plan) {
    let mut named: BTreeMap<StepId, BTreeSet<String>> = BTreeMap::new();
    let of_steps = plan.steps.iter().flat_map(|step| {
        let inputs = NamedValues::for_call(step, Some(&[]));
        [NamedValues::for_evaluation(step), inputs, NamedValues::for_compensation(step, &[])]
    });
    for (step, names) in of_steps.chain([NamedValues::for_outputs(plan)]).flat_map(|part| part.steps) {
        if let Names::Only(names) = names {
            named.entry(step).or_default().extend(names);
        }
    }
    for step in &mut plan.steps {
        let Some(for_each) = &mut step.for_each else { continue };
        for_each.output_names.extend(step.outputs.iter().cloned());
        for_each.output_names.extend(named.remove(&step.id).unwrap_or_default());
    }
}

impl<'a> Compiler<'a> {
    fn report(&mut self, step: Option<&StepId>, part: PlanPart, kind: ProblemKind, message: String) {
        self.problems.push(PlanProblem { step: step.cloned(), part, kind, message });
    }

    fn check_steps(&mut self) {
        if self.spec.steps.is_empty() {
            self.report(None, PlanPart::Member("steps"), ProblemKind::InvalidValue, "the workflow has no steps".into());
        }
        if self.spec.steps.len() > STEPS_MAX {
            let message = format!("the workflow has {} steps, {STEPS_MAX} are allowed", self.spec.steps.len());
            self.report(None, PlanPart::Member("steps"), ProblemKind::InvalidValue, message);
        }
        let mut ids = BTreeSet::new();
        for step in &self.spec.steps {
            if !ids.insert(step.id.as_str()) {
                let message = format!("the id `{}` is duplicated", step.id);
                self.report(Some(&step.id), PlanPart::Member("id"), ProblemKind::DuplicateId, message);
            }
        }
    }

    fn step(&mut self, step: &'a StepSpec) -> PlanStep {
        let id = Some(&step.id);
        for name in &step.depends_on {
            self.add_dependency(step, name.as_str(), PlanPart::Member("depends_on"));
        }
        let in_items = step.for_each.is_some();
        let inputs = self.entries(Some(step), "inputs", &step.inputs, in_items);
        let when = step.when.as_ref().and_then(|text| self.condition(step, text));
        let for_each = step.for_each.as_ref().and_then(|each| {
            if each.max_concurrency == 0 {
                let message = "`max_concurrency` must be at least 1".to_owned();
                self.report(id, PlanPart::Member("for_each"), ProblemKind::InvalidValue, message);
            }
            let items = self.expr(Some(step), PlanPart::Member("for_each"), &each.items, false)?;
            if matches!(items, Expr::Literal(_) | Expr::Text(_) | Expr::Object(_)) {
                let message = "`for_each` must be a list or one reference to a list".to_owned();
                self.report(id, PlanPart::Member("for_each"), ProblemKind::WrongType, message);
            }
            let (max_concurrency, on_error) = (each.max_concurrency, each.on_error);
            Some(ForEach { items, max_concurrency, on_error, output_names: BTreeSet::new() })
        });
        let approval = step.approval.as_ref().and_then(|approval| {
            self.expr(Some(step), PlanPart::Member("approval"), &Json::String(approval.prompt.clone()), in_items)
        });
        let compensate = step.compensate.as_ref().map(|compensation| Compensate {
            agent: compensation.agent.clone(),
            inputs: self.compensation_inputs(step, &compensation.inputs, in_items),
        });
        let target = target(step).unwrap_or_else(|(part, message)| {
            self.report(id, part, ProblemKind::InvalidValue, message);
            StepTarget::Approval
        });
        let depends_on = self.depends_on.get(step.id.as_str()).into_iter().flatten();
        PlanStep {
            id: step.id.clone(),
            target,
            depends_on: depends_on.filter_map(|id| StepId::new(id).ok()).collect(),
            inputs,
            outputs: step.outputs.clone(),
            when,
            for_each,
            retry: step.retry.clone(),
            timeout: step.timeout.map(Duration::from_secs),
            approval,
            approval_timeout: step.approval.as_ref().and_then(|approval| approval.timeout).map(Duration::from_secs),
            compensate,
        }
    }

    /// Records a dependency of a step, or reports that the other step does not exist.
    fn add_dependency(&mut self, step: &'a StepSpec, on: &str, part: PlanPart) {
        let known = self.ids.iter().find(|id| **id == on).copied();
        match known {
            Some(known) => {
                self.depends_on.entry(step.id.as_str()).or_default().insert(known);
            }
            None => self.report_unknown_step(Some(&step.id), on, part),
        }
    }

    fn report_unknown_step(&mut self, at: Option<&StepId>, name: &str, part: PlanPart) {
        let hint = did_you_mean(name, self.ids.iter().copied()).unwrap_or_default();
        self.report(at, part, ProblemKind::UnknownReference, format!("there is no step `{name}`{hint}"));
    }

    fn entries(
        &mut self,
        step: Option<&'a StepSpec>,
        member: &'static str,
        values: &BTreeMap<String, Json>,
        in_items: bool,
    ) -> BTreeMap<String, Expr> {
        let compile = |(name, value): (&String, &Json)| {
            let expr = self.expr(step, PlanPart::Entry(member, name.clone()), value, in_items)?;
            Some((name.clone(), expr))
        };
        values.iter().filter_map(compile).collect()
    }

    fn expr(&mut self, step: Option<&'a StepSpec>, part: PlanPart, value: &Json, in_items: bool) -> Option<Expr> {
        let at = step.map(|step| &step.id);
        let expr = match Expr::parse(value) {
            Ok(expr) => expr,
            Err(message) => {
                self.report(at, part, ProblemKind::Expression, message);
                return None;
            }
        };
        for reference in expr.references() {
            self.check_reference(step, &part, reference, in_items);
        }
        Some(expr)
    }

    fn check_reference(&mut self, step: Option<&'a StepSpec>, part: &PlanPart, reference: &Reference, in_items: bool) {
        let at = step.map(|step| &step.id);
        match (&reference.root, step) {
            (ReferenceRoot::Step(on), Some(step)) => self.add_dependency(step, on.as_str(), part.clone()),
            (ReferenceRoot::Step(on), None) if !self.ids.contains(&on.as_str()) => {
                self.report_unknown_step(at, on.as_str(), part.clone());
            }
            (ReferenceRoot::Item | ReferenceRoot::Index, _) if !in_items => {
                let message = format!("`${{{reference}}}` is outside of a `for_each`");
                self.report(at, part.clone(), ProblemKind::Expression, message);
            }
            (ReferenceRoot::Inputs, _) => self.check_run_input(at, part, reference.name()),
            (ReferenceRoot::Step(_) | ReferenceRoot::Item | ReferenceRoot::Index | ReferenceRoot::Context, _) => {}
        }
    }

    /// A referenced input of the run must be declared if the workflow declares any.
    fn check_run_input(&mut self, at: Option<&StepId>, part: &PlanPart, name: Option<&str>) {
        let Some(name) = name else { return };
        let declared = &self.spec.inputs;
        if !declared.is_empty() && !declared.iter().any(|field| field.name == name) {
            let hint = did_you_mean(name, declared.iter().map(|field| field.name.as_str())).unwrap_or_default();
            let message = format!("the workflow has no input `{name}`{hint}");
            self.report(at, part.clone(), ProblemKind::UnknownReference, message);
        }
    }

    fn condition(&mut self, step: &'a StepSpec, text: &str) -> Option<Condition> {
        let part = PlanPart::Member("when");
        match Condition::compile(text) {
            Ok(condition) => {
                let named: Vec<String> = condition.steps().map(str::to_owned).collect();
                named.iter().for_each(|on| self.add_dependency(step, on, part.clone()));
                let inputs: Vec<String> = condition.inputs().map(str::to_owned).collect();
                inputs.iter().for_each(|name| self.check_run_input(Some(&step.id), &part, Some(name)));
                if condition.uses_item() && step.for_each.is_none() {
                    let message = "the condition references an item outside of a `for_each`".to_owned();
                    self.report(Some(&step.id), part, ProblemKind::Expression, message);
                }
                Some(condition)
            }
            Err(message) => {
                self.report(Some(&step.id), part, ProblemKind::Expression, message);
                None
            }
        }
    }

    /// A compensation may reference the outputs of its own step, which is no dependency on itself.
    fn compensation_inputs(&mut self, step: &'a StepSpec, values: &Values, in_items: bool) -> BTreeMap<String, Expr> {
        let mut compiled = BTreeMap::new();
        for (name, value) in values {
            let part = PlanPart::Entry("compensate", name.clone());
            match Expr::parse(value) {
                Ok(expr) => {
                    let others =
                        expr.references().into_iter().filter(|one| one.root != ReferenceRoot::Step(step.id.clone()));
                    others.for_each(|reference| self.check_reference(Some(step), &part, reference, in_items));
                    compiled.insert(name.clone(), expr);
                }
                Err(message) => self.report(Some(&step.id), part, ProblemKind::Expression, message),
            }
        }
        compiled
    }

    fn report_cycle(&mut self, cycle: &[&str]) {
        let first = cycle.first().copied().unwrap_or_default();
        let message = format!("the steps depend on themselves: {} → {first}", cycle.join(" → "));
        let at = StepId::new(first).ok();
        self.report(at.as_ref(), PlanPart::Member("depends_on"), ProblemKind::Cycle, message);
    }

    /// Steps of a `parallel_with` may not depend on each other.
    fn check_parallel(&mut self) {
        let spec = self.spec;
        for step in &spec.steps {
            for other in &step.parallel_with {
                let part = PlanPart::Member("parallel_with");
                if !self.ids.contains(&other.as_str()) {
                    self.report_unknown_step(Some(&step.id), other.as_str(), part);
                } else if *other == step.id {
                    let message = "a step cannot run at the same time as itself".to_owned();
                    self.report(Some(&step.id), part, ProblemKind::NotParallel, message);
                } else if ancestors(step.id.as_str(), &self.depends_on).contains(other.as_str()) {
                    let message = format!("it cannot run at the same time as `{other}`, on which it depends");
                    self.report(Some(&step.id), part, ProblemKind::NotParallel, message);
                } else if ancestors(other.as_str(), &self.depends_on).contains(step.id.as_str()) {
                    let message = format!("it cannot run at the same time as `{other}`, which depends on it");
                    self.report(Some(&step.id), part, ProblemKind::NotParallel, message);
                }
            }
        }
    }
}
