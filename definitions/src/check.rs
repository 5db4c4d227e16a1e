//! Definitions compared with each other and with the vocabulary. Each family of checks is pure and
//! sees everything that could be read; nothing here stops at the first problem.

use std::collections::BTreeMap;

use greenroom_protocol::AgentId;

use crate::agent::Agent;
use crate::catalogue::without_ordinal;
use crate::known_names::KnownNames;
use crate::loader::DefinitionSet;
use crate::problem::Problem;

mod agents;
mod cycles;
mod ids;
mod names;
mod prices;
mod references;
mod steps;

/// Every problem of definitions that could be read.
pub(crate) fn check(all: &DefinitionSet, vocabulary: &KnownNames) -> Vec<Problem> {
    let index = Index::of(all);
    let mut problems = ids::check(all);
    problems.extend(references::check(all, &index));
    problems.extend(names::check(all, vocabulary));
    problems.extend(agents::check(all));
    problems.extend(steps::check(all, &index));
    problems.extend(cycles::check(all, &index));
    problems.extend(prices::check(all));
    problems
}

/// Agents by their ids, and by their ids without the ordinal.
pub(crate) struct Index<'a> {
    agents: BTreeMap<&'a str, Option<&'a Agent>>,
    workflows: BTreeMap<&'a str, Option<&'a crate::workflow::WorkflowSpec>>,
    teams: BTreeMap<&'a str, Option<&'a crate::team::TeamSpec>>,
}

/// What an id refers to.
pub(crate) enum Lookup<'a, T> {
    /// This.
    Found(&'a T),
    /// Something that is there but cannot be read, which is a problem of its own.
    Unreadable,
    /// Nothing.
    Missing,
}

impl<'a> Index<'a> {
    fn of(all: &'a DefinitionSet) -> Self {
        let mut agents: BTreeMap<&str, Option<&Agent>> = BTreeMap::new();
        let unreadable = all.claimed.agents.iter().map(|id| (id.as_str(), None));
        let readable = all.agents.iter().map(|written| (written.value.id().as_str(), Some(&written.value)));
        let full: Vec<_> = unreadable.chain(readable).collect();
        for (id, agent) in &full {
            agents.insert(id, *agent);
        }
        for (id, agent) in &full {
            if let Some(short) = without_ordinal(id) {
                agents.entry(short).or_insert(*agent);
            }
        }
        let workflows = all.claimed.workflows.iter().map(|id| (id.as_str(), None));
        let specs =
            all.workflows.iter().map(|written| (written.value.spec.workflow_id.as_str(), Some(&written.value.spec)));
        let teams = all.claimed.teams.iter().map(|id| (id.as_str(), None));
        let members = all.teams.iter().map(|written| (written.value.id().as_str(), Some(written.value.spec())));
        Self { agents, workflows: workflows.chain(specs).collect(), teams: teams.chain(members).collect() }
    }

    fn agent(&self, id: &AgentId) -> Lookup<'a, Agent> {
        lookup(&self.agents, id.as_str())
    }
}

fn lookup<'a, T>(all: &BTreeMap<&str, Option<&'a T>>, id: &str) -> Lookup<'a, T> {
    match all.get(id) {
        Some(Some(found)) => Lookup::Found(found),
        Some(None) => Lookup::Unreadable,
        None => Lookup::Missing,
    }
}

/// A hint as the `wanted` of a problem: `did you mean `x`?`, or nothing.
fn hint<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    crate::problem::did_you_mean(found, known).map(crate::decode::trimmed).unwrap_or_default()
}
