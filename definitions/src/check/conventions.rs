//! Warns of what people would not find: files that are elsewhere than their ids say, keys of a team's context that two
//! members write, and agents that are named although something has replaced them.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use super::index::{Index, Lookup};
use crate::agent::Agent;
use crate::catalogue::without_ordinal;
use crate::definition_set::{DefinitionSet, Located, ReferenceKind};
use crate::problem::{Problem, ProblemKind, Severity};
use crate::team::Team;
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet, index: &Index<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let categories: Vec<&str> =
        all.categories.iter().flat_map(|file| &file.value.categories).map(|category| category.id.as_str()).collect();
    for agent in &all.agents {
        problems.extend(misplaced(agent, &categories));
        problems.extend(replaced_by(agent, index));
    }
    all.teams.iter().for_each(|team| shared_keys(team, index, &mut problems));
    deprecated(all, index, &mut problems);
    problems
}

/// The folder of a category has its agents, and the file of an agent there has its id, with or without the ordinal.
/// A folder that is no category may be organized as its owner likes.
fn misplaced(agent: &Located<Agent>, categories: &[&str]) -> Option<Problem> {
    let spec = agent.value.spec();
    let mut parts = agent.file.iter().map(OsStr::to_str);
    let is_agents = parts.next().flatten() == Some("agents");
    let folder = parts.next().flatten().filter(|_| is_agents)?;
    // Without a third part, the second one is the file.
    parts.next()?;
    if folder != spec.category.as_str() {
        let found = format!("the folder is `{folder}`, and the agent is in the category `{}`", spec.category);
        let expected = format!("move it to `agents/{}/`", spec.category);
        let is_category = categories.contains(&folder);
        let path = [PathSegment::Name("category")];
        return is_category.then(|| agent.warning(&path, ProblemKind::Misplaced, found, expected));
    }
    let (id, stem) = (spec.agent_id.as_str(), agent.file.file_stem().and_then(OsStr::to_str)?);
    let has_name = stem == id || without_ordinal(id) == Some(stem);
    let path = [PathSegment::Name("agent_id")];
    let found = format!("the file `{stem}` contains the agent `{id}`");
    let warning = || agent.warning(&path, ProblemKind::Misplaced, found, format!("call it `{id}.yaml`"));
    (!has_name).then(warning)
}

/// What replaces a deprecated agent is not deprecated itself.
fn replaced_by(agent: &Located<Agent>, index: &Index<'_>) -> Option<Problem> {
    let replacement = &agent.value.spec().deprecated.as_ref()?.replacement;
    let Lookup::Found(found) = index.agent(replacement) else { return None };
    let is_itself = found.id() == agent.value.id();
    if !is_itself && found.spec().deprecated.is_none() {
        return None;
    }
    let path = [PathSegment::Name("deprecated"), PathSegment::Name("use")];
    let text = format!("`{replacement}` is deprecated itself");
    Some(agent.error(&path, ProblemKind::InvalidValue, text, "name an agent that is not"))
}

/// Two members that write one key overwrite each other.
fn shared_keys(team: &Located<Team>, index: &Index<'_>, problems: &mut Vec<Problem>) {
    let mut providers: BTreeMap<&str, &Agent> = BTreeMap::new();
    for (at, id) in team.value.spec().agents.iter().enumerate() {
        let Lookup::Found(member) = index.agent(id) else { continue };
        for key in &member.spec().collaboration.provides_to_team {
            let Some(first) = providers.insert(key.as_str(), member).filter(|first| first.id() != member.id()) else {
                continue;
            };
            let path = [PathSegment::Name("agents"), PathSegment::Item(at)];
            let found = format!("`{}` and `{}` both provide the key `{key}` to the team", first.id(), member.id());
            problems.push(team.warning(&path, ProblemKind::DuplicateId, found, "let one of them provide another key"));
        }
    }
}

/// Warns at each name of a deprecated agent. The list of a category says what there is, and uses nothing.
fn deprecated(all: &DefinitionSet, index: &Index<'_>, problems: &mut Vec<Problem>) {
    if all.agents.iter().all(|agent| agent.value.spec().deprecated.is_none()) {
        return;
    }
    for reference in all.references.iter().filter(|reference| reference.kind == ReferenceKind::Agent) {
        let file = &reference.location.file;
        let Some(Some(agent)) = index.agents.get(reference.name.as_str()) else { continue };
        let Some(deprecated) = &agent.spec().deprecated else { continue };
        if all.categories.iter().any(|categories| categories.file == *file) {
            continue;
        }
        problems.push(Problem {
            location: reference.location.clone(),
            severity: Severity::Warning,
            kind: ProblemKind::Deprecated,
            found: format!("the agent `{}` is deprecated since its version {}", agent.id(), deprecated.since),
            expected: format!("use `{}`", deprecated.replacement),
        });
    }
}
