//! The folder `catalogue`: fourteen categories of fifty agents each, which a host loads with `GREENROOM_DEFINITIONS`. They
//! are not embedded yet.

use std::sync::Arc;

use greenroom_definitions::expectation::failures;
use greenroom_definitions::similarity::{ComparedText, most_similar};
use greenroom_definitions::statistics::Statistics;
use greenroom_definitions::{Catalogue, Source, load};
use greenroom_protocol::Values;

use crate::folder::known_names;
use crate::shipped::home;

fn extended() -> Arc<Catalogue> {
    let loaded = load(&Source::Directory(home().join("../catalogue")), &known_names());
    assert!(loaded.report.problems().is_empty(), "{}", loaded.report);
    loaded.catalogue.unwrap()
}

#[test]
fn fourteen_categories_have_fifty_agents_each_whose_texts_differ_and_whose_examples_assert() {
    let catalogue = extended();
    let categories = Statistics::new(&catalogue).categories;
    assert_eq!(categories.len(), 14);
    assert!(categories.values().all(|count| *count == 50), "{categories:?}");
    for text in [ComparedText::SystemPrompt, ComparedText::Description] {
        let pairs = most_similar(&catalogue, text, 10);
        assert!(pairs.first().is_none_or(|pair| pair.similarity < text.limit()), "{text:?}: {pairs:#?}");
    }
    for agent in catalogue.agents() {
        for (number, example) in agent.spec().examples.iter().enumerate() {
            let is_asserted = !example.expect.is_empty() && example.expect.fails().is_none();
            let holds = is_asserted && failures(&example.expect, Ok(&Values::new())).is_empty();
            assert!(!holds, "example {} of {} holds for an empty answer", number + 1, agent.id());
        }
    }
}

#[test]
fn every_agent_is_reached_by_a_team_or_a_workflow_and_every_collaboration_is_mutual() {
    let statistics = Statistics::new(&extended());
    assert!(statistics.unreached.is_empty(), "{:?}", statistics.unreached);
    assert!(statistics.one_way_edges.is_empty(), "{:?}", statistics.one_way_edges);
    assert!(statistics.without_assertions.is_empty(), "{:?}", statistics.without_assertions);
}
