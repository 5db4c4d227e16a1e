//! An invalid file is quarantined with what needs it: every other definition remains in service.

use std::fs;

use greenroom_definitions::{Catalogue, DefinitionKind, LoadOutcome, load_after_restart, load_over};
use greenroom_protocol::{AgentId, Cause, ErrorCode, TeamId, WorkflowId};

use crate::folder::{Folder, agent, known_names};

const WORKFLOW: &str = "workflow_id: w\nname: W\nsteps:\n  - { id: a, agent: x }\n";
const OUTER: &str = "workflow_id: outer\nname: O\nsteps:\n  - { id: a, workflow: w }\n";
const TEAM: &str = "team_id: t\nname: T\nagents: [x, other]\n";

/// Two agents, a workflow, an outer workflow and a team that need the agent `x_001`, and one agent with it as a tool.
fn folder() -> Folder {
    let caller = agent("caller") + "tools: [\"agent:x\"]\ncollaboration: { can_work_with: [x] }\n";
    Folder::new()
        .with("agents/x.yaml", agent("x_001"))
        .with("agents/other.yaml", agent("other") + "collaboration: { can_work_with: [x] }\n")
        .with("agents/caller.yaml", caller)
        .with("workflows/w.yaml", WORKFLOW)
        .with("workflows/outer.yaml", OUTER)
        .with("teams/t.yaml", TEAM)
}

fn catalogue(folder: &Folder) -> std::sync::Arc<Catalogue> {
    folder.load().catalogue.unwrap()
}

fn reload(folder: &Folder, previous: &Catalogue) -> LoadOutcome {
    load_over(&folder.source(), &known_names(), Some(previous))
}

fn require_agent(catalogue: &Catalogue, id: &str) -> Result<String, Cause> {
    catalogue.require_agent(&AgentId::new(id).unwrap()).map(|agent| agent.spec().description.clone())
}

fn agent_error(catalogue: &Catalogue, id: &str) -> Cause {
    require_agent(catalogue, id).unwrap_err()
}

fn quarantined(catalogue: &Catalogue) -> Vec<(DefinitionKind, &str, bool)> {
    catalogue.quarantined().map(|one| (one.kind, one.id.as_str(), one.in_service.is_some())).collect()
}

#[test]
fn a_broken_agent_is_out_of_service_with_what_needs_it_and_nothing_else() {
    let folder = folder().with("agents/x.yaml", agent("x_001").replace("business_ops", "busines_ops"));
    let catalogue = catalogue(&folder);
    assert_eq!(
        quarantined(&catalogue),
        [
            (DefinitionKind::Agent, "caller", false),
            (DefinitionKind::Agent, "x_001", false),
            (DefinitionKind::Workflow, "outer", false),
            (DefinitionKind::Workflow, "w", false),
            (DefinitionKind::Team, "t", false),
        ]
    );
    // To work with another agent is only a permission.
    assert_eq!(require_agent(&catalogue, "other").unwrap(), "It does something");
    let cause = agent_error(&catalogue, "x");
    assert_eq!((cause.code, cause.code.exit_code()), (ErrorCode::InvalidDefinition, 2));
    assert_eq!(
        cause.message,
        "the agent `x_001` is out of service: agents/x.yaml:3:11: error[unknown_reference]: there is no category \
         `busines_ops`; did you mean `business_ops`?; `greenroom definitions check` lists every problem"
    );
    let cause = catalogue.require_workflow(&WorkflowId::new("outer").unwrap()).unwrap_err();
    for text in
        ["workflows/outer.yaml:4:24", "workflows/w.yaml:4:21", "the agent `x`", "agents/x.yaml:3:11", "busines_ops"]
    {
        assert!(cause.message.contains(text), "{text}: {}", cause.message);
    }
    let cause = catalogue.require_team(&TeamId::new("t").unwrap()).unwrap_err();
    assert!(
        cause.message.contains("teams/t.yaml:3:10") && cause.message.contains("agents/x.yaml:3:11"),
        "{}",
        cause.message
    );
    assert_eq!(agent_error(&catalogue, "gone").code, ErrorCode::UnknownAgent);
}

