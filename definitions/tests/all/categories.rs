//! Categories in the form of the client's document: with the number and the list of their agents, which are compared
//! with the folder.

use crate::folder::{Folder, agent};

const DOCUMENT: &str = "categories:\n  - name: \"General Business Operations\"\n    id: \"business_ops\"\n    agent_count: 2\n    \
                        agents:\n      - executive_summary_agent\n      - meeting_notes_agent\n      # ... 47 more\n";

fn folder(categories: &str) -> Folder {
    Folder::new()
        .with("categories.yaml", categories)
        .with("agents/a.yaml", agent("executive_summary_agent_001"))
        .with("agents/b.yaml", agent("meeting_notes_agent"))
}

#[test]
fn the_form_of_the_document_loads() {
    let folder = folder(DOCUMENT);
    assert_eq!(folder.problems(), Vec::<String>::new());
    let catalogue = folder.load().catalogue.unwrap();
    let category = catalogue.categories().next().unwrap();
    assert_eq!((category.agent_count, category.agents.len(), category.description.as_str()), (Some(2), 2, ""));
}

#[test]
fn a_count_that_differs_from_the_folder_is_a_warning() {
    assert_eq!(
        folder(&DOCUMENT.replace("agent_count: 2", "agent_count: 50")).problems(),
        [
            "categories.yaml:4:18: warning[invalid_value]: the category `business_ops` declares 50 agents, and 2 are in it; \
             correct the count, or add the agents"
        ]
    );
    // The agent of an invalid file counts.
    let more = folder(&DOCUMENT.replace("agent_count: 2", "agent_count: 3"))
        .with("agents/c.yaml", agent("c").replace("version: \"1.0.0\"\n", ""));
    let found = more.problems();
    assert!(found.iter().any(|problem| problem.contains("the list omits 1 agents of the category: c")), "{found:?}");
    assert!(!found.iter().any(|problem| problem.contains("declares")), "{found:?}");
}

#[test]
fn a_listed_agent_exists_once_and_in_the_category() {
    let text = DOCUMENT
        .replace("      # ... 47 more\n", "      - meeting_note_agent\n      - meeting_notes_agent\n      - other\n")
        + "  - { id: else, name: Else, agent_count: 1 }\n";
    let folder = folder(&text).with("agents/o.yaml", agent("other").replace("business_ops", "else"));
    assert_eq!(
        folder.problems(),
        [
            "categories.yaml:8:9: error[unknown_reference]: there is no agent `meeting_note_agent`; did you mean \
             `meeting_notes_agent`?",
            "categories.yaml:9:9: error[duplicate_id]: `meeting_notes_agent` is duplicated",
            "categories.yaml:10:9: error[invalid_value]: the agent `other` is in the category `else`; remove it here, or \
             change its category to `business_ops`",
        ]
    );
}

#[test]
fn the_structure_of_a_category_is_checked() {
    let found = folder(&DOCUMENT.replace("agent_count: 2", "agent_count: many")).problems();
    assert_eq!(
        found,
        ["categories.yaml:4:18: error[wrong_type]: found the text \"many\"; expected a whole number, 0 or more"]
    );
    let found = folder(&DOCUMENT.replace("agent_count", "agents_count")).problems();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("did you mean `agent_count`?"), "{found:?}");
}
