//! Names of policies, handlers, tools and providers are in the vocabulary.

use std::collections::BTreeSet;

use super::index::hint;
use crate::agent::{Agent, RuntimeKind, ToolRef};
use crate::definition_set::{DefinitionSet, Located};
use crate::known_names::KnownNames;
use crate::models::ModelRef;
use crate::problem::{Problem, ProblemKind};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet, vocabulary: &KnownNames) -> Vec<Problem> {
    let mut problems = Vec::new();
    for written in &all.agents {
        let spec = written.value.spec();
        policies(written, &spec.policies, vocabulary, &mut problems);
        implementation(written, vocabulary, &mut problems);
        for (at, tool) in spec.tools.iter().enumerate() {
            if let ToolRef::Native(name) = tool
                && !vocabulary.tools.contains(name)
            {
                let path = [PathSegment::Name("tools"), PathSegment::Item(at)];
                problems.push(unknown(written, &path, "tool", name, &vocabulary.tools));
            }
        }
    }
    for written in &all.workflows {
        policies(written, &written.value.spec.policies, vocabulary, &mut problems);
    }
    for written in &all.teams {
        policies(written, &written.value.spec().policies, vocabulary, &mut problems);
    }
    for written in &all.models {
        for (tier, spec) in &written.value.tiers {
            let path = [PathSegment::Name("tiers"), PathSegment::Name(tier.as_str())];
            let models = std::iter::once(&spec.model).chain(&spec.fallback);
            models.for_each(|model| provider(written, &path, model, vocabulary, &mut problems));
        }
        for (model, spec) in &written.value.models {
            let name = model.to_string();
            let path = [PathSegment::Name("models"), PathSegment::Name(&name)];
            let models = std::iter::once(model).chain(&spec.fallback);
            models.for_each(|model| provider(written, &path, model, vocabulary, &mut problems));
        }
    }
    problems
}

fn policies<T>(written: &Located<T>, named: &[String], vocabulary: &KnownNames, problems: &mut Vec<Problem>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (at, name) in named.iter().enumerate() {
        let path = [PathSegment::Name("policies"), PathSegment::Item(at)];
        if !vocabulary.policies.contains(name) {
            let wanted = hint(name, vocabulary.policies.iter().map(String::as_str));
            problems.push(written.error(
                &path,
                ProblemKind::UnknownPolicy,
                format!("there is no policy `{name}`"),
                wanted,
            ));
        } else if !seen.insert(name) {
            problems.push(written.error(&path, ProblemKind::DuplicateId, format!("`{name}` is there twice"), ""));
        }
    }
}

fn implementation(written: &Located<Agent>, vocabulary: &KnownNames, problems: &mut Vec<Problem>) {
    let spec = &written.value.spec().implementation;
    let at = |member: &'static str| [PathSegment::Name("implementation"), PathSegment::Name(member)];
    match (spec.runtime, &spec.handler) {
        (RuntimeKind::Native, None) => {
            let found = "a native agent needs a `handler`";
            problems.push(written.error(&at("runtime"), ProblemKind::MissingField, found, ""));
        }
        (RuntimeKind::Native, Some(handler)) if !vocabulary.handlers.contains(handler) => {
            problems.push(unknown(written, &at("handler"), "handler", handler, &vocabulary.handlers));
        }
        (RuntimeKind::Wasm | RuntimeKind::Python | RuntimeKind::Http, _) => {
            let found = format!("the runtime `{}` is not built into this release", spec.runtime.as_str());
            let wanted = "executing this agent answers `runtime_unavailable`";
            problems.push(written.warning(&at("runtime"), ProblemKind::RuntimeNotBuilt, found, wanted));
        }
        (RuntimeKind::Llm, Some(_)) => {
            let found = "a language model has no handler";
            problems.push(written.error(
                &at("handler"),
                ProblemKind::InvalidValue,
                found,
                "leave it out, or change the runtime",
            ));
        }
        (RuntimeKind::Llm, None) | (RuntimeKind::Native, Some(_)) => {}
    }
    if spec.runtime == RuntimeKind::Native && spec.prompt.is_some() {
        let found = "a native agent asks no model, so its prompt is never used";
        problems.push(written.error(&at("prompt"), ProblemKind::InvalidValue, found, "leave it out"));
    }
    if let Some(model) = &spec.model {
        provider(written, &at("model"), model, vocabulary, problems);
    }
    for model in &spec.fallback_models {
        provider(written, &at("fallback_models"), model, vocabulary, problems);
    }
}

fn provider<T>(
    written: &Located<T>,
    path: &[PathSegment<'_>],
    model: &ModelRef,
    vocabulary: &KnownNames,
    problems: &mut Vec<Problem>,
) {
    if model.tier().is_none() && !vocabulary.providers.contains(model.provider()) {
        problems.push(unknown(written, path, "provider", model.provider(), &vocabulary.providers));
    }
}

fn unknown<T>(
    written: &Located<T>,
    path: &[PathSegment<'_>],
    what: &str,
    name: &str,
    known: &BTreeSet<String>,
) -> Problem {
    let wanted = hint(name, known.iter().map(String::as_str));
    written.error(path, ProblemKind::UnknownName, format!("there is no {what} `{name}`"), wanted)
}
