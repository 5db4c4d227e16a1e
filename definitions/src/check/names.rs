//! Checks the names of policies, handlers, tools and providers against the known names.

use std::collections::BTreeSet;

use super::index::hint;
use crate::agent::{Agent, RuntimeKind, ToolRef};
use crate::definition_set::{DefinitionSet, Located};
use crate::known_names::KnownNames;
use crate::models::ModelRef;
use crate::problem::{Problem, ProblemKind};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet, known_names: &KnownNames) -> Vec<Problem> {
    let mut problems = Vec::new();
    for definition in &all.agents {
        let spec = definition.value.spec();
        policies(definition, &spec.policies, known_names, &mut problems);
        implementation(definition, known_names, &mut problems);
        for (at, tool) in spec.tools.iter().enumerate() {
            if let ToolRef::Native(name) = tool
                && !known_names.tools.contains(name)
            {
                let path = [PathSegment::Name("tools"), PathSegment::Item(at)];
                problems.push(unknown(definition, &path, "tool", name, &known_names.tools));
            }
        }
    }
    for definition in &all.workflows {
        policies(definition, &definition.value.spec.policies, known_names, &mut problems);
    }
    for definition in &all.teams {
        policies(definition, &definition.value.spec().policies, known_names, &mut problems);
    }
    for definition in &all.models {
        for (tier, spec) in &definition.value.tiers {
            let path = [PathSegment::Name("tiers"), PathSegment::Name(tier.as_str())];
            let models = std::iter::once(&spec.model).chain(&spec.fallback);
            models.for_each(|model| provider(definition, &path, model, known_names, &mut problems));
        }
        for (model, spec) in &definition.value.models {
            let name = model.to_string();
            let path = [PathSegment::Name("models"), PathSegment::Name(&name)];
            let models = std::iter::once(model).chain(&spec.fallback);
            models.for_each(|model| provider(definition, &path, model, known_names, &mut problems));
        }
    }
    problems
}

fn policies<T>(definition: &Located<T>, named: &[String], known_names: &KnownNames, problems: &mut Vec<Problem>) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (at, name) in named.iter().enumerate() {
        let path = [PathSegment::Name("policies"), PathSegment::Item(at)];
        if !known_names.policies.contains(name) {
            let expected = hint(name, known_names.policies.iter().map(String::as_str));
            problems.push(definition.error(
                &path,
                ProblemKind::UnknownPolicy,
                format!("there is no policy `{name}`"),
                expected,
            ));
        } else if !names.insert(name) {
            problems.push(definition.error(&path, ProblemKind::DuplicateId, format!("`{name}` is duplicated"), ""));
        }
    }
}

fn implementation(definition: &Located<Agent>, known_names: &KnownNames, problems: &mut Vec<Problem>) {
    let spec = &definition.value.spec().implementation;
    let at = |member: &'static str| [PathSegment::Name("implementation"), PathSegment::Name(member)];
    match (spec.runtime, &spec.handler) {
        (RuntimeKind::Native, None) => {
            let found = "a native agent needs a `handler`";
            problems.push(definition.error(&at("runtime"), ProblemKind::MissingField, found, ""));
        }
        (RuntimeKind::Native, Some(handler)) if !known_names.handlers.contains(handler) => {
            problems.push(unknown(definition, &at("handler"), "handler", handler, &known_names.handlers));
        }
        (RuntimeKind::Wasm | RuntimeKind::Python | RuntimeKind::Http, _) => {
            let found = format!("the runtime `{}` is not built into this release", spec.runtime.as_str());
            let expected = "a call of this agent fails with `runtime_unavailable`";
            problems.push(definition.warning(&at("runtime"), ProblemKind::RuntimeNotBuilt, found, expected));
        }
        (RuntimeKind::Llm, Some(_)) => {
            let found = "a language model has no handler";
            problems.push(definition.error(
                &at("handler"),
                ProblemKind::InvalidValue,
                found,
                "remove it, or change the runtime",
            ));
        }
        (RuntimeKind::Llm, None) | (RuntimeKind::Native, Some(_)) => {}
    }
    if spec.runtime == RuntimeKind::Native && spec.prompt.is_some() {
        let found = "a native agent calls no model, so its prompt is never used";
        problems.push(definition.error(&at("prompt"), ProblemKind::InvalidValue, found, "remove it"));
    }
    if let Some(model) = &spec.model {
        provider(definition, &at("model"), model, known_names, problems);
    }
    for model in &spec.fallback_models {
        provider(definition, &at("fallback_models"), model, known_names, problems);
    }
}

fn provider<T>(
    definition: &Located<T>,
    path: &[PathSegment<'_>],
    model: &ModelRef,
    known_names: &KnownNames,
    problems: &mut Vec<Problem>,
) {
    if model.tier().is_none() && !known_names.providers.contains(model.provider()) {
        problems.push(unknown(definition, path, "provider", model.provider(), &known_names.providers));
    }
}

fn unknown<T>(
    definition: &Located<T>,
    path: &[PathSegment<'_>],
    kind: &str,
    name: &str,
    known: &BTreeSet<String>,
) -> Problem {
    let expected = hint(name, known.iter().map(String::as_str));
    definition.error(path, ProblemKind::UnknownName, format!("there is no {kind} `{name}`"), expected)
}
