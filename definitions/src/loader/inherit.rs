//! Completes the agents of a load: with the defaults of their categories and the texts of the snippets that their
//! system prompts contain. After that a definition is complete by itself: its hash covers what it has inherited, and it
//! is rebuilt from its stored body without any other file.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_protocol::{CategoryId, policy_name};
use snippets::Snippets;

use super::file::SYSTEM_PROMPT;
use crate::agent::{Agent, AgentLimits, AgentSpec, RuntimeKind};
use crate::catalogue::Catalogue;
use crate::category::CategoryDefaults;
use crate::definition_set::{DefinitionSet, Located};
use crate::problem::{Problem, ProblemKind, Severity};
use crate::snippet::includes;
use crate::yaml::PathSegment;

mod snippets;

/// Completes the agents, and returns the problems of those that cannot be completed, and of snippets that cannot be
/// expanded. `problems` are those of the files so far.
pub(super) fn apply(all: &mut DefinitionSet, problems: &[Problem], previous: Option<&Catalogue>) -> Vec<Problem> {
    let (snippets, mut found) = Snippets::new(all);
    let defaults = defaults(all, problems, previous);
    let are_lost = defaults.is_none();
    let defaults = defaults.unwrap_or_default();
    for agent in &mut all.agents {
        if are_lost {
            let message = "the defaults of its category are unknown, because the file of the categories is invalid";
            found.push(agent.error(&[PathSegment::Name("category")], ProblemKind::Quarantined, message, ""));
            continue;
        }
        complete(agent, defaults.get(&agent.value.spec().category), &snippets, &mut found);
    }
    found
}

/// The defaults of each category: those of the one valid file, else those that are in service. `None` if they are
/// unknown: an agent without the policies that its category demands must not be called.
fn defaults(
    all: &DefinitionSet,
    problems: &[Problem],
    previous: Option<&Catalogue>,
) -> Option<BTreeMap<CategoryId, CategoryDefaults>> {
    let is_invalid = |file: &std::path::Path| {
        let mut errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
        errors.any(|problem| *problem.location.file == *file)
    };
    let is_valid = matches!(all.categories.as_slice(), [only] if !is_invalid(&only.file));
    match previous {
        Some(previous) if !is_valid => {
            Some(previous.categories().map(|category| (category.id.clone(), category.defaults.clone())).collect())
        }
        None if all.has_lost_defaults => None,
        Some(_) | None => {
            let categories = all.categories.iter().flat_map(|file| &file.value.categories);
            Some(categories.map(|category| (category.id.clone(), category.defaults.clone())).collect())
        }
    }
}

/// Completes one agent.
fn complete(
    agent: &mut Located<Agent>,
    defaults: Option<&CategoryDefaults>,
    snippets: &Snippets,
    problems: &mut Vec<Problem>,
) {
    // Only one of the compiled form has anything, and is complete.
    if !agent.value.spec().inherited.is_empty() {
        return;
    }
    let mut spec = agent.value.spec().clone();
    if let Some(defaults) = defaults {
        merge(&mut spec, defaults);
    }
    let own = spec.implementation.prompt.as_ref().and_then(|prompt| prompt.system.as_deref()).unwrap_or_default();
    let mut texts = BTreeMap::new();
    let mut is_complete = true;
    for include in includes(own).unwrap_or_default() {
        if snippets.collect(include.name, &mut texts) {
            continue;
        }
        is_complete = false;
        // A snippet that does not exist is reported with all other references.
        if snippets.is_known(include.name) {
            let found = format!("the snippet `{}`, which this prompt includes, is out of service", include.name);
            let mut problem = agent.error(&SYSTEM_PROMPT, ProblemKind::Quarantined, found, "");
            let at = agent.node.nearest(&SYSTEM_PROMPT).line_position(include.line);
            (problem.location.line, problem.location.column) = (at.line, at.column);
            problems.push(problem);
        }
    }
    for name in &spec.inherited.appended {
        if !snippets.collect(name, &mut texts) {
            is_complete = false;
            let found = format!("the snippet `{name}`, which its category appends, is out of service");
            problems.push(agent.error(&[PathSegment::Name("category")], ProblemKind::Quarantined, found, ""));
        }
    }
    if !is_complete || (texts.is_empty() && spec.inherited.is_empty()) {
        return;
    }
    spec.inherited.snippets = texts;
    match agent.value.prompt().with_system_of(&spec) {
        Ok(prompt) => agent.value = Agent::with_prompt(spec, prompt),
        Err(error) => {
            let kind = if error.out_of_bounds { ProblemKind::ExpressionBounds } else { ProblemKind::Expression };
            problems.push(agent.error(&SYSTEM_PROMPT, kind, error.to_string(), ""));
        }
    }
}

/// Adds what the file of the agent does not say, and notes where it came from. What concerns models is only for agents
/// that call one.
fn merge(spec: &mut AgentSpec, defaults: &CategoryDefaults) {
    let members = &mut spec.inherited.members;
    for policy in &defaults.policies {
        let name = policy_name::split(policy).0;
        if !spec.policies.iter().any(|own| policy_name::split(own).0 == name) {
            spec.policies.push(policy.clone());
            members.push(format!("policies.{name}"));
        }
    }
    fill(&mut spec.limits.max_concurrency, defaults.limits.max_concurrency, "limits.max_concurrency", members);
    if spec.implementation.runtime != RuntimeKind::Llm {
        return;
    }
    fill(&mut spec.implementation.model, defaults.model.clone(), "implementation.model", members);
    fill(&mut spec.retry, defaults.retry.clone(), "retry", members);
    let AgentLimits { max_tokens, max_cost_usd, max_turns, max_concurrency: _ } = &defaults.limits;
    fill(&mut spec.limits.max_tokens, *max_tokens, "limits.max_tokens", members);
    fill(&mut spec.limits.max_cost_usd, *max_cost_usd, "limits.max_cost_usd", members);
    fill(&mut spec.limits.max_turns, *max_turns, "limits.max_turns", members);
    let own = spec.implementation.prompt.as_ref().and_then(|prompt| prompt.system.as_deref()).unwrap_or_default();
    let included: BTreeSet<&str> = includes(own).unwrap_or_default().into_iter().map(|include| include.name).collect();
    for name in defaults.snippets.iter().filter(|name| !included.contains(name.as_str())) {
        spec.inherited.appended.push(name.clone());
        members.push(format!("snippets.{name}"));
    }
}

fn fill<T>(own: &mut Option<T>, default: Option<T>, path: &str, members: &mut Vec<String>) {
    if own.is_none() && default.is_some() {
        *own = default;
        members.push(path.to_owned());
    }
}
