//! The values of a run: a small result is in the journal, a large one in the artifact store. An effect loads only the
//! values that its expressions name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use greenroom_definitions::binding::item_outputs;
use greenroom_definitions::named_values::{NamedValues, Names};
use greenroom_definitions::plan::Plan;
use greenroom_definitions::{PlanStep, Scope};
use greenroom_protocol::journal::{ResultRef, RunStarted, StepKey};
use greenroom_protocol::{Cause, ErrorCode, StepId, Values};

use super::artifacts::RunArtifacts;
use super::machine::{CallTarget, State};
use super::offload::fits_inline;
use super::pinned::PinnedDefinitions;

/// The result of a step, or of each of its items.
enum StepResult {
    Single(Arc<ResultRef>),
    Items { results: Vec<Option<Arc<ResultRef>>>, names: BTreeSet<String> },
}

/// The values that an effect names, captured from the state and loaded later.
pub(super) struct EffectInputs {
    started: Arc<RunStarted>,
    named: NamedValues,
    results: BTreeMap<StepId, StepResult>,
}

/// The same values, loaded.
pub(super) struct LoadedValues {
    pub(super) inputs: Values,
    pub(super) context: Values,
    pub(super) steps: BTreeMap<StepId, Values>,
}

impl LoadedValues {
    pub(super) const fn scope(&self) -> Scope<'_> {
        Scope::new(&self.inputs, &self.context, &self.steps)
    }
}

impl EffectInputs {
    /// The values that decide whether a step is executed, and for which items.
    pub(super) fn for_evaluation(state: &State, step: &PlanStep, pinned: &PinnedDefinitions) -> Option<Self> {
        Self::new(state, NamedValues::for_evaluation(step), pinned)
    }

    /// The values that the inputs of a call name.
    pub(super) fn for_call(
        state: &State,
        step: &PlanStep,
        target: &CallTarget,
        pinned: &PinnedDefinitions,
    ) -> Option<Self> {
        let receiver = match target {
            CallTarget::Agent { agent, .. } => Some(pinned.agent(agent).ok()?.spec().inputs.as_slice()),
            // Its version is not known before the call.
            CallTarget::Workflow { .. } | CallTarget::Team { .. } => None,
        };
        Self::new(state, NamedValues::for_call(step, receiver), pinned)
    }

    /// The values that the inputs of a compensation name. Of the step itself, they are the outputs of the item that is
    /// compensated.
    pub(super) fn for_compensation(
        state: &State,
        step: &PlanStep,
        key: &StepKey,
        pinned: &PinnedDefinitions,
    ) -> Option<Self> {
        let compensating = &step.compensate.as_ref()?.agent;
        let (agent, _) = state.started()?.agent(compensating)?;
        let mut named = NamedValues::for_compensation(step, &pinned.agent(agent).ok()?.spec().inputs);
        let own = named.steps.remove(&step.id);
        let mut inputs = Self::new(state, named, pinned)?;
        if let (Some(names), Some(result)) = (own, state.step_status(key).result()) {
            inputs.named.steps.insert(step.id.clone(), names);
            inputs.results.insert(step.id.clone(), StepResult::Single(result.clone()));
        }
        Some(inputs)
    }

    /// The values that the run's outputs name.
    pub(super) fn for_outputs(state: &State, pinned: &PinnedDefinitions) -> Option<Self> {
        Self::new(state, NamedValues::for_outputs(&pinned.plan), pinned)
    }

    fn new(state: &State, named: NamedValues, pinned: &PinnedDefinitions) -> Option<Self> {
        let started = state.started()?.clone();
        let result = |step: &StepId| {
            let step_state = state.step_state(step)?;
            let result = match &step_state.items {
                Some(items) => StepResult::Items {
                    results: items.iter().map(|(_, item)| item.result().cloned()).collect(),
                    names: output_names(step, &started, pinned),
                },
                None => StepResult::Single(step_state.status.result()?.clone()),
            };
            Some((step.clone(), result))
        };
        let results = named.steps.keys().filter_map(result).collect();
        Some(Self { started, named, results })
    }

