//! The shipped definitions work together: agents that list each other share a team or a workflow, and a workflow of a
//! team hands results from one member to another. Each example is about its own agent: it does not hold for the answer of
//! a colleague.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_definitions::agent::Example;
use greenroom_definitions::expectation::failures;
use greenroom_definitions::statistics::{CollaborationEdge, edges};
use greenroom_definitions::workflow::StepSpec;
use greenroom_definitions::{Agent, Catalogue, Team, Workflow};
use greenroom_protocol::{AgentId, CategoryId, Json, StepId, Values};
use serde_json::json;

use crate::shipped::catalogue;

/// The share of the shipped workflows that a team runs, at least, in percent.
const TEAM_WORKFLOWS_PERCENT_MIN: usize = 80;
/// Workflows of each category, and those that call agents of several, at least.
const CATEGORY_WORKFLOWS_MIN: usize = 3;
const WORKFLOWS_ACROSS_MIN: usize = 10;
const TEAMS_MIN: usize = 28;
/// Maximum nesting of workflows.
const DEPTH_MAX: usize = 8;

/// The agents that a step calls, itself or by a workflow.
fn agents_of(catalogue: &Catalogue, step: &StepSpec, depth: usize) -> BTreeSet<AgentId> {
    let agent = step.agent.as_ref().and_then(|agent| catalogue.full_agent_id(agent)).cloned();
    let inner = step.workflow.as_ref().filter(|_| depth < DEPTH_MAX).and_then(|id| catalogue.workflow(id));
    let inner = inner.into_iter().flat_map(|workflow| &workflow.spec().steps);
    agent.into_iter().chain(inner.flat_map(|step| agents_of(catalogue, step, depth + 1))).collect()
}

/// The steps of a workflow whose outputs a step reads.
fn read_steps<'w>(workflow: &'w Workflow, step: &StepSpec) -> Vec<&'w StepSpec> {
    let items = step.for_each.as_ref().map(|for_each| &for_each.items);
    let text = json!([step.inputs, items, step.when]).to_string();
    let is_read = |id: &StepId| text.contains(&format!("steps.{id}."));
    workflow.spec().steps.iter().filter(|other| is_read(&other.id)).collect()
}

/// True if a member of the team reads what another member has returned.
fn is_teamwork(catalogue: &Catalogue, team: &Team, workflow: &Workflow, depth: usize) -> bool {
    let members = |step: &StepSpec| -> BTreeSet<AgentId> {
        agents_of(catalogue, step, 0).into_iter().filter(|agent| catalogue.is_member(team, agent)).collect()
    };
    workflow.spec().steps.iter().any(|step| {
        let readers = members(step);
        let is_handed_on = !readers.is_empty()
            && read_steps(workflow, step).into_iter().any(|other| {
                let providers = members(other);
                !providers.is_empty() && providers != readers
            });
        let inner = step.workflow.as_ref().filter(|_| depth < DEPTH_MAX).and_then(|id| catalogue.workflow(id));
        is_handed_on || inner.is_some_and(|inner| is_teamwork(catalogue, team, inner, depth + 1))
    })
}

/// The agents of each team, and those that each workflow calls.
fn groups(catalogue: &Catalogue) -> Vec<BTreeSet<AgentId>> {
    let full = |id: &AgentId| catalogue.full_agent_id(id).cloned();
    let teams = catalogue.teams().map(|team| team.spec().agents.iter().filter_map(full).collect::<BTreeSet<_>>());
    let called = catalogue.workflows().map(|workflow| {
        workflow.spec().steps.iter().flat_map(|step| agents_of(catalogue, step, 0)).collect::<BTreeSet<_>>()
    });
    teams.chain(called).collect()
}

#[test]
fn agents_that_list_each_other_share_a_team_or_a_workflow() {
    let catalogue = catalogue();
    let groups = groups(&catalogue);
    let is_used = |one: &CollaborationEdge| {
        groups.iter().any(|group| group.contains(&one.edge.from) && group.contains(&one.edge.to))
    };
    let all = edges(&catalogue);
    assert!(all.len() >= catalogue.agent_count(), "{} collaborations", all.len());
    let one_way: Vec<_> = all.iter().filter(|edge| !edge.is_mutual).collect();
    assert!(one_way.is_empty(), "only one of two agents lists the other: {one_way:#?}");
    let unused: Vec<_> = all.iter().filter(|edge| !is_used(edge)).collect();
    assert!(unused.is_empty(), "these never meet: {unused:#?}");
}

