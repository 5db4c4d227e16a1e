//! The folder `catalogue`: thirteen categories of fifty agents each, which a host loads with `GREENROOM_DEFINITIONS`. They
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
fn thirteen_categories_have_fifty_agents_each_whose_texts_differ_and_whose_examples_assert() {
    let catalogue = extended();
    let full = Statistics::new(&catalogue).categories.values().filter(|count| **count == 50).count();
    assert_eq!(full, 13);
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
