//! Looking things up.

use greenroom_protocol::{AgentId, ErrorCode, TeamId, WorkflowId};
use serde_json::json;

use super::{Catalogue, CatalogueParts, without_ordinal};
use crate::agent::Agent;
use crate::team::Team;

fn agent(id: &str, friends: &[&str]) -> Agent {
    let spec = serde_json::from_value(json!({
        "agent_id": id, "name": "X", "category": "c", "description": "d", "version": "1",
        "outputs": [{ "name": "o", "type": "text" }], "implementation": { "runtime": "llm" },
        "collaboration": { "can_work_with": friends }
    }));
    Agent::new(spec.unwrap()).unwrap()
}

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

fn catalogue() -> Catalogue {
    let team = json!({ "team_id": "t", "name": "T", "agents": ["writer", "lone"] });
    Catalogue::new(CatalogueParts {
        agents: vec![
            agent("writer_002", &[]),
            agent("writer_001", &["reader"]),
            agent("reader_001", &[]),
            agent("lone", &[]),
            agent("lone_001", &[]),
        ],
        teams: vec![Team::new(serde_json::from_value(team).unwrap())],
        ..CatalogueParts::default()
    })
}

#[test]
fn an_ordinal_is_three_digits_after_a_name() {
    assert_eq!(without_ordinal("executive_summary_agent_001"), Some("executive_summary_agent"));
    for plain in ["agent", "agent_01", "agent_0001", "agent_abc", "_001", "agent001", "agent_٠٠١"] {
        assert_eq!(without_ordinal(plain), None, "{plain}");
    }
}

#[test]
fn a_name_without_ordinal_resolves_to_an_exact_id_or_the_lowest_ordinal() {
    let catalogue = catalogue();
    let found = |text: &str| catalogue.agent(&id(text)).map(|agent| agent.id().to_string());
    assert_eq!(found("writer").as_deref(), Some("writer_001"));
    assert_eq!(found("writer_002").as_deref(), Some("writer_002"));
    assert_eq!(found("lone").as_deref(), Some("lone"));
    assert_eq!(found("writer_003"), None);
}

#[test]
fn an_unknown_id_has_a_suggestion() {
    let catalogue = catalogue();
    let cause = catalogue.require_agent(&id("writter")).unwrap_err();
    assert_eq!(
        (cause.code, cause.message.as_str()),
        (ErrorCode::UnknownAgent, "there is no agent `writter`, did you mean `writer`?")
    );
    assert_eq!(
        catalogue.require_workflow(&WorkflowId::new("w").unwrap()).unwrap_err().code,
        ErrorCode::UnknownWorkflow
    );
    assert_eq!(catalogue.require_team(&TeamId::new("u").unwrap()).unwrap_err().code, ErrorCode::UnknownTeam);
}

#[test]
fn one_of_two_agents_lists_the_other_as_a_collaborator() {
    let catalogue = catalogue();
    assert!(catalogue.may_work_with(&id("writer"), &id("reader_001")));
    assert!(catalogue.may_work_with(&id("reader"), &id("writer_001")));
    assert!(!catalogue.may_work_with(&id("writer_002"), &id("reader")));
    assert!(!catalogue.may_work_with(&id("lone"), &id("lone")));
    assert!(!catalogue.may_work_with(&id("nobody"), &id("reader")));
}

#[test]
fn a_member_is_the_agent_that_the_team_names() {
    let catalogue = catalogue();
    let team = catalogue.team(&TeamId::new("t").unwrap()).unwrap();
    assert!(catalogue.is_member(team, &id("writer_001")) && catalogue.is_member(team, &id("writer")));
    assert!(!catalogue.is_member(team, &id("writer_002")));
    assert!(!catalogue.is_member(team, &id("reader")));
}
