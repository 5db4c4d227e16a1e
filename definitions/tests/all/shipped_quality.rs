//! The shipped catalogue is worth shipping: no two agents do one job, examples fail where they should, and the index is
//! that of the definitions.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_definitions::expectation::failures;
use greenroom_definitions::graph::{Graph, NodeKind, to_svg};
use greenroom_definitions::index_page::{cost_table, index_page};
use greenroom_definitions::similarity::{ComparedText, most_similar};
use greenroom_definitions::statistics::{Statistics, expensive};
use greenroom_protocol::{AgentId, CategoryId, Values};

use crate::shipped::{catalogue, home, same, shipped};

/// Agents of a category of the shipped catalogue.
const AGENTS_OF_CATEGORY: usize = 50;
/// Agents whose call may cost more than a cent.
const EXPENSIVE_MAX: usize = 100;

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

#[test]
fn assertions_fail_for_empty_outputs() {
    let catalogue = catalogue();
    for agent in catalogue.agents() {
        for (number, example) in agent.spec().examples.iter().enumerate() {
            if example.expect.is_empty() || example.expect.fails().is_some() {
                continue;
            }
            let found = failures(&example.expect, Ok(&Values::new()));
            assert!(!found.is_empty(), "example {} of {} holds for an empty answer", number + 1, agent.id());
        }
    }
}

#[test]
fn the_index_in_the_tree_is_that_of_the_definitions() {
    same(&home().join("../docs/catalogue/INDEX.md"), &index_page(&catalogue()));
}

/// Agents with the same words in their names, and why they do different jobs.
const SAME_WORDS: &[(&str, &str, &str)] = &[(
    "cohort_retention_agent",
    "retention_cohort_agent",
    "the one reads a table of counts for unfinished cells and the age of loss, the other decides whether a product is retained",
)];

#[test]
fn no_two_agents_have_names_of_the_same_words() {
    let catalogue = catalogue();
    let mut found: BTreeMap<BTreeSet<String>, Vec<String>> = BTreeMap::new();
    for agent in catalogue.agents() {
        let words = agent.spec().name.split_whitespace().map(str::to_lowercase).collect();
        found.entry(words).or_default().push(agent.id().to_string());
    }
    let explained: Vec<Vec<&str>> = SAME_WORDS.iter().map(|(one, other, _)| vec![*one, *other]).collect();
    let same: Vec<_> = found.into_values().filter(|agents| agents.len() > 1).collect();
    let unexplained: Vec<_> = same.iter().filter(|agents| !explained.iter().any(|pair| **agents == *pair)).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
    assert_eq!(same.len(), SAME_WORDS.len(), "an explanation has no agents any more");
}

#[test]
fn collaborations_are_mutual_and_complete_categories_are_used() {
    let catalogue = catalogue();
    let statistics = Statistics::new(&catalogue);
    assert!(statistics.one_way_edges.is_empty(), "{:?}", statistics.one_way_edges);
    let is_complete = |category: &CategoryId| statistics.categories.get(category.as_str()) == Some(&AGENTS_OF_CATEGORY);
    let complete = catalogue.categories().filter(|category| is_complete(&category.id)).count();
    assert!(complete >= 13, "{:?}", statistics.categories);
    assert!(statistics.categories.values().all(|count| *count <= AGENTS_OF_CATEGORY), "{:?}", statistics.categories);
    let unreached: Vec<&AgentId> = statistics
        .unreached
        .iter()
        .filter(|id| catalogue.agent(id).is_some_and(|agent| is_complete(&agent.spec().category)))
        .collect();
    assert!(unreached.is_empty(), "no team and no workflow uses {unreached:?}");
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
    assert_eq!(statistics.categories.len(), 14);
    assert_eq!(statistics.totals.quarantined, 0);
    assert!(statistics.unreached.iter().all(|id| catalogue.agent(id).is_some()));
}
