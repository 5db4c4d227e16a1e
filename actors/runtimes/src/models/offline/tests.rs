//! The extract is correct, bounded, repeatable and marked as an extract, and what the inputs do not state is
//! not answered.

use greenroom_actors::model::{Message, ModelError, Part, Role, StopReason};
use greenroom_protocol::{Json, Tokens};
use serde_json::json;

use super::{DISCLAIMER, Offline};
use crate::models::test_calls::{Call, CollectedAnswer};
use crate::tables::{TableOptions, read_facts};

const DEMO: &str = include_str!("../../../../../supervisor/demo/sales.csv");

fn facts() -> String {
    serde_json::to_string(&read_facts("sales.csv", DEMO.as_bytes(), &TableOptions::for_quarter("Q1 2025")).unwrap())
        .unwrap()
}

async fn extract(system: &str, user: &str, schema: Json) -> Json {
    let call = Call::new("offline.extractive", system, user).with_schema(schema);
    let answer = call.send(&Offline).await;
    assert_eq!((&answer.error, &answer.stop), (&None, &Some(StopReason::Complete)));
    assert_eq!(answer.usage, Some(Tokens::default()), "no language model read or wrote anything");
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
    for expected in ["372,972.75", "down 32.9% on Q4 2024", "555,596.95", "UK & Ireland", DISCLAIMER] {
        assert!(text.contains(expected), "{expected} is not in: {text}");
    }
    // Revenue less cost is no figure of the facts, and neither is its share.
    assert!(!text.contains("193,192.21") && !text.contains("leaves"), "{text}");
    assert!(answer["highlights"].as_array().unwrap().len() >= 3, "{answer}");
}

