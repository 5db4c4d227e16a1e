//! Calls every shipped agent with its own prompts and examples: an extract has the outputs that the definition
//! declares, and an agent that has to judge is not answered.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_actors::model::ModelError;
use greenroom_definitions::Agent;
use greenroom_definitions::agent::RuntimeKind;
use greenroom_protocol::{AgentId, Json, Values};
use serde_json::json;

use super::{DISCLAIMER, Offline};
use crate::models::test_calls::{Call, shipped_catalogue};
use crate::tables::{TableOptions, read_facts};

/// The agents that write the texts of the demo, whose outputs must be words of their inputs.
const REPORT_AGENTS: [&str; 3] =
    ["executive_summary_agent_001", "financial_narrative_agent", "kpi_dashboard_narrator_agent"];
const DEMO: &str = include_str!("../../../../../supervisor/demo/sales.csv");

/// Calls the agent, and validates its outputs against its definition. The fields are those that the inputs do
/// not state.
async fn try_call_agent(agent: &Agent, inputs: Values, context: &Values) -> Result<Values, Vec<String>> {
    let inputs = agent.validate_inputs(inputs).unwrap();
    let user = agent.prompt().render_user(&inputs, context).unwrap();
    let mut call = Call::new("offline.extractive", agent.prompt().system(), &user).with_schema(agent.output_schema());
    call.tokens_max = agent.tokens_max();
    call.inputs.clone_from(&inputs);
    let answer = call.send(&Offline).await;
    match answer.error {
        None => {}
        Some(ModelError::Unanswerable { fields, .. }) => return Err(fields),
        Some(other) => panic!("{}: {other}", agent.id()),
    }
    let outputs: Values = serde_json::from_str(&answer.text).unwrap();
    let outputs = agent.validate_outputs(&inputs, outputs);
    Ok(outputs.unwrap_or_else(|cause| panic!("{}: {cause} {:?}", agent.id(), answer.text)))
}

async fn call_agent(agent: &Agent, inputs: Values, context: &Values) -> Values {
    try_call_agent(agent, inputs, context).await.unwrap_or_else(|fields| panic!("{}: {fields:?}", agent.id()))
}

/// Calls `check` for each text of a value.
fn for_each_text(value: &Json, check: &mut impl FnMut(&str)) {
    match value {
        Json::String(text) => check(text),
        Json::Array(items) => items.iter().for_each(|item| for_each_text(item, check)),
        Json::Object(members) => members.values().for_each(|member| for_each_text(member, check)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

#[tokio::test]
async fn every_shipped_agent_extracts_from_its_own_examples_or_names_what_they_do_not_state() {
    let catalogue = shipped_catalogue();
    let mut refusals: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut extracts = 0;
    for agent in catalogue.agents().filter(|agent| agent.spec().implementation.runtime == RuntimeKind::Llm) {
        // The inputs of an example that fails may be invalid.
        for example in agent.spec().examples.iter().filter(|example| example.expect.fails().is_none()) {
            let inputs: Values = example.inputs.clone().into_iter().collect();
            match try_call_agent(agent, inputs.clone(), &Values::new()).await {
                Ok(outputs) => {
                    extracts += 1;
                    if REPORT_AGENTS.contains(&agent.id().as_str()) {
                        assert_is_extract(agent, &inputs, &outputs);
                    }
                }
                Err(fields) => {
                    assert!(!fields.is_empty(), "{} is refused without a field", agent.id());
                    refusals.entry(agent.id().to_string()).or_default().extend(fields);
                }
            }
        }
    }
    assert!(extracts > REPORT_AGENTS.len(), "{extracts}");
    assert!(REPORT_AGENTS.iter().all(|agent| !refusals.contains_key(*agent)), "{refusals:?}");
    for (agent, field) in [
        ("action_tracker_agent", "items"),
        ("lead_qualification_agent", "qualification"),
        ("meeting_notes_agent", "action_items"),
    ] {
        assert!(refusals.get(agent).is_some_and(|fields| fields.contains(field)), "{agent}: {:?}", refusals.get(agent));
    }
}

/// Fails unless each text is marked and, without facts, consists of words of the inputs.
fn assert_is_extract(agent: &Agent, inputs: &Values, outputs: &Values) {
    let mut source = String::new();
    for value in inputs.values() {
        for_each_text(value, &mut |text| source.push_str(&text.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    let made = agent.spec().outputs.iter().filter(|field| field.from.is_none());
    for value in made.filter_map(|field| outputs.get(&field.name)) {
        // The objects of `kpis` have the names and figures of the facts.
        let is_figures = value.as_array().is_some_and(|items| items.iter().any(Json::is_object));
        for_each_text(value, &mut |text| {
            let Some(extract) = text.strip_suffix(DISCLAIMER) else {
                assert!(is_figures, "{}: {text} has no mark", agent.id());
                return;
            };
            if !inputs.contains_key("data") {
                for word in extract.trim_end().trim_end_matches('…').split_whitespace() {
                    assert!(source.contains(word), "{}: {word} of {text} is not in the inputs", agent.id());
                }
            }
        });
    }
}

#[tokio::test]
async fn the_quarterly_report_is_written_from_end_to_end() {
    let catalogue = shipped_catalogue();
    let agent = |id: &str| catalogue.agent(&AgentId::new(id).unwrap()).unwrap().clone();
    let context: Values = [("company".to_owned(), json!("Hearth & Larder"))].into();
    let facts =
        serde_json::to_value(read_facts("sales.csv", DEMO.as_bytes(), &TableOptions::for_quarter("Q4 2024")).unwrap())
            .unwrap();
    let data: Values = [("data".to_owned(), facts)].into();

    let financial = call_agent(&agent("financial_narrative_agent"), data.clone(), &context).await;
    let summary = financial["financial_summary"].as_str().unwrap();
    assert!(summary.contains("555,596.95") && summary.contains("up 62.1% on Q3 2024"), "{summary}");
    let kpis = call_agent(&agent("kpi_dashboard_narrator_agent"), data, &context).await;
    assert_eq!(kpis["kpi_insights"][0], format!("Revenue: 555,596.95, up 62.1% on Q3 2024. {DISCLAIMER}"));

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
