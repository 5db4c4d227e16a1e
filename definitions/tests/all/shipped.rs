//! The embedded catalogue is valid, complete and as the client's document requires.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use greenroom_definitions::plan::StepTarget;
use greenroom_definitions::{Catalogue, DefinitionKind, Source, compile, load, schema};
use greenroom_protocol::{AgentId, ErrorCode, TeamId, WorkflowId};

use crate::folder::known_names;

pub(crate) fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn catalogue() -> std::sync::Arc<Catalogue> {
    let loaded = load(&Source::Embedded, &known_names());
    assert!(loaded.report.problems().is_empty(), "{}", loaded.report);
    loaded.catalogue.unwrap()
}

/// Compares a generated file with the tree, or writes it if `UPDATE` is set.
pub(crate) fn same(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(stored == text, "{} is old: UPDATE=1 cargo test -p greenroom-definitions", path.display());
}

/// The folder of the shipped definitions.
pub(crate) fn shipped() -> PathBuf {
    home().join("../catalogue")
}

fn definition_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            definition_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "md") {
            found.push(path);
        }
    }
}

/// Every file of the shipped definitions: its name in their folder, and its text.
pub(crate) fn shipped_files() -> &'static [(String, String)] {
    static FILES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
        let folder = shipped();
        let mut files: Vec<PathBuf> =
            ["capabilities.yaml", "categories.yaml", "models.yaml"].iter().map(|name| folder.join(name)).collect();
        for part in ["agents", "snippets", "teams", "workflows"] {
            definition_files(&folder.join(part), &mut files);
        }
        files.sort();
        let read = |file: &PathBuf| {
            let name = file.strip_prefix(&folder).unwrap().display().to_string();
            (name, std::fs::read_to_string(file).unwrap())
        };
        files.iter().map(read).collect()
    });
    &FILES
}

/// The shipped agents with what they need, without the teams and the workflows that use them.
pub(crate) fn shipped_agents() -> impl Iterator<Item = &'static (String, String)> {
    shipped_files().iter().filter(|(name, _)| !name.starts_with("teams/") && !name.starts_with("workflows/"))
}

#[test]
fn the_embedded_list_is_every_file_that_other_definitions_may_need() {
    let names = shipped_files().iter().map(|(name, _)| name);
    let names = names.filter(|name| !name.contains('/') || name.starts_with("snippets/"));
    let lines: String =
        names.map(|name| format!("    (\"{name}\", include_str!(\"../../catalogue/{name}\")),\n")).collect();
    let path = home().join("src/embedded.rs");
    let text = std::fs::read_to_string(&path).unwrap();
    let head = text.split_once("&[\n").map_or("", |(head, _)| head);
    same(&path, &format!("{head}&[\n{lines}];\n"));
}

#[test]
fn the_compiled_form_is_that_of_the_folder() {
    let compiled = compile(&shipped(), &known_names()).unwrap_or_else(|report| panic!("{report}"));
    same(&home().join("compiled/index.txt"), &compiled.index);
    same(&home().join("compiled/bodies.txt"), &compiled.bodies);
}

#[test]
fn what_is_decoded_is_what_is_parsed() {
    let loaded = load(&Source::Directory(shipped()), &known_names());
    assert!(loaded.report.problems().is_empty(), "{}", loaded.report);
    let (parsed, compiled) = (loaded.catalogue.unwrap(), catalogue());
    assert_eq!(compiled.hash(), parsed.hash());
    assert!(compiled.damages().is_empty());
    for (one, other) in compiled.agents().zip(parsed.agents()) {
        assert_eq!((one.spec(), one.hash(), one.body()), (other.spec(), other.hash(), other.body()));
        assert_eq!(one.prompt().system(), other.prompt().system(), "{}", one.id());
    }
    for (one, other) in compiled.workflows().zip(parsed.workflows()) {
        assert_eq!((one.spec(), one.hash(), one.plan()), (other.spec(), other.hash(), other.plan()));
    }
    for (one, other) in compiled.teams().zip(parsed.teams()) {
        assert_eq!((one.spec(), one.hash()), (other.spec(), other.hash()));
    }
    let counts = |catalogue: &Catalogue| (catalogue.agent_count(), catalogue.workflow_count(), catalogue.team_count());
    assert_eq!(counts(&compiled), counts(&parsed));
    assert!(compiled.agent_summaries().eq(parsed.agent_summaries()));
    assert!(compiled.workflow_summaries().eq(parsed.workflow_summaries()));
}

