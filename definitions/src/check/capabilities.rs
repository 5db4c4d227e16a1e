//! Checks the vocabulary of capabilities against itself and the policy. That the capabilities of agents are in it is
//! checked with all other references.

use std::collections::BTreeMap;

use crate::capability::Capabilities;
use crate::definition_set::{DefinitionSet, Located};
use crate::known_names::KnownNames;
use crate::problem::{Problem, ProblemKind};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet, known_names: &KnownNames) -> Vec<Problem> {
    let mut problems = Vec::new();
    for definition in &all.capabilities {
        vocabulary(definition, known_names, &mut problems);
    }
    problems
}

fn vocabulary(definition: &Located<Capabilities>, known_names: &KnownNames, problems: &mut Vec<Problem>) {
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, capability) in definition.value.capabilities.iter().enumerate() {
        let item = [PathSegment::Name("capabilities"), PathSegment::Item(at)];
        let path = |member: &'static str| [item[0], item[1], PathSegment::Name(member)];
        let id = capability.id.as_str();
        if ids.insert(id, at).is_some() {
            let found = format!("`{id}` is duplicated");
            problems.push(definition.error(&path("id"), ProblemKind::DuplicateId, found, ""));
        }
        let Some(read) = &known_names.policy_capabilities else { continue };
        match (capability.policy, read.contains(id)) {
            (Some(policy), false) => {
                let found = format!("no rule reads the capability `{id}`, so it does not drive {}", policy.as_str());
                problems.push(definition.error(&path("policy"), ProblemKind::InvalidValue, found, "remove `policy`"));
            }
            (None, true) => {
                let found = format!("a rule reads the capability `{id}`, which has no `policy`");
                let expected = "write which check it drives";
                problems.push(definition.error(&path("id"), ProblemKind::MissingField, found, expected));
            }
            (Some(_), true) | (None, false) => {}
        }
    }
}
