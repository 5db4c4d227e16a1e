//! The extract is correct, bounded, repeatable, and marked as an extract.

use greenroom_actors::model::StopReason;
use greenroom_protocol::Json;
use serde_json::json;

use super::{DISCLAIMER, Offline};
use crate::models::test_calls::Call;
use crate::tables::read_facts;

const DEMO: &str = include_str!("../../../../../supervisor/demo/sales.csv");

fn facts() -> String {
    serde_json::to_string(&read_facts("sales.csv", DEMO.as_bytes(), Some("Q1 2025")).unwrap()).unwrap()
}

async fn extract(system: &str, user: &str, schema: Json) -> Json {
    let call = Call::new("offline.extractive", system, user).with_schema(schema);
    let answer = call.send(&Offline).await;
    assert_eq!((&answer.error, &answer.stop), (&None, &Some(StopReason::Complete)));
    assert_eq!(call.send(&Offline).await, answer, "the same request has the same answer");
    serde_json::from_str(&answer.text).unwrap()
}

#[tokio::test]
async fn a_financial_narrative_has_the_figures_of_the_data() {
    let user = format!("Write the financial summary for the board.\n\n# Data\n\n```json\n{}\n```\n", facts());
    let schema = json!({ "type": "object", "properties": {
        "financial_summary": { "type": "string", "maxLength": 4000 },
        "highlights": { "type": "array", "items": { "type": "string" }, "maxItems": 6 } } });
    let answer = extract("You are the Financial Narrative Agent.", &user, schema).await;
    let text = answer["financial_summary"].as_str().unwrap();
    for expected in ["372,972.75", "down 32.9% on Q4 2024", "555,596.95", "193,192.21", "UK & Ireland", DISCLAIMER] {
        assert!(text.contains(expected), "{expected} is not in: {text}");
    }
    assert!(answer["highlights"].as_array().unwrap().len() >= 3, "{answer}");
}

#[tokio::test]
async fn insights_are_one_sentence_each() {
    let user = format!("Name at most 6 insights of Q1 2025.\n\n# Data\n\n```json\n{}\n```\n", facts());
    let schema = json!({ "type": "object", "properties": {
        "kpi_insights": { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        "kpis": { "type": "array", "items": { "type": "object" } } } });
    let answer = extract("You say what a dashboard shows.", &user, schema).await;
    assert_eq!(answer["kpi_insights"][0], "Revenue: 372,972.75, down 32.9% on Q4 2024.");
    assert_eq!(answer["kpis"][0]["value"], json!(372_972.75));
    assert_eq!(answer["kpis"][0]["change_pct"], json!(-32.8699));
}

#[tokio::test]
async fn a_summary_respects_its_length_and_omits_charts_and_instructions() {
    let document = format!(
        "## Charts\n\n- Title: Revenue by month 123\n  Alt: Revenue 99\n\n## Sections\n\nRevenue came to 372,972.75, down 32.9% on Q4 2024. Costs fell as well. {DISCLAIMER}\n\nNordics grew by 4.5%.\n"
    );
    let user =
        format!("Condense the document below into a summary of at most 200 characters.\n\n# Document\n\n{document}");
    let schema = json!({ "type": "object", "properties": {
        "summary": { "type": "string", "maxLength": 999 }, "key_points": { "type": "array", "items": { "type": "string" } } } });
    let answer = extract("You write one page.", &user, schema).await;
    let summary = answer["summary"].as_str().unwrap();
    assert!(summary.starts_with("Revenue came to 372,972.75, down 32.9% on Q4 2024."), "{summary}");
    assert!(
        summary.chars().count() <= 200 && summary.ends_with(DISCLAIMER) && summary.matches(DISCLAIMER).count() == 1,
        "{summary}"
    );
    assert!(!answer.to_string().contains("Condense") && !answer.to_string().contains("99"), "{answer}");
    assert!(answer["key_points"].as_array().unwrap().contains(&json!("Nordics grew by 4.5%.")));
}

#[tokio::test]
async fn any_other_schema_is_filled_with_matching_extracts() {
    let user = "Read the notes.\n\n# Notes\n\nAna will send the offer by Friday. We decided to ship in May. Who owns the budget? The lead is hot.\n";
    let schema = json!({ "type": "object", "properties": {
        "action_items": { "type": "array", "items": { "type": "string" } },
        "decisions": { "type": "array", "items": { "type": "string" } },
        "open_questions": { "type": "array", "items": { "type": "string" } },
        "subject": { "type": "string", "maxLength": 20 },
        "temperature": { "type": "string", "enum": ["cold", "warm", "hot"] },
        "score": { "type": "integer", "minimum": 1, "maximum": 10 },
        "urgent": { "type": "boolean" },
        "people": { "type": "array", "items": { "type": "object", "properties": { "name": { "type": "string" } } }, "minItems": 1 } } });
    let answer = extract("", user, schema).await;
    assert_eq!(answer["action_items"], json!(["Ana will send the offer by Friday."]));
    assert_eq!(answer["decisions"], json!(["We decided to ship in May."]));
    assert_eq!(answer["open_questions"], json!(["Who owns the budget?"]));
    assert_eq!(answer["temperature"], "hot");
    assert_eq!((&answer["score"], &answer["urgent"]), (&json!(1), &json!(false)));
    assert!(answer["subject"].as_str().unwrap().chars().count() <= 20);
    assert!(!answer["people"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn empty_and_hostile_input_have_an_answer_too() {
    let call = Call::new("offline.extractive", "", "");
    assert!(call.send(&Offline).await.text.contains(DISCLAIMER));
    for user in ["{".repeat(3000), "[".repeat(3000), "\u{0}\u{202e}".repeat(100), "# ".to_owned(), "é".repeat(9000)] {
        let answer = Call::new("offline.extractive", "", &user)
            .with_schema(json!({ "type": "object", "properties": { "text": { "type": "string" } } }))
            .send(&Offline)
            .await;
        assert!(serde_json::from_str::<Json>(&answer.text).is_ok());
    }
    let mut short = Call::new("offline.extractive", "", "One. Two. Three.");
    short.tokens_max = 2;
    let answer = short.send(&Offline).await;
    assert_eq!((answer.stop, answer.text.len()), (Some(StopReason::Length), 8));
}
