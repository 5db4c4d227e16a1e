//! Checks that references point to existing definitions.

use std::collections::BTreeSet;

use super::index::{Index, Lookup, hint, lookup};
use crate::agent::{Agent, ToolRef};
use crate::definition_set::{DefinitionSet, Located};
use crate::problem::{Problem, ProblemKind};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet, index: &Index<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for definition in &all.agents {
        category(all, definition, &mut problems);
        collaborators(index, definition, &mut problems);
        tools(index, definition, &mut problems);
    }
    for definition in &all.workflows {
        for (at, step) in definition.value.spec.steps.iter().enumerate() {
            let path = [PathSegment::Name("steps"), PathSegment::Item(at)];
            let agents = [
                ("agent", step.agent.as_ref()),
                ("compensate", step.compensate.as_ref().map(|compensation| &compensation.agent)),
            ];
            for (member, id) in agents {
                let Some(id) = id else { continue };
                let inner = [path[0], path[1], PathSegment::Name(member), PathSegment::Name("agent")];
                agent_reference(index, definition, &inner, id.as_str(), &mut problems);
            }
            if let Some(id) = &step.workflow {
                let inner = [path[0], path[1], PathSegment::Name("workflow")];
                reference(&index.workflows, definition, &inner, "workflow", id.as_str(), &mut problems);
            }
            if let Some(id) = &step.team {
                let inner = [path[0], path[1], PathSegment::Name("team")];
                reference(&index.teams, definition, &inner, "team", id.as_str(), &mut problems);
            }
        }
    }
    for definition in &all.teams {
        let spec = definition.value.spec();
        if spec.agents.is_empty() {
            problems.push(definition.error(
                &[PathSegment::Name("agents")],
                ProblemKind::InvalidValue,
                "the team has no agents",
                "",
            ));
        }
        let mut members: BTreeSet<&str> = BTreeSet::new();
        for (at, id) in spec.agents.iter().enumerate() {
            let path = [PathSegment::Name("agents"), PathSegment::Item(at)];
            agent_reference(index, definition, &path, id.as_str(), &mut problems);
            if let Lookup::Found(found) = index.agent(id)
                && !members.insert(found.id().as_str())
            {
                problems.push(definition.error(&path, ProblemKind::DuplicateId, format!("`{id}` is duplicated"), ""));
            }
        }
        for (at, id) in spec.workflows.iter().enumerate() {
            let path = [PathSegment::Name("workflows"), PathSegment::Item(at)];
            reference(&index.workflows, definition, &path, "workflow", id.as_str(), &mut problems);
        }
    }
    problems
}

fn category(all: &DefinitionSet, definition: &Located<Agent>, problems: &mut Vec<Problem>) {
    let found = &definition.value.spec().category;
    let mut known = all.categories.iter().flat_map(|file| &file.value.categories).map(|category| category.id.as_str());
    if !all.declared.categories && !known.clone().any(|id| id == found.as_str()) {
        let text = format!("there is no category `{found}`");
        let expected = hint(found.as_str(), known.by_ref());
        problems.push(definition.error(
            &[PathSegment::Name("category")],
            ProblemKind::UnknownReference,
            text,
            expected,
        ));
    }
}

fn collaborators(index: &Index<'_>, definition: &Located<Agent>, problems: &mut Vec<Problem>) {
    let named = &definition.value.spec().collaboration.can_work_with;
    for (at, id) in named.iter().enumerate() {
        let path = [PathSegment::Name("collaboration"), PathSegment::Name("can_work_with"), PathSegment::Item(at)];
        agent_reference(index, definition, &path, id.as_str(), problems);
    }
}

/// An agent that is a tool must exist, and one of the two agents must list the other as a
/// collaborator, since the guard would otherwise deny every call.
fn tools(index: &Index<'_>, definition: &Located<Agent>, problems: &mut Vec<Problem>) {
    for (at, tool) in definition.value.spec().tools.iter().enumerate() {
        let ToolRef::Agent(id) = tool else { continue };
        let path = [PathSegment::Name("tools"), PathSegment::Item(at)];
        agent_reference(index, definition, &path, id.as_str(), problems);
        let Lookup::Found(found) = index.agent(id) else { continue };
        if found.id() != definition.value.id()
            && !lists_collaborator(index, &definition.value, found)
            && !lists_collaborator(index, found, &definition.value)
        {
            let text = format!("every call of `{id}` would be denied: neither agent lists the other as a collaborator");
            let expected = format!("add `{id}` to `collaboration.can_work_with`");
            problems.push(definition.error(&path, ProblemKind::InvalidValue, text, expected));
        }
    }
}

fn lists_collaborator(index: &Index<'_>, caller: &Agent, callee: &Agent) -> bool {
    caller.spec().collaboration.can_work_with.iter().any(|id| match index.agent(id) {
        Lookup::Found(found) => found.id() == callee.id(),
        Lookup::Unreadable | Lookup::Missing => false,
    })
}

fn agent_reference<T>(
    index: &Index<'_>,
    definition: &Located<T>,
    path: &[PathSegment<'_>],
    id: &str,
    problems: &mut Vec<Problem>,
) {
    reference(&index.agents, definition, path, "agent", id, problems);
}

fn reference<T, K>(
    all: &std::collections::BTreeMap<&str, Option<&K>>,
    definition: &Located<T>,
    path: &[PathSegment<'_>],
    kind: &str,
    id: &str,
    problems: &mut Vec<Problem>,
) {
    if let Lookup::Missing = lookup(all, id) {
        let expected = hint(id, all.keys().copied());
        problems.push(definition.error(
            path,
            ProblemKind::UnknownReference,
            format!("there is no {kind} `{id}`"),
            expected,
        ));
    }
}