    /// The loaded values, if all of them are inline.
    pub(super) fn into_loaded(self) -> Option<LoadedValues> {
        let mut steps = BTreeMap::new();
        for (step, result) in &self.results {
            let names = self.names_of(step);
            let select = |result: &ResultRef| inline_values(result).map(|values| names.select(values));
            let values = match result {
                StepResult::Single(_) if names.is_empty() => Values::new(),
                StepResult::Single(result) => select(result)?,
                StepResult::Items { results, names: declared } => {
                    let item = |result: &Option<Arc<ResultRef>>| match result {
                        Some(result) => select(result).map(Some),
                        None => Some(None),
                    };
                    named_item_outputs(results.iter().map(item).collect::<Option<Vec<_>>>()?, declared, &names)
                }
            };
            steps.insert(step.clone(), values);
        }
        let select = |result: &ResultRef, names: &Names| match names.is_empty() {
            true => Some(Values::new()),
            false => inline_values(result).map(|values| names.select(values)),
        };
        Some(LoadedValues {
            inputs: select(&self.started.inputs, &self.named.inputs)?,
            context: select(&self.started.context, &self.named.context)?,
            steps,
        })
    }

    /// Loads the values.
    ///
    /// # Errors
    /// `unknown_record` if an artifact is missing; an error of the store.
    pub(super) async fn load(mut self, artifacts: RunArtifacts<'_>) -> Result<LoadedValues, Cause> {
        let mut steps = BTreeMap::new();
        for (step, result) in std::mem::take(&mut self.results) {
            let names = self.names_of(&step);
            let values = match result {
                StepResult::Single(result) => fetch(&result, &names, artifacts).await?,
                StepResult::Items { results, names: declared } => {
                    let mut items = Vec::with_capacity(results.len());
                    for result in results {
                        items.push(match result {
                            Some(result) => Some(fetch(&result, &names, artifacts).await?),
                            None => None,
                        });
                    }
                    named_item_outputs(items, &declared, &names)
                }
            };
            steps.insert(step, values);
        }
        let inputs = fetch(&self.started.inputs, &self.named.inputs, artifacts).await?;
        let context = fetch(&self.started.context, &self.named.context, artifacts).await?;
        Ok(LoadedValues { inputs, context, steps })
    }

    fn names_of(&self, step: &StepId) -> Names {
        self.named.steps.get(step).cloned().unwrap_or_default()
    }
}

/// The names of the outputs of a `for_each` step: those of its agent, and those that its workflow names.
fn output_names(step: &StepId, started: &RunStarted, pinned: &PinnedDefinitions) -> BTreeSet<String> {
    let Some(step) = pinned.plan.step(step) else { return BTreeSet::new() };
    let agent = step.agent().and_then(|id| pinned.agent(started.agent(id)?.0).ok());
    let of_agent = agent.iter().flat_map(|agent| &agent.spec().outputs).map(|field| field.name.clone());
    let of_workflow = step.for_each.iter().flat_map(|each| each.output_names.iter().cloned());
    of_agent.chain(of_workflow).collect()
}

/// The outputs of a `for_each` step, without those that are not named.
fn named_item_outputs(items: Vec<Option<Values>>, declared: &BTreeSet<String>, names: &Names) -> Values {
    item_outputs(items, declared.iter().map(String::as_str).filter(|name| names.contains(name)))
}

const fn inline_values(result: &ResultRef) -> Option<&Values> {
    match result {
        ResultRef::Inline(values) => Some(values),
        ResultRef::Stored(_) => None,
    }
}

/// Loads the named values of a result.
pub(super) async fn fetch(result: &ResultRef, names: &Names, artifacts: RunArtifacts<'_>) -> Result<Values, Cause> {
    match result {
        _ if names.is_empty() => Ok(Values::new()),
        ResultRef::Inline(values) => Ok(names.select(values)),
        ResultRef::Stored(artifact) => {
            let bytes = artifacts.get(&artifact.hash).await?;
            let mut values: Values = serde_json::from_slice(&bytes)
                .map_err(|error| Cause::new(ErrorCode::StoreUnavailable, error.to_string()))?;
            names.retain(&mut values);
            Ok(values)
        }
    }
}

/// The outputs of a run, if all its values are inline and the outputs fit into a journal entry.
pub(super) fn inline_outputs(state: &State, pinned: &PinnedDefinitions) -> Option<Values> {
    let plan: &Plan = &pinned.plan;
    let loaded = EffectInputs::for_outputs(state, pinned).and_then(EffectInputs::into_loaded)?;
    let outputs = greenroom_definitions::binding::run_outputs(plan, &loaded.scope());
    outputs.values().all(fits_inline).then_some(outputs)
}
