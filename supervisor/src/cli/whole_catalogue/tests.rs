//! Tests of the commands about the whole catalogue, on the shipped one.

use std::sync::Arc;

use greenroom_definitions::Catalogue;
use greenroom_definitions::statistics::Statistics;
use greenroom_registry::catalogue_search::search;

use super::{connections, entries, statistics};

fn shipped() -> Arc<Catalogue> {
    let handlers = greenroom_runtimes::handlers();
    let tools = greenroom_runtimes::tools();
    let used = greenroom_definitions::embedded::used_names().unwrap();
    let known = greenroom_definitions::KnownNames::new(
        used.policies.iter().map(String::as_str),
        handlers.iter().map(|handler| handler.name()),
        tools.iter().map(|tool| tool.name()),
        ["anthropic", "openai", "offline"],
    );
    let loaded = greenroom_definitions::load(&greenroom_definitions::Source::Embedded, &known);
    loaded.catalogue.unwrap_or_else(|| panic!("{}", loaded.report))
}

fn found(query: &str) -> Vec<String> {
    search(&entries(&shipped()), query, 5).unwrap().into_iter().map(|hit| hit.id).collect()
}

#[test]
fn definitions_are_found_by_names_capabilities_and_members() {
    assert_eq!(found("executive summary").first().map(String::as_str), Some("executive_summary_agent_001"));
    assert!(found("minutes transcript").contains(&"meeting_notes_agent".to_owned()));
    assert!(found("quarterly report").contains(&"generate_quarterly_report".to_owned()));
    assert!(found("personalization").contains(&"outreach_email_agent".to_owned()));
}

#[test]
fn the_statistics_name_what_an_author_has_to_do() {
    let text = statistics::format(&Statistics::new(&shipped()));
    for part in
        ["agents of each category", "data_analytics", "most similar system prompts", "most similar descriptions"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_definition_is_connected_with_its_team_and_its_workflow() {
    let connected = serde_json::to_string(&connections(&shipped(), "executive_summary_agent_001")).unwrap();
    assert!(connected.contains("team report_team") && connected.contains("workflow generate_quarterly_report"));
}
