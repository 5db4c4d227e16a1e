//! The client's two files, exactly as in the client's document.

use std::collections::BTreeMap;
use std::path::Path;

use greenroom_definitions::binding::{bind_agent, run_outputs, step_outputs};
use greenroom_definitions::{Catalogue, Scope, Source, check_file, load};
use greenroom_protocol::{AgentId, Json, StepId, Values, WorkflowId};
use serde_json::json;

use crate::folder::{Folder, agent, known_names};
use crate::shipped::shipped_agents;

const AGENT: &str = include_str!("../fixtures/client_agent.yaml");
const WORKFLOW: &str = include_str!("../fixtures/client_workflow.yaml");

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn the_clients_agent_file_loads_without_a_problem() {
    let report = check_file(&fixture("client_agent.yaml"), &Source::Embedded, &known_names());
    assert!(report.problems().is_empty(), "{report}");
}

#[test]
fn a_module_that_is_missing_is_a_warning_with_its_path_if_the_folder_is_configured() {
    let handlers = tempfile::tempdir().unwrap();
    let names = known_names().with_python_handlers(Some(handlers.path().to_owned()));
    let check = || check_file(&fixture("client_agent.yaml"), &Source::Embedded, &names);
    let problems: Vec<String> = check().problems().iter().map(ToString::to_string).collect();
    let folder = handlers.path().join("agents/business_ops");
    let file = folder.join("executive_summary.py");
    let expected = format!(
        "warning[unknown_name]: there is no module `agents.business_ops.executive_summary`; the file {}",
        file.display()
    );
    assert!(problems.len() == 1 && problems[0].ends_with(&expected), "{problems:?}");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(&file, "").unwrap();
    assert!(check().problems().is_empty());
}

#[test]
fn the_clients_workflow_file_loads_without_a_word() {
    let report = check_file(&fixture("client_workflow.yaml"), &Source::Embedded, &known_names());
    assert!(report.problems().is_empty(), "{report}");
}

/// The shipped agents, with the client's workflow instead of the shipped one.
fn with_the_clients_workflow() -> std::sync::Arc<Catalogue> {
    let mut folder = Folder::new().with("workflows/report.yaml", WORKFLOW);
    for (name, text) in shipped_agents() {
        folder = folder.with(name, text);
    }
    let loaded = folder.load();
    assert!(loaded.report.problems().is_empty(), "{}", loaded.report);
    loaded.catalogue.unwrap()
}

/// The outputs of each agent, as far as the bindings need them.
fn outputs_of(agent: &str, inputs: &Values) -> Values {
    let outputs = match agent {
        "data_collection_agent" => {
            json!({ "raw_data": { "measures": [], "by_month": [], "quarter": inputs["quarter"] } })
        }
        "financial_narrative_agent" => json!({ "financial_summary": "Revenue rose." }),
        "kpi_dashboard_narrator_agent" => json!({ "kpi_insights": ["Churn fell."], "kpis": [] }),
        "data_visualization_agent" => json!({ "charts": [{ "title": "Revenue", "svg": "<svg/>" }] }),
        "executive_summary_agent_001" => json!({ "summary": "All is well.", "key_points": [] }),
        other => panic!("nobody asked for {other}"),
    };
    outputs.as_object().unwrap().clone().into_iter().collect()
}

/// Evaluates a plan as a run does, without a runtime.
fn run(catalogue: &Catalogue, inputs: &Values, context: &Values) -> (BTreeMap<String, Values>, Values) {
    let workflow = catalogue.workflow(&WorkflowId::new("generate_quarterly_report").unwrap()).unwrap();
    let mut steps: BTreeMap<StepId, Values> = BTreeMap::new();
    let mut bound = BTreeMap::new();
    for step in &workflow.plan().steps {
        let agent = catalogue.agent(step.agent().unwrap()).unwrap();
        let step_inputs = bind_agent(step, agent, &Scope::new(inputs, context, &steps)).unwrap();
        let outputs = agent.validate_outputs(&step_inputs, outputs_of(agent.id().as_str(), &step_inputs)).unwrap();
        agent.prompt().render_user(&step_inputs, context).unwrap();
        bound.insert(step.id.to_string(), step_inputs);
        steps.insert(step.id.clone(), step_outputs(step, agent, outputs));
    }
    (bound, run_outputs(workflow.plan(), &Scope::new(inputs, context, &steps)))
}

