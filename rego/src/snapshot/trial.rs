//! The trial of a read set: generated inputs are evaluated whole and pruned, and every decision must be the
//! same. It finds a module that was not built from the text beside it, and a rule that the derivation
//! misunderstands.

use std::collections::BTreeSet;

use greenroom_protocol::{ContentHash, Json};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use wasmtime::Module;

use super::error::SnapshotError;
use crate::access_request::read_set::PolicyReadSet;
use crate::instance::result_set::ResultSet;
use crate::instance::{FUEL_MAX, Instance, allowed};

mod inputs;
mod verdicts;
mod vocabulary;

pub(super) use verdicts::Verdicts;
pub(super) use vocabulary::Vocabulary;

/// Maximum instructions of all evaluations of one trial: about twenty milliseconds. It bounds instructions
/// and not time, so that a bundle is tried with the same inputs on every machine.
const TRIAL_FUEL_MAX: u64 = 200_000_000;
/// The whole input is larger, so its evaluation may take longer than a decision may.
const WHOLE_FUEL_MAX: u64 = 2 * FUEL_MAX;
/// Inputs after which other tasks of the thread may run.
const INPUTS_PER_YIELD: usize = 16;

/// A policy to be tried.
pub(super) struct Trial<'s> {
    pub(super) module: &'s Module,
    pub(super) data: &'s Json,
    pub(super) hash: &'s ContentHash,
    pub(super) read_set: &'s PolicyReadSet,
    pub(super) vocabulary: &'s Vocabulary,
}

/// An input as rules would receive it without pruning, and as they receive it.
struct Documents {
    whole: Box<RawValue>,
    pruned: Box<RawValue>,
}

impl Trial<'_> {
    /// Tries the policy, unless a trial with the same documents has passed before. Returns the number of
    /// inputs that were evaluated.
    ///
    /// # Errors
    /// [`SnapshotError::Pruning`] with the paths on which a decision depends although they are not sent.
    pub(super) async fn run(&self, verdicts: &Verdicts) -> Result<usize, SnapshotError> {
        if self.read_set.is_whole() {
            return Ok(0);
        }
        let documents = self.documents();
        let key = self.key(&documents);
        if verdicts.contain(&key).await {
            return Ok(0);
        }
        let evaluated = self.evaluate(&documents).await?;
        verdicts.record(&key).await;
        Ok(evaluated)
    }

    /// Evaluates every document, as far as the instructions suffice.
    async fn evaluate(&self, documents: &[Documents]) -> Result<usize, SnapshotError> {
        let mut evaluator = Evaluator { trial: self, instance: None, fuel_spent: 0 };
        for (number, Documents { whole, pruned }) in documents.iter().enumerate() {
            if evaluator.fuel_spent > TRIAL_FUEL_MAX {
                return Ok(number);
            }
            if number % INPUTS_PER_YIELD == 0 {
                tokio::task::yield_now().await;
            }
            let expected = evaluator.decide(whole, WHOLE_FUEL_MAX).await?;
            if evaluator.decide(pruned, FUEL_MAX).await? != expected {
                let paths = evaluator.decisive_paths(whole, pruned, &expected).await?;
                return Err(SnapshotError::Pruning { paths });
            }
        }
        Ok(documents.len())
    }

    /// The generated inputs of which something is pruned, each once.
    fn documents(&self) -> Vec<Documents> {
        let mut known = BTreeSet::new();
        let inputs = inputs::generate(&self.vocabulary.with_data(self.data)).into_iter();
        let documents = inputs.filter_map(|input| {
            // Every value of an input has a JSON form.
            let (whole, pruned) = (to_raw_value(&input).ok()?, to_raw_value(&input.pruned(self.read_set)).ok()?);
            (whole.get() != pruned.get()).then_some(Documents { whole, pruned })
        });
        documents.filter(|documents| known.insert(documents.whole.get().to_owned())).collect()
    }

    /// The hash of everything on which the result depends. It changes with the bundle, and with the release
    /// if that generates or prunes inputs otherwise.
    fn key(&self, documents: &[Documents]) -> ContentHash {
        let mut all = Sha256::new();
        all.update(self.hash.to_string());
        for Documents { whole, pruned } in documents {
            all.update(whole.get());
            all.update("\n");
            all.update(pruned.get());
            all.update("\n");
        }
        ContentHash::from_digest(all.finalize().into())
    }
}

/// Evaluates documents and counts the instructions.
struct Evaluator<'s> {
    trial: &'s Trial<'s>,
    instance: Option<Instance>,
    fuel_spent: u64,
}

impl Evaluator<'_> {
    /// The hot decision on a document. One that fails is a denial, as it is for a request.
    async fn decide(&mut self, document: &RawValue, fuel: u64) -> Result<Option<Json>, SnapshotError> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => Instance::new(self.trial.module, self.trial.data)
                .await
                .map_err(|error| SnapshotError::Instantiate(error.to_string()))?,
        };
        let result: Result<ResultSet<Json>, _> = instance.evaluate(allowed::ENTRYPOINT, document, fuel).await;
        self.fuel_spent = self.fuel_spent.saturating_add(fuel.saturating_sub(instance.remaining_fuel()));
        Ok(result.ok().and_then(|result| {
            // An instance that failed is not used again.
            self.instance = Some(instance);
            result.0
        }))
    }

    /// The pruned paths with any of which alone the decision is that on the whole document; all of them if
    /// there is none.
    async fn decisive_paths(
        &mut self,
        whole: &RawValue,
        pruned: &RawValue,
        expected: &Option<Json>,
    ) -> Result<Vec<String>, SnapshotError> {
        let parse = |document: &RawValue| {
            serde_json::from_str::<Json>(document.get()).map_err(|error| SnapshotError::Validation(error.to_string()))
        };
        let (whole, pruned) = (parse(whole)?, parse(pruned)?);
        let mut missing = Vec::new();
        collect_missing(&whole, Some(&pruned), &mut Vec::new(), &mut missing);
        let mut decisive = Vec::new();
        for path in &missing {
            let mut document = pruned.clone();
            copy(&whole, &mut document, path);
            let document = to_raw_value(&document).map_err(|error| SnapshotError::Validation(error.to_string()))?;
            if self.decide(&document, WHOLE_FUEL_MAX).await? == *expected {
                decisive.push(path.clone());
            }
        }
        let paths = if decisive.is_empty() { missing } else { decisive };
        Ok(paths.into_iter().map(|path| format!("input.{}", path.join("."))).collect())
    }
}

/// Lists the paths of the values that a pruned document lacks.
fn collect_missing(whole: &Json, pruned: Option<&Json>, path: &mut Vec<String>, missing: &mut Vec<Vec<String>>) {
    match whole {
        Json::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                path.push(name.clone());
                collect_missing(member, pruned.and_then(|pruned| pruned.get(name)), path, missing);
                path.pop();
            }
        }
        _ if pruned.is_none() => missing.push(path.clone()),
        _ => {}
    }
}

/// Copies the value at a path, and the objects above it.
fn copy(from: &Json, to: &mut Json, path: &[String]) {
    let Some((name, rest)) = path.split_first() else {
        to.clone_from(from);
        return;
    };
    if !to.is_object() {
        *to = Json::Object(serde_json::Map::new());
    }
    if let (Some(from), Json::Object(members)) = (from.get(name), to) {
        copy(from, members.entry(name.clone()).or_insert(Json::Null), rest);
    }
}