#[tokio::test]
async fn insights_are_one_sentence_each() {
    let user = format!("Name at most 6 insights of Q1 2025.\n\n# Data\n\n```json\n{}\n```\n", facts());
    let schema = json!({ "type": "object", "properties": {
        "kpi_insights": { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        "kpis": { "type": "array", "items": { "type": "object" } } } });
    let answer = extract("You say what a dashboard shows.", &user, schema).await;
    assert_eq!(answer["kpi_insights"][0], format!("Revenue: 372,972.75, down 32.9% on Q4 2024. {DISCLAIMER}"));
    for judgement in ["best", "strongest", "weakest"] {
        assert!(!answer.to_string().contains(judgement), "{answer}");
    }
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
    assert!(answer["key_points"].as_array().unwrap().contains(&json!(format!("Nordics grew by 4.5%. {DISCLAIMER}"))));
}

/// A schema of every kind of value that a sentence cannot answer.
fn judgements(required: &[&str]) -> Json {
    json!({ "type": "object", "required": required, "properties": {
        "summary": { "type": "string" },
        "action_items": { "type": "array", "items": { "type": "string" } },
        "decisions": { "type": "array", "items": { "type": "string" } },
        "open_questions": { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        "labels": { "type": "array", "items": { "type": "string", "enum": ["hot", "cold"] }, "minItems": 1 },
        "subject": { "type": "string", "maxLength": 20 },
        "temperature": { "type": "string", "enum": ["cold", "warm", "hot"] },
        "sentence_count": { "type": "integer" },
        "total": { "type": "number" },
        "discount": { "type": ["number", "null"] },
        "score": { "type": "integer", "minimum": 1, "maximum": 10 },
        "urgent": { "type": "boolean" },
        "details": { "type": "object" },
        "owner": { "type": "object", "required": ["age"], "properties": {
            "name": { "type": "string" }, "age": { "type": "integer" } } },
        "people": { "type": "array", "items": { "type": "object", "properties": { "name": { "type": "string" } } }, "minItems": 1 } } })
}

const NOTES: &str = "Read the notes.\n\n# Notes\n\nAna will send the offer by Friday. We decided to ship in May. Who owns the \
                     budget? The lead is hot, and 17 people know.\n";

#[tokio::test]
async fn what_the_inputs_do_not_state_is_null_or_absent() {
    let answer = extract("", NOTES, judgements(&["summary", "discount"])).await;
    let members: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(members, ["summary", "discount"], "{answer}");
    assert_eq!(answer["discount"], Json::Null);
    assert!(answer["summary"].as_str().unwrap().starts_with("Ana will send the offer by Friday."), "{answer}");
}

#[tokio::test]
async fn what_is_required_and_not_stated_is_an_error_that_names_it() {
    let required = [
        "summary",
        "action_items",
        "decisions",
        "open_questions",
        "labels",
        "subject",
        "temperature",
        "sentence_count",
        "total",
        "score",
        "urgent",
        "details",
        "owner",
        "people",
    ];
    let call = Call::new("offline.extractive", "", NOTES).with_schema(judgements(&required));
    let Some(ModelError::Unanswerable { mut fields, message }) = call.send(&Offline).await.error else {
        panic!("an answer was made up")
    };
    fields.sort();
    let mut expected: Vec<&str> = required.into_iter().filter(|name| *name != "summary").collect();
    expected.sort_unstable();
    assert_eq!(fields, expected);
    for part in ["`score` (an integer)", "`urgent` (true or false)", r#"one of "cold", "warm", "hot""#] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    for variable in ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OLLAMA_BASE_URL", "OPENAI_MODEL"] {
        assert!(message.contains(variable), "{variable} is not in: {message}");
    }
}

#[tokio::test]
async fn an_answer_without_any_value_is_an_error_too() {
    let schema = json!({ "type": "object", "properties": { "score": { "type": "integer" } } });
    let answer = Call::new("offline.extractive", "", NOTES).with_schema(schema).send(&Offline).await;
    assert!(matches!(answer.error, Some(ModelError::Unanswerable { .. })), "{answer:?}");
}

#[tokio::test]
async fn what_the_inputs_state_by_name_is_copied() {
    let user = "Read.\n\n# Lead\n\nScore: 7\n**Temperature**: Hot\nurgent: yes\nTotal: 12.50\nSubject: Offer 7\n\n\
                ## Decisions\n\n- We ship in May.\n- Ana decides.\n\nAction item: Ben calls.\n\n\
                {\"sentence_count\": 4, \"labels\": [\"cold\"], \"details\": {\"a\": 1}}\n";
    let answer = extract("", user, judgements(&["score"])).await;
    assert_eq!((&answer["score"], &answer["temperature"], &answer["urgent"]), (&json!(7), &json!("hot"), &json!(true)));
    assert_eq!((&answer["total"], &answer["subject"]), (&json!(12.5), &json!("Offer 7")));
    assert_eq!((&answer["sentence_count"], &answer["labels"]), (&json!(4), &json!(["cold"])));
    assert_eq!(answer["details"], json!({ "a": 1 }));
    let marked = |text: &str| json!(format!("{text} {DISCLAIMER}"));
    assert_eq!(answer["decisions"], json!([marked("We ship in May."), marked("Ana decides.")]));
    assert_eq!(answer["action_items"], json!([marked("Ben calls.")]));
}

#[tokio::test]
async fn a_stated_value_that_the_schema_rejects_or_that_is_contradicted_is_not_moved_into_it() {
    for lines in ["Score: 11", "Score: 7.5", "Score: high", "Score: 7\nScore: 8", "The score: rather 7"] {
        let call =
            Call::new("offline.extractive", "", &format!("# Lead\n\n{lines}\n")).with_schema(judgements(&["score"]));
        let answer = call.send(&Offline).await;
        assert!(matches!(answer.error, Some(ModelError::Unanswerable { .. })), "{lines}: {}", answer.text);
    }
}

#[tokio::test]
async fn without_a_heading_the_inputs_are_read_and_not_the_instructions() {
    let mut call = Call::new("offline.extractive", "", "Rate this from 1 to 10, score: 3. Hello there.");
    call.inputs = [("document".to_owned(), json!("Hello there."))].into();
    call = call.with_schema(judgements(&["summary"]));
    let answer = call.send(&Offline).await;
    assert_eq!(
        serde_json::from_str::<Json>(&answer.text).unwrap(),
        json!({ "summary": format!("Hello there. {DISCLAIMER}"), "discount": null })
    );
}

#[tokio::test]
async fn a_request_to_repair_an_answer_is_not_extracted() {
    let mut call = Call::new("offline.extractive", "", NOTES).with_schema(judgements(&["summary"]));
    let first = call.send(&Offline).await;
    call.messages.push(Message { role: Role::Assistant, parts: vec![Part::Text(first.text.clone())] });
    call.messages.push(Message::text(Role::User, "Your answer does not have the required shape."));
    assert_eq!(call.send(&Offline).await, first);
}

#[tokio::test]
async fn a_document_of_one_long_line_is_cut_off_visibly() {
    let schema =
        || json!({ "type": "object", "properties": { "summary": { "type": "string" } }, "required": ["summary"] });
    let answer = extract("", &format!("# Document\n\n{}", "word ".repeat(400)), schema()).await;
    assert!(
        answer["summary"].as_str().unwrap().starts_with("word word") && answer.to_string().contains('…'),
        "{answer}"
    );
    let answer =
        extract("", &format!("# Document\n\n{}", "売上は増えた。".to_owned() + &"費用は減った。".repeat(60)), schema())
            .await;
    assert_eq!(answer["summary"], format!("売上は増えた。 費用は減った。 {DISCLAIMER}"));
}

#[tokio::test]
async fn empty_and_hostile_input_state_nothing() {
    let schema = json!({ "type": "object", "properties": { "text": { "type": "string" } } });
    let is_unanswered = |answer: &CollectedAnswer| matches!(answer.error, Some(ModelError::Unanswerable { .. }));
    assert!(is_unanswered(&Call::new("offline.extractive", "", "").send(&Offline).await));
    for user in ["{".repeat(3000), "[".repeat(3000), "\u{0}\u{202e}".repeat(100), "# ".to_owned(), "42".to_owned()] {
        let answer = Call::new("offline.extractive", "", &user).with_schema(schema.clone()).send(&Offline).await;
        assert!(is_unanswered(&answer), "{answer:?}");
    }
    let answer = extract("", &"é".repeat(9000), schema).await;
    assert!(answer["text"].as_str().unwrap().ends_with(DISCLAIMER));
    let mut short = Call::new("offline.extractive", "", "One. Two. Three.");
    short.tokens_max = 2;
    let answer = short.send(&Offline).await;
    assert_eq!((answer.stop, answer.text.len()), (Some(StopReason::Length), 8));
}