#[test]
fn definitions_with_a_name_that_the_host_lacks_are_quarantined_with_what_needs_them() {
    let mut names = known_names();
    names.handlers.remove("native.data_collection");
    let loaded = load(&Source::Embedded, &names);
    let catalogue = loaded.catalogue.unwrap();
    let cause = catalogue.require_agent(&AgentId::new("data_collection_agent").unwrap()).unwrap_err();
    assert_eq!(cause.code, ErrorCode::InvalidDefinition);
    assert!(cause.message.contains("there is no handler `native.data_collection`"), "{}", cause.message);
    assert!(catalogue.workflow(&WorkflowId::new("generate_quarterly_report").unwrap()).is_none());
    assert!(catalogue.agent(&AgentId::new("meeting_notes_agent").unwrap()).is_some());
    let parsed = load(&Source::Directory(shipped()), &names).catalogue.unwrap();
    let quarantined = |catalogue: &Catalogue| -> Vec<(DefinitionKind, String)> {
        catalogue.quarantined().map(|one| (one.kind, one.id.clone())).collect()
    };
    assert_eq!(quarantined(&catalogue), quarantined(&parsed));
}

#[test]
fn the_schemas_in_the_tree_are_those_of_the_types() {
    for (name, text) in schema::all() {
        same(&home().join("schema").join(name), &text);
    }
}

#[test]
fn every_agent_of_the_clients_document_is_there() {
    let catalogue = catalogue();
    for id in [
        "executive_summary_agent_001",
        "executive_summary_agent",
        "meeting_notes_agent",
        "action_tracker_agent",
        "lead_qualification_agent",
        "outreach_email_agent",
        "kpi_dashboard_narrator_agent",
        "financial_narrative_agent",
        "data_visualization_agent",
        "data_collection_agent",
    ] {
        let agent = catalogue.agent(&AgentId::new(id).unwrap()).unwrap_or_else(|| panic!("no {id}"));
        assert!(!agent.spec().examples.is_empty(), "{id}");
        assert!(!agent.prompt().system().contains("{{"), "{id}");
    }
}

#[test]
fn the_teams_are_those_of_the_document() {
    let catalogue = catalogue();
    let members = |id: &str| catalogue.team(&TeamId::new(id).unwrap()).unwrap().spec().agents.len();
    assert_eq!(members("reporting_team"), 4);
    assert_eq!(members("report_team"), 3);
}

#[test]
fn the_report_workflow_has_the_five_steps_of_the_document() {
    let catalogue = catalogue();
    let workflow = catalogue.workflow(&WorkflowId::new("generate_quarterly_report").unwrap()).unwrap();
    let plan = workflow.plan();
    let steps: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(
        steps,
        ["gather_data", "analyze_financials", "analyze_kpis", "create_visualizations", "generate_executive_summary"]
    );
    let last = plan.steps.last().unwrap();
    let depends: Vec<&str> = last.depends_on.iter().map(AsRef::as_ref).collect();
    assert_eq!(depends, ["analyze_financials", "analyze_kpis", "create_visualizations"]);
    assert!(plan.steps.iter().all(|step| matches!(step.target, StepTarget::Agent(_))));
    assert_eq!(catalogue.pinned_versions(plan).unwrap().len(), 5);
    for name in ["executive_summary", "kpi_insights", "financial_summary"] {
        assert!(plan.outputs.contains_key(name), "{name}");
    }
}

#[test]
fn a_stored_body_restores_the_same_definition() {
    let catalogue = catalogue();
    for agent in catalogue.agents() {
        let restored = greenroom_definitions::Agent::from_body(agent.body()).unwrap();
        assert_eq!((restored.hash(), restored.spec()), (agent.hash(), agent.spec()));
    }
    for workflow in catalogue.workflows() {
        let restored = greenroom_definitions::Workflow::from_body(workflow.body()).unwrap();
        assert_eq!((restored.hash(), restored.plan()), (workflow.hash(), workflow.plan()));
    }
    for team in catalogue.teams() {
        let restored = greenroom_definitions::Team::from_body(team.body()).unwrap();
        assert_eq!((restored.hash(), restored.spec()), (team.hash(), team.spec()));
    }
}

#[test]
fn every_tier_ends_in_a_model_with_a_price() {
    let catalogue = catalogue();
    let models = catalogue.models();
    let mut prices = BTreeMap::new();
    for tier in greenroom_definitions::models::Tier::ALL {
        let chain = models.chain(&greenroom_definitions::ModelRef::from_tier(*tier), &[]);
        assert!(chain.len() >= 2, "{chain:?}");
        assert!(chain.iter().all(|model| models.price(model, None).is_some()), "{chain:?}");
        prices.insert(*tier, models.price(&chain[0], None).unwrap().price.input);
    }
    assert!(prices.values().is_sorted(), "{prices:?}");
}

#[test]
fn every_capability_of_the_vocabulary_is_that_of_a_shipped_agent() {
    // An agent of a user may do what no shipped one does.
    const OTHERS: [&str; 1] = ["code_execution"];
    let catalogue = catalogue();
    let used: BTreeSet<&String> = catalogue.agents().flat_map(|agent| &agent.spec().capabilities).collect();
    let unused: Vec<&str> =
        catalogue.capabilities().filter(|one| !used.contains(&one.id)).map(|one| one.id.as_str()).collect();
    assert_eq!(unused, OTHERS);
}