#[test]
fn the_workflows_of_a_team_hand_results_from_one_member_to_another() {
    let catalogue = catalogue();
    let mut counted = BTreeSet::new();
    let mut idle = Vec::new();
    for team in catalogue.teams() {
        for workflow in team.spec().workflows.iter().filter_map(|id| catalogue.workflow(id)) {
            if is_teamwork(&catalogue, team, workflow, 0) {
                counted.insert(workflow.id());
            } else {
                idle.push(format!("no member of {} uses what another provides in {}", team.id(), workflow.id()));
            }
        }
    }
    assert!(idle.is_empty(), "{idle:#?}");
    let percent = counted.len() * 100 / catalogue.workflow_count();
    assert!(percent >= TEAM_WORKFLOWS_PERCENT_MIN, "a team runs {percent} % of the workflows");
}

/// How many agents of each category a workflow calls.
fn categories_of<'c>(catalogue: &'c Catalogue, workflow: &Workflow) -> BTreeMap<&'c CategoryId, usize> {
    let called: BTreeSet<AgentId> =
        workflow.spec().steps.iter().flat_map(|step| agents_of(catalogue, step, 0)).collect();
    let mut categories = BTreeMap::new();
    for agent in called.iter().filter_map(|id| catalogue.agent(id)) {
        *categories.entry(&agent.spec().category).or_default() += 1;
    }
    categories
}

#[test]
fn each_category_has_workflows_and_some_cross_categories() {
    let catalogue = catalogue();
    let mut own: BTreeMap<&CategoryId, usize> = catalogue.categories().map(|category| (&category.id, 0)).collect();
    let mut across = 0;
    for workflow in catalogue.workflows() {
        let categories = categories_of(&catalogue, workflow);
        across += usize::from(categories.len() > 1);
        let main = categories.into_iter().max_by_key(|(_, count)| *count);
        *own.entry(main.unwrap().0).or_default() += 1;
    }
    assert!(own.values().all(|count| *count >= CATEGORY_WORKFLOWS_MIN), "{own:?}");
    assert!(across >= WORKFLOWS_ACROSS_MIN, "{across} workflows call agents of several categories");
    assert!(catalogue.team_count() >= TEAMS_MIN, "{} teams", catalogue.team_count());
}

/// The outputs of an agent, as far as its own examples state them.
fn stated_outputs(agent: &Agent) -> Vec<Values> {
    let examples = agent.spec().examples.iter().filter(|example| example.expect.fails().is_none());
    examples.map(|example| output_values(agent, example)).collect()
}

fn output_values(agent: &Agent, example: &Example) -> Values {
    let mut stated: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for assertion in example.expect.assertions() {
        let Some(path) = assertion.path else { continue };
        let name = path.split(['.', '[']).next().unwrap_or(&path).to_owned();
        let values = assertion.equals.into_iter().chain(assertion.contains.into_iter().map(Json::from));
        stated.entry(name).or_default().extend(values);
    }
    let value = |name: &String| match stated.get(name).map(Vec::as_slice) {
        None | Some([]) => json!("Nothing is stated."),
        Some([value]) => value.clone(),
        Some(values) => json!(values),
    };
    agent.spec().outputs.iter().map(|field| (field.name.clone(), value(&field.name))).collect()
}

#[test]
fn an_example_fails_for_the_outputs_of_another_agent_of_its_category() {
    let catalogue = catalogue();
    let mut categories: BTreeMap<&CategoryId, Vec<(&AgentId, Vec<Values>)>> = BTreeMap::new();
    for agent in catalogue.agents() {
        categories.entry(&agent.spec().category).or_default().push((agent.id(), stated_outputs(agent)));
    }
    let mut found = Vec::new();
    for agent in catalogue.agents() {
        let others = || categories[&agent.spec().category].iter().filter(|(other, _)| *other != agent.id());
        for (number, example) in agent.spec().examples.iter().enumerate() {
            if example.expect.is_empty() || example.expect.fails().is_some() {
                continue;
            }
            let holds = others()
                .filter(|(_, stated)| stated.iter().any(|outputs| failures(&example.expect, Ok(outputs)).is_empty()));
            found.extend(holds.map(|(other, _)| format!("example {} of {} holds for {other}", number + 1, agent.id())));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
