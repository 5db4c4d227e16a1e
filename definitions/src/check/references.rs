//! A name refers to something.

use std::collections::BTreeSet;

use super::{Index, Lookup, hint, lookup};
use crate::agent::{Agent, ToolRef};
use crate::loader::{All, Written};
use crate::problem::{Flaw, Problem};
use crate::yaml::Step;

pub(super) fn check(all: &All, index: &Index<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for written in &all.agents {
        category(all, written, &mut problems);
        collaborators(index, written, &mut problems);
        tools(index, written, &mut problems);
    }
    for written in &all.workflows {
        for (at, step) in written.what.spec.steps.iter().enumerate() {
            let path = [Step::Name("steps"), Step::Item(at)];
            let agents =
                [("agent", step.agent.as_ref()), ("compensate", step.compensate.as_ref().map(|undo| &undo.agent))];
            for (member, id) in agents {
                let Some(id) = id else { continue };
                let inner = [path[0], path[1], Step::Name(member), Step::Name("agent")];
                agent(index, written, &inner, id.as_str(), &mut problems);
            }
            if let Some(id) = &step.workflow {
                let inner = [path[0], path[1], Step::Name("workflow")];
                other(&index.workflows, written, &inner, "workflow", id.as_str(), &mut problems);
            }
            if let Some(id) = &step.team {
                let inner = [path[0], path[1], Step::Name("team")];
                other(&index.teams, written, &inner, "team", id.as_str(), &mut problems);
            }
        }
    }
    for written in &all.teams {
        let spec = written.what.spec();
        if spec.agents.is_empty() {
            problems.push(written.error(&[Step::Name("agents")], Flaw::InvalidValue, "the team has no agents", ""));
        }
        let mut members: BTreeSet<&str> = BTreeSet::new();
        for (at, id) in spec.agents.iter().enumerate() {
            let path = [Step::Name("agents"), Step::Item(at)];
            agent(index, written, &path, id.as_str(), &mut problems);
            if let Lookup::Found(found) = index.agent(id)
                && !members.insert(found.id().as_str())
            {
                problems.push(written.error(&path, Flaw::DuplicateId, format!("`{id}` is there twice"), ""));
            }
        }
        for (at, id) in spec.workflows.iter().enumerate() {
            let path = [Step::Name("workflows"), Step::Item(at)];
            other(&index.workflows, written, &path, "workflow", id.as_str(), &mut problems);
        }
    }
    problems
}

fn category(all: &All, written: &Written<Agent>, problems: &mut Vec<Problem>) {
    let found = &written.what.spec().category;
    let mut known = all.categories.iter().flat_map(|file| &file.what.categories).map(|category| category.id.as_str());
    if !all.claimed.categories && !known.clone().any(|id| id == found.as_str()) {
        let text = format!("there is no category `{found}`");
        let wanted = hint(found.as_str(), known.by_ref());
        problems.push(written.error(&[Step::Name("category")], Flaw::UnknownReference, text, wanted));
    }
}

fn collaborators(index: &Index<'_>, written: &Written<Agent>, problems: &mut Vec<Problem>) {
    let named = &written.what.spec().collaboration.can_work_with;
    for (at, id) in named.iter().enumerate() {
        let path = [Step::Name("collaboration"), Step::Name("can_work_with"), Step::Item(at)];
        agent(index, written, &path, id.as_str(), problems);
    }
}

/// A tool that is an agent must exist, and one of the two must say that they work together, or the
/// guard would refuse every call.
fn tools(index: &Index<'_>, written: &Written<Agent>, problems: &mut Vec<Problem>) {
    for (at, tool) in written.what.spec().tools.iter().enumerate() {
        let ToolRef::Agent(id) = tool else { continue };
        let path = [Step::Name("tools"), Step::Item(at)];
        agent(index, written, &path, id.as_str(), problems);
        let Lookup::Found(found) = index.agent(id) else { continue };
        if found.id() != written.what.id() && !says(index, &written.what, found) && !says(index, found, &written.what) {
            let text = format!("every call of `{id}` would be denied: neither agent says that they work together");
            let wanted = format!("add `{id}` to `collaboration.can_work_with`");
            problems.push(written.error(&path, Flaw::InvalidValue, text, wanted));
        }
    }
}

fn says(index: &Index<'_>, who: &Agent, whom: &Agent) -> bool {
    who.spec().collaboration.can_work_with.iter().any(|id| match index.agent(id) {
        Lookup::Found(found) => found.id() == whom.id(),
        Lookup::Unreadable | Lookup::Missing => false,
    })
}

fn agent<T>(index: &Index<'_>, written: &Written<T>, path: &[Step<'_>], id: &str, problems: &mut Vec<Problem>) {
    other(&index.agents, written, path, "agent", id, problems);
}

fn other<T, K>(
    all: &std::collections::BTreeMap<&str, Option<&K>>,
    written: &Written<T>,
    path: &[Step<'_>],
    what: &str,
    id: &str,
    problems: &mut Vec<Problem>,
) {
    if let Lookup::Missing = lookup(all, id) {
        let wanted = hint(id, all.keys().copied());
        problems.push(written.error(path, Flaw::UnknownReference, format!("there is no {what} `{id}`"), wanted));
    }
}
