//! The shipped catalogue is worth shipping: no two agents do one job, examples fail where they should, and the index is
//! that of the definitions.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_definitions::agent::{RuntimeKind, ToolRef};
use greenroom_definitions::expectation::failures;
use greenroom_definitions::graph::{Graph, NodeKind, to_svg};
use greenroom_definitions::index_page::{cost_table, index_page};
use greenroom_definitions::similarity::{ComparedText, most_similar};
use greenroom_definitions::statistics::{Statistics, expensive};
use greenroom_definitions::{Agent, FieldType};
use greenroom_protocol::Values;
use serde_json::json;

use crate::shipped::{catalogue, home, same, shipped};

/// Categories of the shipped catalogue, and the agents of each.
const CATEGORIES: usize = 14;
const AGENTS_OF_CATEGORY: usize = 50;
/// Agents with a native tool or handler, at least.
const NATIVE_MIN: usize = 60;
/// Agents whose call may cost more than a cent: fewer than the 100 that are promised, so that a change of a prompt keeps
/// the promise.
const EXPENSIVE_MAX: usize = 60;

#[test]
fn no_two_agents_share_their_texts() {
    let catalogue = catalogue();
    for text in [ComparedText::SystemPrompt, ComparedText::Description] {
        let pairs = most_similar(&catalogue, text, 10);
        for pair in &pairs {
            println!("{text:?} {:.3} {} · {}", pair.similarity, pair.one, pair.other);
        }
        let similar = pairs.first().map_or(0.0, |pair| pair.similarity);
        assert!(similar < text.limit(), "{text:?}: {pairs:#?}");
    }
}

/// The outputs of an agent that has found nothing and decided nothing: those with an enumeration are absent, and all others
/// are empty.
fn blank_outputs(agent: &Agent) -> Values {
    let undecided = agent.spec().outputs.iter().filter(|field| field.value_type.one_of.is_empty());
    let blank = |kind: FieldType| match kind {
        FieldType::Text | FieldType::String | FieldType::File => json!(""),
        FieldType::Integer | FieldType::Number => json!(0),
        FieldType::Boolean => json!(false),
        FieldType::Array => json!([]),
        FieldType::Object => json!({}),
    };
    undecided.map(|field| (field.name.clone(), blank(field.value_type.kind))).collect()
}

#[test]
fn assertions_fail_for_empty_outputs() {
    let catalogue = catalogue();
    let mut found = Vec::new();
    for agent in catalogue.agents() {
        let blank = blank_outputs(agent);
        for (number, example) in agent.spec().examples.iter().enumerate() {
            if example.expect.is_empty() || example.expect.fails().is_some() {
                continue;
            }
            let holds = |outputs: &Values| failures(&example.expect, Ok(outputs)).is_empty();
            if holds(&Values::new()) || holds(&blank) {
                found.push(format!("example {} of {} holds for empty outputs", number + 1, agent.id()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_index_in_the_tree_is_that_of_the_definitions() {
    same(&home().join("../docs/catalogue/INDEX.md"), &index_page(&catalogue()));
}

#[test]
fn no_two_agents_have_names_of_the_same_words() {
    let catalogue = catalogue();
    let mut found: BTreeMap<BTreeSet<String>, Vec<String>> = BTreeMap::new();
    for agent in catalogue.agents() {
        let words = agent.spec().name.split_whitespace().map(str::to_lowercase).collect();
        found.entry(words).or_default().push(agent.id().to_string());
    }
    let same: Vec<_> = found.into_values().filter(|agents| agents.len() > 1).collect();
    assert!(same.is_empty(), "{same:?}");
}

#[test]
fn agents_compute_and_parse_where_a_model_would_guess() {
    let computes = |agent: &Agent| {
        let spec = agent.spec();
        let calls_tool = spec.tools.iter().any(|tool| matches!(tool.tool, ToolRef::Native(_)));
        calls_tool || spec.implementation.runtime == RuntimeKind::Native
    };
    let count = catalogue().agents().filter(|agent| computes(agent)).count();
    assert!(count >= NATIVE_MIN, "{count} agents compute");
}

#[test]
fn fourteen_categories_have_fifty_agents_each_that_are_used_and_whose_examples_assert() {
    let statistics = Statistics::new(&catalogue());
    assert_eq!(statistics.categories.len(), CATEGORIES);
    let is_complete = statistics.categories.values().all(|count| *count == AGENTS_OF_CATEGORY);
    assert!(is_complete, "{:?}", statistics.categories);
    assert_eq!(statistics.totals.agents, CATEGORIES * AGENTS_OF_CATEGORY);
    assert!(statistics.unreached.is_empty(), "no team and no workflow uses {:?}", statistics.unreached);
    assert!(statistics.without_assertions.is_empty(), "{:?}", statistics.without_assertions);
}

#[test]
fn a_call_costs_a_cent_and_the_page_lists_the_agents_whose_call_may_cost_more() {
    let catalogue = catalogue();
    let expensive = expensive(&catalogue);
    assert!(expensive.len() <= EXPENSIVE_MAX, "{}: {expensive:?}", expensive.len());
    let page = home().join("../docs/cost.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (head, rest) = text.split_once("\n## Agents above $0.01\n\n").unwrap();
    let sentence = rest.lines().next().unwrap();
    same(&page, &format!("{head}\n## Agents above $0.01\n\n{sentence}\n\n{}", cost_table(&catalogue)));
}

#[test]
fn teams_and_workflows_are_in_files_with_their_ids() {
    let catalogue = catalogue();
    let exists = |folder: &str, id: &str| shipped().join(folder).join(format!("{id}.yaml")).is_file();
    assert!(catalogue.teams().all(|team| exists("teams", team.id().as_str())));
    assert!(catalogue.workflows().all(|workflow| exists("workflows", workflow.id().as_str())));
}

#[test]
fn the_graph_has_every_definition_and_an_edge_for_each_step() {
    let catalogue = catalogue();
    let graph = Graph::new(&catalogue, None);
    let count = |kind: NodeKind| graph.nodes.keys().filter(|(one, _)| *one == kind).count();
    assert_eq!(count(NodeKind::Agent), catalogue.agent_count());
    assert_eq!(count(NodeKind::Team), catalogue.team_count());
    assert_eq!(count(NodeKind::Workflow), catalogue.workflow_count());
    let dot = graph.to_dot();
    assert!(dot.contains("\"workflow:generate_quarterly_report\" -> \"data_collection_agent\" [color=blue];"), "{dot}");
    let svg = to_svg(&graph);
    assert_eq!(svg.matches("<title>").count(), graph.nodes.len());
    assert_eq!(svg.matches("<path").count(), graph.edges.len());
    let part = Graph::new(&catalogue, Some("sales_marketing"));
    assert!(part.nodes.len() < graph.nodes.len() && !part.nodes.is_empty());
}

#[test]
fn the_statistics_count_what_is_there() {
    let catalogue = catalogue();
    let statistics = Statistics::new(&catalogue);
    assert_eq!(statistics.totals.agents, catalogue.agent_count());
    assert_eq!(statistics.categories.values().sum::<usize>(), catalogue.agent_count());
    assert_eq!(statistics.totals.quarantined, 0);
}
