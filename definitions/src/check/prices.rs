//! Checks that models have prices, without which a budget cannot be enforced.

use crate::agent::{Agent, RuntimeKind};
use crate::definition_set::{DefinitionSet, Located};
use crate::models::{ModelRef, Models};
use crate::problem::{Problem, ProblemKind};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet) -> Vec<Problem> {
    let Some(file) = all.models.first() else { return Vec::new() };
    let models: &Models = &file.value;
    let mut problems = Vec::new();
    for (tier, spec) in &models.tiers {
        let path = [PathSegment::Name("tiers"), PathSegment::Name(tier.as_str())];
        for model in std::iter::once(&spec.model).chain(&spec.fallback) {
            if model.tier().is_some() {
                let found = format!("the tier `{}` refers to the tier `{model}`", tier.as_str());
                problems.push(file.error(
                    &path,
                    ProblemKind::InvalidValue,
                    found,
                    "a tier refers to a provider's model",
                ));
            } else if models.model(model).is_none() {
                let found = format!("there is no model `{model}`");
                problems.push(file.error(&path, ProblemKind::UnknownReference, found, "describe it under `models`"));
            }
        }
    }
    for (model, spec) in &models.models {
        let name = model.to_string();
        let path = [PathSegment::Name("models"), PathSegment::Name(&name)];
        if models.price(model, None).is_none() {
            problems.push(file.warning(
                &path,
                ProblemKind::NoPrice,
                format!("the model `{model}` has no price"),
                consequence(models, model),
            ));
        }
        for other in spec.fallback.iter().filter(|other| other.tier().is_none() && models.model(other).is_none()) {
            let found = format!("there is no model `{other}`");
            problems.push(file.error(&path, ProblemKind::UnknownReference, found, "describe it under `models`"));
        }
    }
    for definition in &all.agents {
        problems.extend(max_tokens_too_high(definition, models));
        let spec = &definition.value.spec().implementation;
        let model = spec.model.as_ref().filter(|model| model.tier().is_none());
        let named = model.into_iter().chain(&spec.fallback_models);
        for model in named.filter(|model| model.tier().is_none() && models.price(model, None).is_none()) {
            let path = [PathSegment::Name("implementation"), PathSegment::Name("model")];
            problems.push(definition.warning(
                &path,
                ProblemKind::NoPrice,
                format!("the model `{model}` has no price"),
                consequence(models, model),
            ));
        }
    }
    problems
}

/// What the calls of a model without a price cost.
fn consequence(models: &Models, model: &ModelRef) -> &'static str {
    match models.call_price(model, None) {
        Some(_) => "its calls are assumed to cost what the tier `standard` does",
        None => "its calls fail if a budget applies",
    }
}

/// Warns if the limit exceeds the maximum of a model, since its provider rejects such a request.
fn max_tokens_too_high(definition: &Located<Agent>, models: &Models) -> Option<Problem> {
    let agent = &definition.value;
    if agent.spec().implementation.runtime != RuntimeKind::Llm {
        return None;
    }
    let expected = u64::from(agent.tokens_max());
    let chain = models.chain(&agent.model(), &agent.spec().implementation.fallback_models);
    let short = chain.iter().find_map(|model| {
        let max = models.model(model)?.output_tokens_max?;
        (expected > max).then(|| format!("the model `{model}` answers with at most {max} tokens, not {expected}"))
    });
    let path = [PathSegment::Name("limits"), PathSegment::Name("max_tokens")];
    short.map(|found| definition.warning(&path, ProblemKind::InvalidValue, found, "its calls would be rejected"))
}