fn values(json: Json) -> Values {
    json.as_object().unwrap().clone().into_iter().collect()
}

#[test]
fn the_clients_workflow_binds_over_the_shipped_agents() {
    let catalogue = with_the_clients_workflow();
    let inputs = values(json!({ "data_source": "test_data.csv", "quarter": "Q4 2024" }));
    let (bound, outputs) = run(&catalogue, &inputs, &Values::new());

    // The context has no quarter, so the run's input is used; the file comes from the run's input.
    assert_eq!(bound["gather_data"], inputs);
    // The narrative passes the figures through, and the charts are drawn from them.
    assert_eq!(bound["create_visualizations"]["financial_data"]["figures"]["quarter"], json!("Q4 2024"));
    // The summary's only required text receives the undeclared inputs.
    let document = bound["generate_executive_summary"]["document"].as_str().unwrap();
    assert!(document.contains("## Sections\n\nRevenue rose.\n\n- Churn fell."), "{document}");
    assert!(document.contains("(drawing, 6 bytes)"), "{document}");
    assert_eq!(bound["generate_executive_summary"]["max_length"], json!(500));
    // Without `outputs`, a run returns every named output and the final one.
    assert_eq!(outputs["final_report"], json!("All is well."));
    assert_eq!(outputs["final_output"], json!("All is well."));
    assert_eq!(outputs["financial_summary"], json!("Revenue rose."));
    assert_eq!(outputs["kpi_insights"], json!(["Churn fell."]));
}

#[test]
fn the_shipped_workflow_returns_the_outputs_of_the_clients_test() {
    let catalogue = load(&Source::Embedded, &known_names()).catalogue.unwrap();
    let inputs = values(json!({ "data_source": "test_data.csv" }));
    let (bound, outputs) = run(&catalogue, &inputs, &values(json!({ "quarter": "Q4 2024" })));
    assert_eq!(bound["gather_data"]["quarter"], json!("Q4 2024"));
    for name in ["executive_summary", "kpi_insights", "financial_summary", "charts", "facts", "final_output"] {
        assert!(outputs.contains_key(name), "{name}");
    }
}

#[test]
fn a_missing_quarter_is_omitted() {
    let catalogue = load(&Source::Embedded, &known_names()).catalogue.unwrap();
    let workflow = catalogue.workflow(&WorkflowId::new("generate_quarterly_report").unwrap()).unwrap();
    let agent = catalogue.agent(&AgentId::new("data_collection_agent").unwrap()).unwrap();
    let (inputs, context, steps) = (values(json!({ "data_source": "x.csv" })), Values::new(), BTreeMap::new());
    let bound = bind_agent(&workflow.plan().steps[0], agent, &Scope::new(&inputs, &context, &steps)).unwrap();
    assert_eq!(bound, inputs);
}

#[test]
fn the_clients_agent_keeps_its_members() {
    let folder = Folder::new().with("agents/summary.yaml", AGENT);
    let loaded = folder.load();
    // Its two collaborators are not in this folder.
    let problems: Vec<String> = loaded.report.errors().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "agents/summary.yaml:28:7: error[unknown_reference]: there is no agent `meeting_notes_agent`",
            "agents/summary.yaml:29:7: error[unknown_reference]: there is no agent `action_tracker_agent`",
        ]
    );
}

#[test]
fn the_memory_of_the_clients_agent_loads_as_it_is_written() {
    let folder = Folder::new()
        .with("agents/summary.yaml", AGENT)
        .with("agents/notes.yaml", agent("meeting_notes_agent"))
        .with("agents/tracker.yaml", agent("action_tracker_agent"));
    let catalogue = folder.load().catalogue.unwrap();
    let summary = catalogue.agent(&AgentId::new("executive_summary_agent_001").unwrap()).unwrap();
    assert_eq!(summary.spec().implementation.memory, Some(2048));
}