#[test]
fn a_file_that_cannot_be_parsed_or_read_is_quarantined_under_its_id_or_its_name() {
    for broken in ["agent_id: x_001\nname: [", "\0", "", "5", "agent_id: x_001\nversion: 1\n"] {
        let catalogue = catalogue(&folder().with("agents/x_001.yaml", broken).without("agents/x.yaml"));
        assert_eq!(agent_error(&catalogue, "x_001").code, ErrorCode::InvalidDefinition, "{broken:?}");
        assert_eq!(agent_error(&catalogue, "x").code, ErrorCode::InvalidDefinition, "{broken:?}");
        assert_eq!(catalogue.agent_count(), 1, "{broken:?}");
    }
}

#[test]
fn the_last_valid_version_remains_in_service_until_the_file_is_valid() {
    let folder = folder();
    let first = catalogue(&folder);
    assert_eq!(first.quarantined().len(), 0);
    let changed = agent("x_001").replace("It does something", "Changed");
    for broken in [changed.replace("category", "categori"), "x: [".to_owned(), String::new()] {
        let folder = folder.with_file("agents/x.yaml", &broken);
        let outcome = reload(folder, &first);
        let second = outcome.catalogue.unwrap();
        assert_eq!(quarantined(&second), [(DefinitionKind::Agent, "x_001", true)], "{broken:?}");
        assert_eq!(require_agent(&second, "x").unwrap(), "It does something");
        assert_eq!((second.agent_count(), second.workflow_count(), second.team_count()), (3, 2, 1));
        assert_ne!(first.hash(), second.hash(), "a quarantine changes the catalogue");
        assert!(outcome.report.to_string().contains("is in service in its last valid version: agents/x.yaml"));
        // It also survives a second reload.
        let third = reload(folder, &second).catalogue.unwrap();
        assert_eq!(third.hash(), second.hash());
    }
    let mended = reload(folder.with_file("agents/x.yaml", &changed), &first).catalogue.unwrap();
    assert_eq!((mended.quarantined().len(), require_agent(&mended, "x").unwrap()), (0, "Changed".to_owned()));
}

#[test]
fn a_removed_definition_is_not_in_service_and_what_needs_it_is_not_either() {
    let folder = folder().with("agents/free.yaml", agent("free"));
    let first = catalogue(&folder);
    fs::remove_file(folder.path().join("agents/x.yaml")).unwrap();
    let second = reload(&folder, &first).catalogue.unwrap();
    assert_eq!(agent_error(&second, "x").code, ErrorCode::UnknownAgent);
    let cause = second.require_workflow(&WorkflowId::new("w").unwrap()).unwrap_err();
    assert!(
        cause.message.contains("workflows/w.yaml:4:21: error[unknown_reference]: there is no agent `x`"),
        "{}",
        cause.message
    );
    assert!(second.workflow(&WorkflowId::new("outer").unwrap()).is_none());
    assert!(require_agent(&second, "free").is_ok());
    // A collaborator that does not exist is an error too, but the agent needs none.
    assert!(require_agent(&second, "other").is_ok());
    let other = second.quarantined().find(|one| one.id == "other").unwrap();
    assert!(other.in_service.is_some() && other.reason().contains("there is no agent `x`"), "{other}");
}

#[test]
fn an_id_without_ordinal_does_not_resolve_to_the_next_agent() {
    let broken = agent("x_001").replace("business_ops", "busines_ops");
    let catalogue = catalogue(&Folder::new().with("agents/1.yaml", broken).with("agents/2.yaml", agent("x_002")));
    assert_eq!(agent_error(&catalogue, "x").code, ErrorCode::InvalidDefinition);
    assert!(require_agent(&catalogue, "x_002").is_ok());
}

