//! The values that a run has, and where they lie: a small result in the journal, a large one in the
//! artifact store, fetched only when something refers to it.

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
use greenroom_registry::artifacts::{ARTIFACT_BYTES_MAX, ArtifactStore};

use super::machine::State;

/// What a claim check of values is.
const JSON: &str = "application/json";

/// What a step gave, one or many times.
enum StepResult {
    Once(Arc<ResultRef>),
    Each(Vec<Option<Arc<ResultRef>>>),
}

/// What an effect may refer to, taken from the state in one moment and fetched later.
pub(super) struct EffectInputs {
    begun: Arc<RunStarted>,
    given: BTreeMap<StepId, StepResult>,
}

/// The same, fetched.
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
    /// What these steps gave.
    pub(super) fn of<'s>(state: &State, steps: impl IntoIterator<Item = &'s StepId>) -> Option<Self> {
        let begun = state.started()?.clone();
        let given = |step: &StepId| {
            let track = state.track(step)?;
            let given = match &track.items {
                Some(items) => StepResult::Each(items.iter().map(|(_, item)| item.result().cloned()).collect()),
                None => StepResult::Once(track.status.result()?.clone()),
            };
            Some((step.clone(), given))
        };
        Some(Self { given: steps.into_iter().filter_map(given).collect(), begun })
    }

    /// What a step may refer to: all that it depends on, and itself where it is undone.
    pub(super) fn of_step(state: &State, step: &PlanStep) -> Option<Self> {
        Self::of(state, step.depends_on.iter().chain([&step.id]))
    }

    /// What the run's outputs refer to.
    pub(super) fn of_outputs(state: &State, plan: &Plan) -> Option<Self> {
        let exprs = plan.outputs.values().chain(plan.final_output.as_ref());
        let referred: BTreeSet<&StepId> = exprs.flat_map(Expr::references).filter_map(of_root).collect();
        let named = plan.steps.iter().filter(|step| plan.outputs.is_empty() && !step.outputs.is_empty());
        Self::of(state, named.map(|step| &step.id).chain(referred))
    }

    /// Of the step itself only this item, for the one who undoes it.
    pub(super) fn only_item(&mut self, key: &StepKey) {
        let Some(index) = key.index else { return };
        if let Some(StepResult::Each(items)) = self.given.get(&key.step) {
            let item = items.get(index as usize).cloned().flatten();
            match item {
                Some(item) => drop(self.given.insert(key.step.clone(), StepResult::Once(item))),
                None => drop(self.given.remove(&key.step)),
            }
        }
    }

    /// Everything, if nothing of it has to be fetched.
    pub(super) fn into_loaded(self) -> Option<LoadedValues> {
        let mut steps = BTreeMap::new();
        for (step, given) in &self.given {
            let values = match given {
                StepResult::Once(result) => inline(result)?.clone(),
                StepResult::Each(results) => {
                    let item = |result: &Option<Arc<ResultRef>>| match result {
                        Some(result) => inline(result).cloned().map(Some),
                        None => Some(None),
                    };
                    item_outputs(&results.iter().map(item).collect::<Option<Vec<_>>>()?)
                }
            };
            steps.insert(step.clone(), values);
        }
        Some(LoadedValues {
            inputs: inline(&self.begun.inputs)?.clone(),
            context: inline(&self.begun.context)?.clone(),
            steps,
        })
    }

    /// Fetches everything.
    ///
    /// # Errors
    /// `unknown_record` if an artifact is gone; what the store says.
    pub(super) async fn load(self, artifacts: &dyn ArtifactStore) -> Result<LoadedValues, Cause> {
        let mut steps = BTreeMap::new();
        for (step, given) in self.given {
            let values = match given {
                StepResult::Once(result) => fetch(&result, artifacts).await?,
                StepResult::Each(results) => {
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
        let inputs = fetch(&self.begun.inputs, artifacts).await?;
        let context = fetch(&self.begun.context, artifacts).await?;
        Ok(LoadedValues { inputs, context, steps })
    }
}

const fn of_root(reference: &greenroom_definitions::expr::Reference) -> Option<&StepId> {
    match &reference.root {
        ReferenceRoot::Step(step) => Some(step),
        ReferenceRoot::Inputs | ReferenceRoot::Context | ReferenceRoot::Item | ReferenceRoot::Index => None,
    }
}

const fn inline(result: &ResultRef) -> Option<&Values> {
    match result {
        ResultRef::Inline(values) => Some(values),
        ResultRef::Stored(_) => None,
    }
}

/// True if a journal and a reply can carry the value themselves.
pub(super) fn fits_inline(value: &Json) -> bool {
    size_bytes(value) <= INLINE_VALUE_BYTES_MAX as u64
}

/// The values themselves.
///
/// # Errors
/// As [`Material::load`].
pub(super) async fn fetch(result: &ResultRef, artifacts: &dyn ArtifactStore) -> Result<Values, Cause> {
    match result {
        ResultRef::Inline(values) => Ok(values.clone()),
        ResultRef::Stored(artifact) => {
            let bytes = artifacts.get(&artifact.hash, ARTIFACT_BYTES_MAX).await.map_err(|error| error.cause())?;
            let bytes = bytes.ok_or_else(|| {
                Cause::new(ErrorCode::UnknownRecord, format!("the artifact {} is gone", artifact.hash.short()))
            })?;
            serde_json::from_slice(&bytes).map_err(|error| Cause::new(ErrorCode::StoreUnavailable, error.to_string()))
        }
    }
}

/// Puts values where they belong, and says what they hash to.
///
/// # Errors
/// What the artifact store says.
pub(super) async fn store_result(
    values: Values,
    name: &str,
    artifacts: &dyn ArtifactStore,
) -> Result<(ResultRef, ContentHash), Cause> {
    let bytes = serde_json::to_vec(&values).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
    let hash = ContentHash::of(&bytes);
    if bytes.len() <= INLINE_VALUE_BYTES_MAX {
        return Ok((ResultRef::Inline(values), hash));
    }
    let artifact = artifacts.put(bytes, JSON, &format!("{name}.json")).await.map_err(|error| error.cause())?;
    Ok((ResultRef::Stored(artifact), hash))
}

/// Replaces every value that is too large for a journal and a reply by its claim check.
///
/// # Errors
/// What the artifact store says.
pub(super) async fn offload_large(values: Values, artifacts: &dyn ArtifactStore) -> Result<Values, Cause> {
    let mut small = Values::new();
    for (name, value) in values {
        let value = shrink_value(&name, value, artifacts).await?;
        small.insert(name, value);
    }
    Ok(small)
}

/// The value, or its claim check if it is too large.
pub(super) async fn shrink_value(name: &str, value: Json, artifacts: &dyn ArtifactStore) -> Result<Json, Cause> {
    if fits_inline(&value) || ArtifactRef::from_json(&value).is_some() {
        return Ok(value);
    }
    let (bytes, media_type, ending) = match value {
        Json::String(text) => (text.into_bytes(), "text/plain; charset=utf-8", "txt"),
        other => (other.to_string().into_bytes(), JSON, "json"),
    };
    let name: String = name.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' }).take(64).collect();
    let kept = artifacts.put(bytes, media_type, &format!("{name}.{ending}")).await;
    Ok(kept.map_err(|error| error.cause())?.to_json())
}
