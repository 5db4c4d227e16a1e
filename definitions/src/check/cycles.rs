//! Checks for cycles of workflows that start workflows and of agents that call agents as tools.
//! Cycles of steps are found when the workflow is compiled.

use std::collections::{BTreeMap, BTreeSet};

use super::index::{Index, Lookup};
use crate::agent::ToolRef;
use crate::definition_set::{DefinitionSet, Located};
use crate::plan::order;
use crate::problem::{Problem, ProblemKind};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet, index: &Index<'_>) -> Vec<Problem> {
    let mut starts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for definition in &all.workflows {
        let spec = &definition.value.spec;
        let inner = spec.steps.iter().filter_map(|step| step.workflow.as_ref().map(AsRef::as_ref));
        starts.entry(spec.workflow_id.as_str()).or_default().extend(inner);
    }
    let mut problems = cycle(&starts, |name| {
        let definition = all.workflows.iter().find(|definition| definition.value.spec.workflow_id.as_str() == name)?;
        Some(Box::new(move |text| problem(definition, "steps", text)))
    });

    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for definition in &all.agents {
        let tools = definition.value.spec().tools.iter().filter_map(|tool| match &tool.tool {
            ToolRef::Agent(id) => match index.agent(id) {
                Lookup::Found(agent) => Some(agent.id().as_str()),
                Lookup::Unreadable | Lookup::Missing => None,
            },
            ToolRef::Native(_) | ToolRef::Http(_) | ToolRef::Mcp { .. } => None,
        });
        uses.entry(definition.value.id().as_str()).or_default().extend(tools);
    }
    problems.extend(cycle(&uses, |name| {
        let definition = all.agents.iter().find(|definition| definition.value.id().as_str() == name)?;
        Some(Box::new(move |text| problem(definition, "tools", text)))
    }));
    problems
}

/// Creates a problem in the file of a definition.
type Locate<'a> = Box<dyn Fn(String) -> Problem + 'a>;

fn cycle<'a>(
    edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    locate: impl Fn(&str) -> Option<Locate<'a>>,
) -> Vec<Problem> {
    // An unknown name has no edges; the check of references reports it.
    let names: Vec<&str> = edges.keys().copied().collect();
    let known: BTreeMap<&str, BTreeSet<&str>> = edges
        .iter()
        .map(|(name, to)| (*name, to.iter().copied().filter(|one| edges.contains_key(one)).collect()))
        .collect();
    match order(&names, &known) {
        Ok(_) => Vec::new(),
        Err(cycle) => {
            let first = cycle.first().copied().unwrap_or_default();
            let text = format!("the definitions form a cycle: {} → {first}", cycle.join(" → "));
            locate(first).map(|locate| locate(text)).into_iter().collect()
        }
    }
}

fn problem<T>(definition: &Located<T>, member: &str, text: String) -> Problem {
    definition.error(&[PathSegment::Name(member)], ProblemKind::Cycle, text, "")
}
