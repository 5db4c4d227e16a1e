//! Checks that ids are unique.

use std::collections::BTreeMap;

use crate::definition_set::{DefinitionSet, Located};
use crate::problem::{Problem, ProblemKind};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet) -> Vec<Problem> {
    let mut problems = repeated(&all.agents, "agent", "agent_id", |agent| agent.id().as_str());
    problems.extend(repeated(&all.workflows, "workflow", "workflow_id", |workflow| workflow.spec.workflow_id.as_str()));
    problems.extend(repeated(&all.teams, "team", "team_id", |team| team.id().as_str()));
    problems.extend(all.categories.iter().skip(1).map(|definition| second(definition, "categories")));
    problems.extend(all.capabilities.iter().skip(1).map(|definition| second(definition, "capabilities")));
    problems.extend(all.models.iter().skip(1).map(|definition| second(definition, "models")));
    for definition in &all.categories {
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, category) in definition.value.categories.iter().enumerate() {
            if names.insert(category.id.as_str(), at).is_some() {
                let path = [PathSegment::Name("categories"), PathSegment::Item(at), PathSegment::Name("id")];
                problems.push(definition.error(
                    &path,
                    ProblemKind::DuplicateId,
                    format!("`{}` is duplicated", category.id),
                    "",
                ));
            }
        }
    }
    problems
}

fn repeated<'a, T>(all: &'a [Located<T>], kind: &str, member: &str, id: impl Fn(&'a T) -> &'a str) -> Vec<Problem> {
    let mut first: BTreeMap<&str, &Located<T>> = BTreeMap::new();
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for definition in all {
        let id = id(&definition.value);
        match first.get(id) {
            Some(before) => {
                let path = [PathSegment::Name(member)];
                let line = before.node.nearest(&path).at.line;
                let expected = format!("it is also in {}:{line}", before.file.display());
                problems.push(definition.error(
                    &path,
                    ProblemKind::DuplicateId,
                    format!("the {kind} `{id}` is duplicated"),
                    expected,
                ));
            }
            None => {
                first.insert(id, definition);
                let similar = *folded.entry(id.to_ascii_lowercase()).or_insert(id);
                if similar != id {
                    let found = format!("the {kind} `{id}` differs from `{similar}` in capital letters only");
                    let path = [PathSegment::Name(member)];
                    problems.push(definition.warning(&path, ProblemKind::DuplicateId, found, "rename one of them"));
                }
            }
        }
    }
    problems
}

fn second<T>(definition: &Located<T>, kind: &str) -> Problem {
    definition.error(
        &[],
        ProblemKind::DuplicateId,
        format!("this is a second file of {kind}"),
        "one file holds all of them",
    )
}
