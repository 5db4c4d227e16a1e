//! Calls every shipped agent with its own prompts and examples: the extract has the outputs that the
//! definition declares.

use std::sync::Arc;

use greenroom_definitions::loader::{Source, load};
use greenroom_definitions::{Agent, Catalogue, KnownNames, embedded};
use greenroom_protocol::{AgentId, Json, Values};
use serde_json::json;

use super::{DISCLAIMER, Offline};
use crate::models::test_calls::Call;
use crate::tables::read_facts;

const DEMO: &str = include_str!("../../../../../supervisor/demo/sales.csv");

fn catalogue() -> Arc<Catalogue> {
    // The policy rules are not known here, so every word of the files is accepted as one.
    let words = embedded::FILES.iter().flat_map(|(_, text)| text.split(|c: char| !c.is_alphanumeric() && c != '_'));
    let handlers = crate::handlers();
    let tools = crate::tools();
    let providers = ["anthropic", "openai", "offline", "scripted", "gemini", "ollama"];
    let vocabulary = KnownNames::new(
        words,
        handlers.iter().map(|handler| handler.name()),
        tools.iter().map(|tool| tool.name()),
        providers,
    );
    let loaded = load(&Source::Embedded, &vocabulary);
    loaded.catalogue.unwrap_or_else(|| panic!("the catalogue has problems: {:?}", loaded.report))
}

/// Calls the agent, and validates its outputs against its definition.
async fn call_agent(agent: &Agent, inputs: Values, context: &Values) -> Values {
    let inputs = agent.validate_inputs(inputs).unwrap();
    let user = agent.prompt().render_user(&inputs, context).unwrap();
    let mut call = Call::new("offline.extractive", agent.prompt().system(), &user).with_schema(agent.output_schema());
    call.tokens_max = agent.tokens_max();
    let answer = call.send(&Offline).await;
    let outputs: Values = serde_json::from_str(&answer.text).unwrap();
    agent.validate_outputs(&inputs, outputs).unwrap_or_else(|cause| panic!("{}: {cause} {:?}", agent.id(), answer.text))
}

#[tokio::test]
async fn every_shipped_agent_answers_its_own_examples() {
    let catalogue = catalogue();
    let mut calls = 0;
    for agent in catalogue.agents() {
        if agent.prompt().system().is_empty() {
            continue;
        }
        for example in &agent.spec().examples {
            let inputs = example.inputs.clone().into_iter().collect();
            call_agent(agent, inputs, &Values::new()).await;
            calls += 1;
        }
    }
    assert!(calls >= 6, "only {calls} examples");
}

#[tokio::test]
async fn the_quarterly_report_is_written_from_end_to_end() {
    let catalogue = catalogue();
    let agent = |id: &str| catalogue.agent(&AgentId::new(id).unwrap()).unwrap().clone();
    let context: Values = [("company".to_owned(), json!("Hearth & Larder"))].into();
    let facts = serde_json::to_value(read_facts("sales.csv", DEMO.as_bytes(), Some("Q4 2024")).unwrap()).unwrap();
    let data: Values = [("data".to_owned(), facts)].into();

    let financial = call_agent(&agent("financial_narrative_agent"), data.clone(), &context).await;
    let summary = financial["financial_summary"].as_str().unwrap();
    assert!(summary.contains("555,596.95") && summary.contains("up 62.1% on Q3 2024"), "{summary}");
    let kpis = call_agent(&agent("kpi_dashboard_narrator_agent"), data, &context).await;
    assert_eq!(kpis["kpi_insights"][0], "Revenue: 555,596.95, up 62.1% on Q3 2024.");

    let sections = [
        summary.to_owned(),
        kpis["kpi_insights"].as_array().unwrap().iter().filter_map(Json::as_str).collect::<Vec<_>>().join("\n\n"),
    ];
    let document = format!("## Charts\n\n- Title: Revenue by month\n\n## Sections\n\n{}\n", sections.join("\n\n"));
    let page =
        call_agent(&agent("executive_summary_agent_001"), [("document".to_owned(), json!(document))].into(), &context)
            .await;
    let page = page["summary"].as_str().unwrap();
    assert!(page.chars().count() < 1000 && page.contains("555,596.95") && page.ends_with(DISCLAIMER), "{page}");
}
