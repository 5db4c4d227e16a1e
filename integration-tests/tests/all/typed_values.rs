//! The real binary with types in types: what a model is sent for them, and what its answer and the inputs of a
//! caller must be.

use anyhow::{Context as _, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::CliHarness;
use serde_json::json;

/// An agent with a model whose outputs are these.
fn agent(outputs: &str) -> String {
    format!(
        "agent_id: typed\nname: Typed\ncategory: business_ops\ndescription: Calls a model\nversion: \"1.0.0\"\n\
         inputs:\n  - {{ name: order, type: object, required: true, properties: {{ id: text, amount: {{ type: number, required: true }} }} }}\n\
         outputs:\n{outputs}\nimplementation:\n  runtime: llm\n  model: tier.standard\n  timeout: 30\n\
         \x20 prompt: {{ system: You answer., user: \"{{{{ inputs.order | tojson }}}}\" }}\n"
    )
}

/// A fixture with this agent, whose model answers with these texts, one after the other.
async fn fixture(outputs: &str, answers: &[&str]) -> Result<(ModelFixture, ScriptServer)> {
    let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
    let script = move |request: &greenroom_integration_tests::script_server::RecordedRequest| {
        ServerBehavior::Text(answers.get(request.number).or_else(|| answers.last()).cloned().unwrap_or_default())
    };
    let server = ScriptServer::start(script).await?;
    let fixture = ModelFixture::with_openai(server.url())?;
    let folder = fixture.definitions.dir().join("agents/business_ops");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("typed.yaml"), agent(outputs))?;
    Ok((fixture, server))
}

const ORDER: &str = r#"order={"id": "a", "amount": 3}"#;
const ROWS: &str = "  - name: rows\n    type: array\n    items:\n      type: object\n      properties:\n        \
                    amount: { type: number, unit: EUR }\n        day: { type: string, format: date, required: false }";

#[tokio::test]
async fn a_value_inside_an_answer_is_validated_and_named_in_the_request_for_a_correction() -> Result<()> {
    let wrong = r#"{"rows": [{"amount": 1, "day": null}, {"amount": "many", "day": "2024-02-30"}]}"#;
    let right = r#"{"rows": [{"amount": 1, "day": null}, {"amount": 2, "day": "2024-02-29", "extra": 1}]}"#;
    let (fixture, server) = fixture(ROWS, &[wrong, right]).await?;
    let output = fixture.terminal.run(&["run", "agent", "typed", "--input", ORDER]).await?;
    let reply = output.json()?;
    assert_eq!(reply["outputs"]["rows"], json!([{ "amount": 1 }, { "amount": 2, "day": "2024-02-29" }]), "{reply:#}");
    let requests = server.requests();
    let format = &requests[0].body["response_format"]["json_schema"];
    assert_eq!(format["strict"], true);
    let row = &format["schema"]["properties"]["rows"]["items"];
    assert_eq!((&row["required"], &row["additionalProperties"]), (&json!(["amount", "day"]), &json!(false)));
    assert_eq!(row["properties"]["day"], json!({ "type": ["string", "null"], "format": "date" }));
    assert_eq!(row["properties"]["amount"], json!({ "type": "number", "description": "Unit: EUR" }));
    let correction = requests[1].body["messages"].to_string();
    for problem in ["outputs.rows[1].amount", "outputs.rows[1].day"] {
        ensure!(correction.contains(problem), "{problem}: {correction}");
    }
    Ok(())
}

#[tokio::test]
async fn an_object_with_any_properties_is_requested_without_strict() -> Result<()> {
    let outputs = "  - { name: facts, type: object }\n  - { name: rows, type: array, items: object, min_items: 1 }";
    let (fixture, server) = fixture(outputs, &[r#"{"facts": {"a": 1}, "rows": [{"b": 2}]}"#]).await?;
    let output = fixture.terminal.run(&["run", "agent", "typed", "--input", ORDER]).await?;
    assert_eq!(output.json()?["outputs"], json!({ "facts": { "a": 1 }, "rows": [{ "b": 2 }] }), "{output:?}");
    let format = server.requests()[0].body["response_format"]["json_schema"].clone();
    assert_eq!(format["strict"], false);
    assert_eq!(format["schema"]["properties"]["facts"], json!({ "type": "object", "additionalProperties": true }));
    Ok(())
}

#[tokio::test]
async fn an_input_is_validated_to_its_innermost_value() -> Result<()> {
    let (fixture, server) = fixture(ROWS, &["{}"]).await?;
    for (order, code, message) in [
        (r#"order={"id": "a", "amount": "3"}"#, "invalid_input", "`inputs.order.amount` must be a number, not \"3\""),
        (r#"order={"id": "a"}"#, "invalid_input", "`inputs.order.amount` (number) is missing"),
        (
            r#"order={"amuont": 3, "amount": 3}"#,
            "invalid_input",
            "`inputs.order` has no property `amuont`, did you mean `amount`?",
        ),
    ] {
        let error = fixture.terminal.run(&["run", "agent", "typed", "--input", order]).await?.expect_error(2)?;
        assert_eq!(error["code"], code, "{error}");
        ensure!(error["message"].as_str().is_some_and(|found| found.contains(message)), "{message}: {error}");
    }
    assert_eq!(server.count(), 0, "no model is called for invalid inputs");
    Ok(())
}

#[tokio::test]
async fn an_agent_is_shown_with_its_types_above_its_definition() -> Result<()> {
    let output = CliHarness::open()?.run(&["agents", "show", "kpi_dashboard_narrator_agent", "-o", "table"]).await?;
    let (head, definition) = output.out.split_once("# outputs:\n").context("the outputs")?;
    ensure!(head.starts_with("# inputs:\n#   data: object with any properties\n"), "{head}");
    let rows = "#   kpis: array of object, optional\n#     change_pct: number, in %, optional\n#     name: string\n";
    ensure!(definition.contains(rows), "{definition}");
    Ok(())
}
