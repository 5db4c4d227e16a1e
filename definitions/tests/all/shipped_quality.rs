//! The shipped catalogue is worth shipping: no two agents do one job, examples fail where they should, and the index is
//! that of the definitions.

use greenroom_definitions::expectation::failures;
use greenroom_definitions::graph::{Graph, NodeKind, to_svg};
use greenroom_definitions::index_page::index_page;
use greenroom_definitions::similarity::{ComparedText, most_similar};
use greenroom_definitions::statistics::Statistics;
use greenroom_protocol::Values;

use crate::shipped::{catalogue, home, same, shipped};

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
