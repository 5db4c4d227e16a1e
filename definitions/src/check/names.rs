//! Checks the use of names: duplicated policies and labels. That the names are known is checked with all other references.

use std::collections::BTreeSet;

use greenroom_protocol::policy_name;

use super::implementation;
use crate::agent::Agent;
use crate::definition_set::{DefinitionSet, Located};
use crate::known_names::KnownNames;
use crate::problem::{Problem, ProblemKind};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet, known_names: &KnownNames) -> Vec<Problem> {
    let mut problems = Vec::new();
    for definition in &all.agents {
        policies(definition, &definition.value.spec().policies, &mut problems);
        implementation::check(definition, known_names, &mut problems);
        placement(definition, &mut problems);
    }
    for definition in &all.workflows {
        policies(definition, &definition.value.spec.policies, &mut problems);
    }
    for definition in &all.teams {
        policies(definition, &definition.value.spec().policies, &mut problems);
    }
    problems
}

fn policies<T>(definition: &Located<T>, named: &[String], problems: &mut Vec<Problem>) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (at, name) in named.iter().enumerate() {
        let name = policy_name::split(name).0;
        if !names.insert(name) {
            let path = [PathSegment::Name("policies"), PathSegment::Item(at)];
            problems.push(definition.error(&path, ProblemKind::DuplicateId, format!("`{name}` is duplicated"), ""));
        }
    }
}

fn placement(definition: &Located<Agent>, problems: &mut Vec<Problem>) {
    let mut labels: BTreeSet<&str> = BTreeSet::new();
    for (at, label) in definition.value.labels().iter().enumerate() {
        if !labels.insert(label) {
            let path = [
                PathSegment::Name("implementation"),
                PathSegment::Name("placement"),
                PathSegment::Name("labels"),
                PathSegment::Item(at),
            ];
            problems.push(definition.error(&path, ProblemKind::DuplicateId, format!("`{label}` is duplicated"), ""));
        }
    }
}
