//! The compiled form is read as it was written, and a change of any part of it is found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use greenroom_protocol::{AgentId, Cause, ErrorCode};
use serde_json::json;

use super::{Compiled, CompiledText};
use crate::agent::Agent;
use crate::capability::Capability;
use crate::catalogue::{Catalogue, CatalogueParts};
use crate::kind::DefinitionKind;
use crate::known_names::KnownNames;
use crate::team::Team;

fn agent(id: &str) -> Agent {
    let spec = json!({
        "agent_id": id, "name": "Writer", "category": "business_ops", "description": "writes", "version": "1",
        "outputs": [{ "name": "text", "type": "text" }],
        "policies": ["require_authentication"],
        "implementation": { "runtime": "native", "handler": "native.test" },
    });
    Agent::new(serde_json::from_value(spec).unwrap()).unwrap()
}

fn parts() -> CatalogueParts {
    let team = json!({ "team_id": "crew", "name": "Crew", "agents": ["writer"] });
    let file = |name: &str| -> Arc<Path> { Arc::from(PathBuf::from(name)) };
    CatalogueParts {
        capabilities: vec![
            Capability {
                id: "pii_access".into(),
                description: "Reads personal data".into(),
                policy: Some(crate::capability::CapabilityPolicy::PiiAccessOk),
            },
            Capability { id: "writing".into(), description: "Writes".into(), policy: None },
        ],
        agents: vec![agent("writer_001"), agent("reader")],
        teams: vec![Team::new(serde_json::from_value(team).unwrap())],
        files: [(file("agents/business_ops/a writer.yaml"), (DefinitionKind::Agent, "writer_001".into()))].into(),
        ..CatalogueParts::default()
    }
}

fn names() -> KnownNames {
    KnownNames::new(["require_authentication"], ["native.test"], ["calculator"], ["anthropic"])
}

fn written() -> CompiledText {
    CompiledText::new(&Catalogue::new(parts()).to_stored(), &names(), 7)
}

fn read(text: CompiledText) -> Result<Compiled, Cause> {
    Compiled::read(text.index.leak(), text.bodies.leak())
}

#[test]
fn what_is_read_is_what_was_written() {
    let expected = Catalogue::new(parts());
    let compiled = read(written()).unwrap();
    assert_eq!((compiled.files(), compiled.names()), (7, &names()));
    let catalogue = compiled.into_catalogue().unwrap();
    assert_eq!(catalogue.hash(), expected.hash());
    assert_eq!(catalogue.files(), expected.files());
    assert_eq!((catalogue.agent_count(), catalogue.team_count(), catalogue.workflow_count()), (2, 1, 0));
    for (one, other) in catalogue.agents().zip(expected.agents()) {
        assert_eq!((one.spec(), one.body()), (other.spec(), other.body()));
    }
    assert_eq!(catalogue.agent(&AgentId::new("writer").unwrap()).unwrap().id().as_str(), "writer_001");
    assert_eq!(catalogue.to_stored(), expected.to_stored());
    assert!(catalogue.damages().is_empty());
}

#[test]
fn a_host_that_lacks_a_name_needs_the_checks() {
    let compiled = read(written()).unwrap();
    let mut host = names();
    host.policies.insert("another".into());
    assert!(compiled.is_valid_for(&host));
    assert!(compiled.is_valid_for(&host.clone().with_policy_capabilities(["pii_access"])));
    assert!(!compiled.is_valid_for(&host.clone().with_policy_capabilities([])));
    assert!(!compiled.is_valid_for(&host.clone().with_policy_capabilities(["pii_access", "writing"])));
    for lacking in [
        KnownNames { policies: Default::default(), ..host.clone() },
        KnownNames { handlers: Default::default(), ..host.clone() },
        KnownNames { tools: Default::default(), ..host.clone() },
        KnownNames { providers: Default::default(), ..host },
    ] {
        assert!(!compiled.is_valid_for(&lacking), "{lacking:?}");
    }
}

#[test]
fn a_damaged_index_is_an_error_with_a_code() {
    let text = written();
    let damaged = [
        CompiledText { index: String::new(), bodies: String::new() },
        CompiledText { index: text.index.replacen("greenroom", "redroom", 1), ..text.clone() },
        CompiledText { index: text.index.replace("files 7", "files 8"), ..text.clone() },
        CompiledText { bodies: text.bodies.replacen('\n', "", 1), ..text.clone() },
        CompiledText { bodies: format!("{}more", text.bodies), ..text.clone() },
        CompiledText { bodies: text.bodies[..text.bodies.len() / 2].to_owned(), ..text.clone() },
        CompiledText { bodies: text.bodies.replace("Reads personal", "Heads personal"), ..text },
    ];
    for (at, text) in damaged.into_iter().enumerate() {
        let cause = read(text).err().unwrap_or_else(|| panic!("damage {at} was not found"));
        assert_eq!(cause.code, ErrorCode::InvalidDefinition);
        assert!(cause.message.contains("damaged"), "{}", cause.message);
    }
}

#[test]
fn a_damaged_definition_takes_nothing_else_out_of_service() {
    let text = written();
    let bodies = text.bodies.replacen(
        "\"agent_id\":\"reader\",\"name\":\"Writer\"",
        "\"agent_id\":\"reader\",\"name\":\"Waiter\"",
        1,
    );
    assert_ne!(bodies, text.bodies);
    let catalogue = read(CompiledText { bodies, ..text }).unwrap().into_catalogue().unwrap();
    let id = |id: &str| AgentId::new(id).unwrap();
    assert_eq!(catalogue.require_agent(&id("reader")).unwrap_err().code, ErrorCode::InvalidDefinition);
    assert!(catalogue.agent(&id("reader")).is_none());
    assert!(catalogue.require_agent(&id("writer")).is_ok());
    assert_eq!((catalogue.agents().count(), catalogue.damages().len()), (1, 1));
}
