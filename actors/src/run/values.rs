//! The values of a run: a small result is in the journal, a large one in the artifact store, and is loaded only when
//! an effect refers to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use greenroom_definitions::Scope;
use greenroom_definitions::binding::item_outputs;
use greenroom_definitions::expr::{Expr, ReferenceRoot};
use greenroom_definitions::plan::{Plan, PlanStep};
use greenroom_protocol::journal::{ResultRef, RunStarted, StepKey};
use greenroom_protocol::limits::INLINE_VALUE_BYTES_MAX;
use greenroom_protocol::value::size_bytes;
use greenroom_protocol::{ArtifactRef, Cause, ContentHash, ErrorCode, Json, StepId, Values};

use super::artifacts::RunArtifacts;
use super::machine::State;

/// Media type of stored values.
const JSON: &str = "application/json";

/// The result of a step, or of each of its items.
enum StepResult {
    Single(Arc<ResultRef>),
    Items(Vec<Option<Arc<ResultRef>>>),
}

/// The values that an effect may refer to, captured from the state and loaded later.
pub(super) struct EffectInputs {
    started: Arc<RunStarted>,
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
    /// The results of these steps.
    pub(super) fn for_steps<'s>(state: &State, steps: impl IntoIterator<Item = &'s StepId>) -> Option<Self> {
        let started = state.started()?.clone();
        let result = |step: &StepId| {
            let step_state = state.step_state(step)?;
            let result = match &step_state.items {
                Some(items) => StepResult::Items(items.iter().map(|(_, item)| item.result().cloned()).collect()),
                None => StepResult::Single(step_state.status.result()?.clone()),
            };
            Some((step.clone(), result))
        };
        Some(Self { results: steps.into_iter().filter_map(result).collect(), started })
    }

    /// The results that a step may refer to: those of its dependencies, and its own for its compensation.
    pub(super) fn for_step(state: &State, step: &PlanStep) -> Option<Self> {
        Self::for_steps(state, step.depends_on.iter().chain([&step.id]))
    }

    /// The results that the run's outputs refer to.
    pub(super) fn for_outputs(state: &State, plan: &Plan) -> Option<Self> {
        let exprs = plan.outputs.values().chain(plan.final_output.as_ref());
        let referenced: BTreeSet<&StepId> = exprs.flat_map(Expr::references).filter_map(step_of).collect();
        let named = plan.steps.iter().filter(|step| plan.outputs.is_empty() && !step.outputs.is_empty());
        Self::for_steps(state, named.map(|step| &step.id).chain(referenced))
    }

    /// Retains only this item of the step itself, for its compensation.
    pub(super) fn retain_item(&mut self, key: &StepKey) {
        let Some(index) = key.index else { return };
        if let Some(StepResult::Items(items)) = self.results.get(&key.step) {
            let item = items.get(index as usize).cloned().flatten();
            match item {
                Some(item) => drop(self.results.insert(key.step.clone(), StepResult::Single(item))),
                None => drop(self.results.remove(&key.step)),
            }
        }
    }

    /// The loaded values, if all of them are inline.
    pub(super) fn into_loaded(self) -> Option<LoadedValues> {
        let mut steps = BTreeMap::new();
        for (step, result) in &self.results {
            let values = match result {
                StepResult::Single(result) => inline_values(result)?.clone(),
                StepResult::Items(results) => {
                    let item = |result: &Option<Arc<ResultRef>>| match result {
                        Some(result) => inline_values(result).cloned().map(Some),
                        None => Some(None),
                    };
                    item_outputs(&results.iter().map(item).collect::<Option<Vec<_>>>()?)
                }
            };
            steps.insert(step.clone(), values);
        }
        Some(LoadedValues {
            inputs: inline_values(&self.started.inputs)?.clone(),
            context: inline_values(&self.started.context)?.clone(),
            steps,
        })
    }

    /// Loads all values.
    ///
    /// # Errors
    /// `unknown_record` if an artifact is missing; an error of the store.
    pub(super) async fn load(self, artifacts: RunArtifacts<'_>) -> Result<LoadedValues, Cause> {
        let mut steps = BTreeMap::new();
        for (step, result) in self.results {
            let values = match result {
                StepResult::Single(result) => fetch(&result, artifacts).await?,
                StepResult::Items(results) => {
                    let mut items = Vec::with_capacity(results.len());
                    for result in results {
                        items.push(match result {
                            Some(result) => Some(fetch(&result, artifacts).await?),
                            None => None,
                        });
                    }
                    item_outputs(&items)
                }
            };
            steps.insert(step, values);
        }
        let inputs = fetch(&self.started.inputs, artifacts).await?;
        let context = fetch(&self.started.context, artifacts).await?;
        Ok(LoadedValues { inputs, context, steps })
    }
}

