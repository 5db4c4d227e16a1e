//! A name refers to something.

use std::collections::BTreeSet;

use super::index::{Index, Lookup, hint, lookup};
use crate::agent::{Agent, ToolRef};
use crate::definition_set::{DefinitionSet, Located};
use crate::problem::{Problem, ProblemKind};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet, index: &Index<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for written in &all.agents {
        category(all, written, &mut problems);
        collaborators(index, written, &mut problems);
        tools(index, written, &mut problems);
    }
    for written in &all.workflows {
        for (at, step) in written.value.spec.steps.iter().enumerate() {
            let path = [PathSegment::Name("steps"), PathSegment::Item(at)];
            let agents =
                [("agent", step.agent.as_ref()), ("compensate", step.compensate.as_ref().map(|undo| &undo.agent))];
            for (member, id) in agents {
                let Some(id) = id else { continue };
                let inner = [path[0], path[1], PathSegment::Name(member), PathSegment::Name("agent")];
                agent(index, written, &inner, id.as_str(), &mut problems);
            }
            if let Some(id) = &step.workflow {
                let inner = [path[0], path[1], PathSegment::Name("workflow")];
                other(&index.workflows, written, &inner, "workflow", id.as_str(), &mut problems);
            }
            if let Some(id) = &step.team {
                let inner = [path[0], path[1], PathSegment::Name("team")];
                other(&index.teams, written, &inner, "team", id.as_str(), &mut problems);
            }
        }
    }
    for written in &all.teams {
        let spec = written.value.spec();
        if spec.agents.is_empty() {
            problems.push(written.error(
                &[PathSegment::Name("agents")],
                ProblemKind::InvalidValue,
                "the team has no agents",
                "",
            ));
        }
        let mut members: BTreeSet<&str> = BTreeSet::new();
        for (at, id) in spec.agents.iter().enumerate() {
            let path = [PathSegment::Name("agents"), PathSegment::Item(at)];
            agent(index, written, &path, id.as_str(), &mut problems);
            if let Lookup::Found(found) = index.agent(id)
                && !members.insert(found.id().as_str())
            {
                problems.push(written.error(&path, ProblemKind::DuplicateId, format!("`{id}` is there twice"), ""));
            }
        }
        for (at, id) in spec.workflows.iter().enumerate() {
            let path = [PathSegment::Name("workflows"), PathSegment::Item(at)];
            other(&index.workflows, written, &path, "workflow", id.as_str(), &mut problems);
        }
    }
    problems
}

fn category(all: &DefinitionSet, written: &Located<Agent>, problems: &mut Vec<Problem>) {
    let found = &written.value.spec().category;
    let mut known = all.categories.iter().flat_map(|file| &file.value.categories).map(|category| category.id.as_str());
    if !all.claimed.categories && !known.clone().any(|id| id == found.as_str()) {
        let text = format!("there is no category `{found}`");
        let wanted = hint(found.as_str(), known.by_ref());
        problems.push(written.error(&[PathSegment::Name("category")], ProblemKind::UnknownReference, text, wanted));
    }
}

fn collaborators(index: &Index<'_>, written: &Located<Agent>, problems: &mut Vec<Problem>) {
    let named = &written.value.spec().collaboration.can_work_with;
    for (at, id) in named.iter().enumerate() {
        let path = [PathSegment::Name("collaboration"), PathSegment::Name("can_work_with"), PathSegment::Item(at)];
        agent(index, written, &path, id.as_str(), problems);
    }
}

/// A tool that is an agent must exist, and one of the two must say that they work together, or the
/// guard would refuse every call.
fn tools(index: &Index<'_>, written: &Located<Agent>, problems: &mut Vec<Problem>) {
    for (at, tool) in written.value.spec().tools.iter().enumerate() {
        let ToolRef::Agent(id) = tool else { continue };
        let path = [PathSegment::Name("tools"), PathSegment::Item(at)];
        agent(index, written, &path, id.as_str(), problems);
        let Lookup::Found(found) = index.agent(id) else { continue };
        if found.id() != written.value.id()
            && !says(index, &written.value, found)
            && !says(index, found, &written.value)
        {
            let text = format!("every call of `{id}` would be denied: neither agent says that they work together");
            let wanted = format!("add `{id}` to `collaboration.can_work_with`");
            problems.push(written.error(&path, ProblemKind::InvalidValue, text, wanted));
        }
    }
}

fn says(index: &Index<'_>, who: &Agent, whom: &Agent) -> bool {
    who.spec().collaboration.can_work_with.iter().any(|id| match index.agent(id) {
        Lookup::Found(found) => found.id() == whom.id(),
        Lookup::Unreadable | Lookup::Missing => false,
    })
}

fn agent<T>(index: &Index<'_>, written: &Located<T>, path: &[PathSegment<'_>], id: &str, problems: &mut Vec<Problem>) {
    other(&index.agents, written, path, "agent", id, problems);
}

fn other<T, K>(
    all: &std::collections::BTreeMap<&str, Option<&K>>,
    written: &Located<T>,
    path: &[PathSegment<'_>],
    what: &str,
    id: &str,
    problems: &mut Vec<Problem>,
) {
    if let Lookup::Missing = lookup(all, id) {
        let wanted = hint(id, all.keys().copied());
        problems.push(written.error(path, ProblemKind::UnknownReference, format!("there is no {what} `{id}`"), wanted));
    }
}
