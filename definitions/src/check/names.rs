//! Names of policies, handlers, tools and providers are in the vocabulary.

use std::collections::BTreeSet;

use super::hint;
use crate::agent::{Agent, Runtime, ToolRef};
use crate::known_names::Vocabulary;
use crate::loader::{All, Written};
use crate::models::ModelRef;
use crate::problem::{Flaw, Problem};
use crate::yaml::Step;

pub(super) fn check(all: &All, vocabulary: &Vocabulary) -> Vec<Problem> {
    let mut problems = Vec::new();
    for written in &all.agents {
        let spec = written.what.spec();
        policies(written, &spec.policies, vocabulary, &mut problems);
        implementation(written, vocabulary, &mut problems);
        for (at, tool) in spec.tools.iter().enumerate() {
            if let ToolRef::Native(name) = tool
                && !vocabulary.tools.contains(name)
            {
                let path = [Step::Name("tools"), Step::Item(at)];
                problems.push(unknown(written, &path, "tool", name, &vocabulary.tools));
            }
        }
    }
    for written in &all.workflows {
        policies(written, &written.what.spec.policies, vocabulary, &mut problems);
    }
    for written in &all.teams {
        policies(written, &written.what.spec().policies, vocabulary, &mut problems);
    }
    for written in &all.models {
        for (tier, spec) in &written.what.tiers {
            let path = [Step::Name("tiers"), Step::Name(tier.as_str())];
            let models = std::iter::once(&spec.model).chain(&spec.fallback);
            models.for_each(|model| provider(written, &path, model, vocabulary, &mut problems));
        }
        for (model, spec) in &written.what.models {
            let name = model.to_string();
            let path = [Step::Name("models"), Step::Name(&name)];
            let models = std::iter::once(model).chain(&spec.fallback);
            models.for_each(|model| provider(written, &path, model, vocabulary, &mut problems));
        }
    }
    problems
}

fn policies<T>(written: &Written<T>, named: &[String], vocabulary: &Vocabulary, problems: &mut Vec<Problem>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (at, name) in named.iter().enumerate() {
        let path = [Step::Name("policies"), Step::Item(at)];
        if !vocabulary.policies.contains(name) {
            let wanted = hint(name, vocabulary.policies.iter().map(String::as_str));
            problems.push(written.error(&path, Flaw::UnknownPolicy, format!("there is no policy `{name}`"), wanted));
        } else if !seen.insert(name) {
            problems.push(written.error(&path, Flaw::DuplicateId, format!("`{name}` is there twice"), ""));
        }
    }
}

fn implementation(written: &Written<Agent>, vocabulary: &Vocabulary, problems: &mut Vec<Problem>) {
    let spec = &written.what.spec().implementation;
    let at = |member: &'static str| [Step::Name("implementation"), Step::Name(member)];
    match (spec.runtime, &spec.handler) {
        (Runtime::Native, None) => {
            let found = "a native agent needs a `handler`";
            problems.push(written.error(&at("runtime"), Flaw::MissingField, found, ""));
        }
        (Runtime::Native, Some(handler)) if !vocabulary.handlers.contains(handler) => {
            problems.push(unknown(written, &at("handler"), "handler", handler, &vocabulary.handlers));
        }
        (Runtime::Wasm | Runtime::Python | Runtime::Http, _) => {
            let found = format!("the runtime `{}` is not built into this release", spec.runtime.as_str());
            let wanted = "executing this agent answers `runtime_unavailable`";
            problems.push(written.warning(&at("runtime"), Flaw::RuntimeNotBuilt, found, wanted));
        }
        (Runtime::Llm, Some(_)) => {
            let found = "a language model has no handler";
            problems.push(written.error(
                &at("handler"),
                Flaw::InvalidValue,
                found,
                "leave it out, or change the runtime",
            ));
        }
        (Runtime::Llm, None) | (Runtime::Native, Some(_)) => {}
    }
    if spec.runtime == Runtime::Native && spec.prompt.is_some() {
        let found = "a native agent asks no model, so its prompt is never used";
        problems.push(written.error(&at("prompt"), Flaw::InvalidValue, found, "leave it out"));
    }
    if let Some(model) = &spec.model {
        provider(written, &at("model"), model, vocabulary, problems);
    }
    for model in &spec.fallback_models {
        provider(written, &at("fallback_models"), model, vocabulary, problems);
    }
}

fn provider<T>(
    written: &Written<T>,
    path: &[Step<'_>],
    model: &ModelRef,
    vocabulary: &Vocabulary,
    problems: &mut Vec<Problem>,
) {
    if model.tier().is_none() && !vocabulary.providers.contains(model.provider()) {
        problems.push(unknown(written, path, "provider", model.provider(), &vocabulary.providers));
    }
}

fn unknown<T>(written: &Written<T>, path: &[Step<'_>], what: &str, name: &str, known: &BTreeSet<String>) -> Problem {
    let wanted = hint(name, known.iter().map(String::as_str));
    written.error(path, Flaw::UnknownName, format!("there is no {what} `{name}`"), wanted)
}