const fn step_of(reference: &greenroom_definitions::expr::Reference) -> Option<&StepId> {
    match &reference.root {
        ReferenceRoot::Step(step) => Some(step),
        ReferenceRoot::Inputs | ReferenceRoot::Context | ReferenceRoot::Item | ReferenceRoot::Index => None,
    }
}

const fn inline_values(result: &ResultRef) -> Option<&Values> {
    match result {
        ResultRef::Inline(values) => Some(values),
        ResultRef::Stored(_) => None,
    }
}

/// True if a journal entry and a reply can contain the value inline.
pub(super) fn fits_inline(value: &Json) -> bool {
    size_bytes(value) <= INLINE_VALUE_BYTES_MAX as u64
}

/// Loads the values of a result.
///
/// # Errors
/// As [`EffectInputs::load`].
pub(super) async fn fetch(result: &ResultRef, artifacts: RunArtifacts<'_>) -> Result<Values, Cause> {
    match result {
        ResultRef::Inline(values) => Ok(values.clone()),
        ResultRef::Stored(artifact) => {
            let bytes = artifacts.get(&artifact.hash).await?;
            serde_json::from_slice(&bytes).map_err(|error| Cause::new(ErrorCode::StoreUnavailable, error.to_string()))
        }
    }
}

/// Stores values inline or as an artifact, and returns their hash.
///
/// # Errors
/// An error of the artifact store.
pub(super) async fn store_result(
    values: Values,
    name: &str,
    artifacts: RunArtifacts<'_>,
) -> Result<(ResultRef, ContentHash), Cause> {
    let bytes = serde_json::to_vec(&values).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
    let hash = ContentHash::from_content(&bytes);
    if bytes.len() <= INLINE_VALUE_BYTES_MAX {
        return Ok((ResultRef::Inline(values), hash));
    }
    let artifact = artifacts.put(bytes, JSON, &format!("{name}.json")).await?;
    Ok((ResultRef::Stored(artifact), hash))
}

/// Replaces every value that is too large for a journal entry or a reply by a reference to an artifact.
///
/// # Errors
/// An error of the artifact store.
pub(super) async fn offload_large(values: Values, artifacts: RunArtifacts<'_>) -> Result<Values, Cause> {
    let mut inline = Values::new();
    for (name, value) in values {
        let value = offload_if_large(&name, value, artifacts).await?;
        inline.insert(name, value);
    }
    Ok(inline)
}

/// The value, or a reference to its artifact if it is too large.
pub(super) async fn offload_if_large(name: &str, value: Json, artifacts: RunArtifacts<'_>) -> Result<Json, Cause> {
    if fits_inline(&value) || ArtifactRef::from_json(&value).is_some() {
        return Ok(value);
    }
    let (bytes, media_type, extension) = match value {
        Json::String(text) => (text.into_bytes(), "text/plain; charset=utf-8", "txt"),
        other => (other.to_string().into_bytes(), JSON, "json"),
    };
    let name: String = name.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' }).take(64).collect();
    Ok(artifacts.put(bytes, media_type, &format!("{name}.{extension}")).await?.to_json())
}
