//! Compares the agents that a category declares with the agents of the folder.

use std::collections::BTreeSet;

use super::index::{Index, Lookup};
use crate::category::{Categories, Category};
use crate::definition_set::{DefinitionSet, Located, ReferenceKind};
use crate::problem::{Problem, ProblemKind};
use crate::yaml::PathSegment;

/// Agents that one message names.
const NAMED_MAX: usize = 5;

pub(super) fn check(all: &DefinitionSet, index: &Index<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &all.categories {
        for (at, category) in file.value.categories.iter().enumerate() {
            members(file, at, category, index, &mut problems);
            count(all, file, at, category, &mut problems);
            if !category.agents.is_empty() {
                unlisted(all, file, at, category, index, &mut problems);
            }
        }
    }
    problems
}

/// A listed agent is in this category, and listed once.
fn members(file: &Located<Categories>, at: usize, category: &Category, index: &Index<'_>, problems: &mut Vec<Problem>) {
    let mut listed: BTreeSet<&str> = BTreeSet::new();
    for (position, id) in category.agents.iter().enumerate() {
        let path = [
            PathSegment::Name("categories"),
            PathSegment::Item(at),
            PathSegment::Name("agents"),
            PathSegment::Item(position),
        ];
        let Lookup::Found(agent) = index.agent(id) else { continue };
        if !listed.insert(agent.id().as_str()) {
            problems.push(file.error(&path, ProblemKind::DuplicateId, format!("`{id}` is duplicated"), ""));
        }
        if agent.spec().category != category.id {
            let found = format!("the agent `{id}` is in the category `{}`", agent.spec().category);
            let expected = format!("remove it here, or change its category to `{}`", category.id);
            problems.push(file.error(&path, ProblemKind::InvalidValue, found, expected));
        }
    }
}

/// Agents in the category, those of invalid files among them: each file of an agent names one category.
fn count(all: &DefinitionSet, file: &Located<Categories>, at: usize, category: &Category, problems: &mut Vec<Problem>) {
    let Some(declared) = category.agent_count else { return };
    let named = all.references.iter().filter(|reference| reference.kind == ReferenceKind::Category);
    let counted = named.filter(|reference| reference.name == category.id.as_str()).count();
    if u64::try_from(counted) != Ok(declared) {
        let path = [PathSegment::Name("categories"), PathSegment::Item(at), PathSegment::Name("agent_count")];
        let found = format!("the category `{}` declares {declared} agents, and {counted} are in it", category.id);
        problems.push(file.warning(&path, ProblemKind::InvalidValue, found, "correct the count, or add the agents"));
    }
}

/// Warns of agents in the category that a list of its agents omits.
fn unlisted(
    all: &DefinitionSet,
    file: &Located<Categories>,
    at: usize,
    category: &Category,
    index: &Index<'_>,
    problems: &mut Vec<Problem>,
) {
    let listed: BTreeSet<&str> = category
        .agents
        .iter()
        .filter_map(|id| match index.agent(id) {
            Lookup::Found(agent) => Some(agent.id().as_str()),
            Lookup::Unreadable | Lookup::Missing => None,
        })
        .collect();
    let own = all.agents.iter().map(|agent| &agent.value).filter(|agent| agent.spec().category == category.id);
    let missing: Vec<&str> = own.map(|agent| agent.id().as_str()).filter(|id| !listed.contains(id)).collect();
    if !missing.is_empty() {
        let path = [PathSegment::Name("categories"), PathSegment::Item(at), PathSegment::Name("agents")];
        let named: Vec<&str> = missing.iter().copied().take(NAMED_MAX).collect();
        let rest = if missing.len() > NAMED_MAX { ", …" } else { "" };
        let found = format!("the list omits {} agents of the category: {}{rest}", missing.len(), named.join(", "));
        problems.push(file.warning(&path, ProblemKind::InvalidValue, found, "add them, or remove the list"));
    }
}