#[test]
fn of_two_files_with_one_id_neither_is_chosen() {
    let folder = folder();
    let first = catalogue(&folder);
    let copy = agent("other").replace("It does something", "A copy");
    let folder = folder.with("agents/a_copy.yaml", copy);
    let fresh = catalogue(&folder);
    let cause = agent_error(&fresh, "other");
    assert!(
        cause.message.contains("agents/a_copy.yaml") && cause.message.contains("agents/other.yaml"),
        "{}",
        cause.message
    );
    assert_eq!(require_agent(&reload(&folder, &first).catalogue.unwrap(), "other").unwrap(), "It does something");
    // A copy that is invalid does not affect the valid file.
    let folder = folder.with("agents/a_copy.yaml", "agent_id: other\nname: [");
    let catalogue = catalogue(&folder);
    assert_eq!(require_agent(&catalogue, "other").unwrap(), "It does something");
    assert_eq!(catalogue.quarantined().len(), 1, "the file is reported");
}

#[test]
fn invalid_categories_do_not_take_the_agents_out_of_service() {
    let categories = "categories:\n  - { id: business_ops, name: Business }\n";
    let valid = folder().with("categories.yaml", categories);
    let first = catalogue(&valid);
    for broken in ["categories: [", "categories: 5\n", "categories:\n  - { id: business_ops }\n", "wrong: 1\n"] {
        let folder = valid.with_file("categories.yaml", broken);
        let fresh = catalogue(folder);
        assert_eq!((fresh.agent_count(), fresh.workflow_count()), (3, 2), "{broken:?}");
        assert_eq!(fresh.categories().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["business_ops"], "{broken:?}");
        assert_eq!(quarantined(&fresh), [(DefinitionKind::Categories, "categories.yaml", false)]);
        let second = reload(folder, &first).catalogue.unwrap();
        assert_eq!(second.categories().next().unwrap().name, "Business");
        assert_eq!(quarantined(&second), [(DefinitionKind::Categories, "categories.yaml", true)]);
    }
}

#[test]
fn without_valid_models_only_the_agents_that_call_one_are_out_of_service() {
    let model =
        agent("writer").replace("{ runtime: native, handler: native.echo }", "{ runtime: llm, model: tier.small }");
    let folder = folder().with("agents/writer.yaml", model);
    let first = catalogue(&folder);
    let folder = folder.with("models.yaml", "tiers: {}\nmodels: {}\n");
    let fresh = catalogue(&folder);
    assert_eq!(fresh.agent_count(), 3);
    let cause = agent_error(&fresh, "writer");
    assert!(
        cause.message.contains("the file of models") && cause.message.contains("models.yaml:1:8"),
        "{}",
        cause.message
    );
    let second = reload(&folder, &first).catalogue.unwrap();
    assert_eq!(second.agent_count(), 4);
    assert_eq!(second.models(), first.models());
}

#[test]
fn a_folder_without_one_valid_definition_has_no_catalogue() {
    let broken = Folder::new().with("agents/x.yaml", "agent_id: [");
    assert!(broken.load().catalogue.is_none());
    let first = catalogue(&Folder::new().with("agents/x.yaml", agent("x")));
    assert!(reload(&broken, &first).catalogue.is_none());
    assert!(reload(&Folder::new(), &first).catalogue.is_none(), "an empty folder");
}

#[cfg(unix)]
#[test]
fn what_a_file_contained_remains_in_service_while_it_cannot_be_read() {
    let folder = folder();
    let first = catalogue(&folder);
    fs::remove_file(folder.path().join("agents/x.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("agents/x.yaml")).unwrap();
    let second = reload(&folder, &first).catalogue.unwrap();
    assert_eq!(require_agent(&second, "x_001").unwrap(), "It does something");
    assert_eq!(second.quarantined().next().unwrap().file.display().to_string(), "agents/x.yaml");
}

/// A catalogue as the next process knows it: rebuilt from the texts that a store has.
fn after_restart(catalogue: &Catalogue) -> Catalogue {
    let (rebuilt, unreadable) = Catalogue::from_stored(catalogue.to_stored());
    assert_eq!(unreadable, []);
    rebuilt
}

#[test]
fn the_last_valid_version_remains_in_service_in_the_next_process() {
    let categories = "categories:\n  - { id: business_ops, name: Business }\n";
    let folder = folder().with("categories.yaml", categories);
    let first = catalogue(&folder);
    let stored = after_restart(&first);
    assert_eq!((stored.hash(), stored.models()), (first.hash(), first.models()));
    let broken = agent("x_001").replace("It does something", "Changed").replace("category:", "categori:");
    let folder = folder
        .with("agents/x.yaml", broken)
        .with("workflows/w.yaml", "steps: [")
        .with("teams/t.yaml", "")
        .with("categories.yaml", "categories: [");
    let second = reload(&folder, &stored).catalogue.unwrap();
    assert_eq!(
        quarantined(&second),
        [
            (DefinitionKind::Agent, "x_001", true),
            (DefinitionKind::Workflow, "w", true),
            (DefinitionKind::Team, "t", true),
            (DefinitionKind::Categories, "categories.yaml", true),
        ]
    );
    assert_eq!(require_agent(&second, "x").unwrap(), "It does something");
    assert_eq!(second.categories().next().unwrap().name, "Business");
    // A process that has started with them passes them on to the next one.
    let third = reload(&folder, &after_restart(&second)).catalogue.unwrap();
    assert_eq!(third.hash(), second.hash());
}

#[test]
fn the_last_valid_versions_are_in_service_in_the_next_process_even_if_no_file_is_valid() {
    let folder = Folder::new().with("agents/x.yaml", agent("x")).with("agents/y.yaml", agent("y"));
    let stored = after_restart(&catalogue(&folder));
    let folder = folder.with("agents/x.yaml", "agent_id: [").with("agents/y.yaml", "");
    assert!(reload(&folder, &stored).catalogue.is_none(), "a reload keeps the active catalogue");
    let restarted = load_after_restart(&folder.source(), &known_names(), &stored).catalogue.unwrap();
    assert_eq!(quarantined(&restarted), [(DefinitionKind::Agent, "x", true), (DefinitionKind::Agent, "y", true)]);
    // An empty folder is a mistake, and no folder of removed definitions.
    assert!(load_after_restart(&Folder::new().source(), &known_names(), &stored).catalogue.is_none());
}

#[test]
fn a_stored_version_that_this_release_cannot_read_is_out_of_service_alone() {
    let folder = folder();
    let mut stored = catalogue(&folder).to_stored();
    for definition in stored.iter_mut().filter(|definition| definition.id == "x_001") {
        definition.body = definition.body.replace("\"name\"", "\"title\"").into();
    }
    let (rebuilt, unreadable) = Catalogue::from_stored(stored);
    let keys: Vec<_> = unreadable.iter().map(|one| one.key.clone()).collect();
    assert_eq!(keys, [(DefinitionKind::Agent, "x_001".to_owned())]);
    let second = reload(folder.with_file("agents/x.yaml", ""), &rebuilt).catalogue.unwrap();
    assert!(require_agent(&second, "other").is_ok());
    assert!(second.agent(&AgentId::new("x_001").unwrap()).is_none());
}

#[test]
fn a_report_lists_what_is_quarantined() {
    let folder = folder().with("agents/x.yaml", agent("x_001").replace("business_ops", "busines_ops"));
    let text = folder.load().report.to_string();
    assert!(text.contains("quarantined: the workflow `w` is out of service: workflows/w.yaml:4:21: "), "{text}");
    assert!(text.ends_with("6 files, 1 errors, 0 warnings, 5 quarantined"), "{text}");
}
