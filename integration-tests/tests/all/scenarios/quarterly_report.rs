//! The end-to-end test of the client's architecture document, assertion by assertion, over each interface. Its `Team` is the
//! client's; at the command line it is a team of a file.

use anyhow::{Context, Result};
use greenroom_client::{Client, Team};
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_integration_tests::up_process::UpProcess;
use greenroom_protocol::Json;
use serde_json::json;

const SALES: &str = include_str!("../../../../supervisor/demo/sales.csv");
const WORKFLOW: &str = "generate_quarterly_report";
const AGENTS: [&str; 3] = ["executive_summary_agent", "kpi_dashboard_narrator_agent", "financial_narrative_agent"];

/// A process with the embedded catalogue, and the data of the test where the handlers read files.
async fn start() -> Result<UpProcess> {
    let up = UpProcess::start_embedded().await?;
    up.terminal.write_file("data/files/test_data.csv", SALES)?;
    Ok(up)
}

/// The assertions of the test.
fn assert_report(result: &Json) -> Result<()> {
    assert_eq!(result["status"], "success", "{result:#}");
    let outputs = &result["outputs"];
    assert!(outputs.get("executive_summary").is_some(), "{result:#}");
    assert!(outputs.get("kpi_insights").is_some(), "{result:#}");
    assert!(outputs.get("financial_summary").is_some(), "{result:#}");
    let summary = outputs["executive_summary"].as_str().context("the summary is a text")?;
    assert!(summary.chars().count() < 1000, "{summary}");
    assert_eq!(result["metadata"]["agents_involved"], 3, "{result:#}");
    assert_eq!(result["metadata"]["workflow_steps"], 5, "{result:#}");
    Ok(())
}

async fn generate(client: &Client) -> Result<()> {
    let team = Team::new("Report Team").agents(AGENTS);
    let inputs = json!({ "quarter": "Q4 2024", "data_source": "test_data.csv" });
    let result = team.workflow(client, WORKFLOW).inputs(&inputs).reply().await?;
    assert_report(&serde_json::to_value(result)?)
}

#[tokio::test]
async fn a_team_generates_the_quarterly_report_over_http() -> Result<()> {
    let up = start().await?;
    generate(&up.http(ADMIN_KEY)?).await
}

#[tokio::test]
async fn a_team_generates_the_quarterly_report_over_nats() -> Result<()> {
    let up = start().await?;
    generate(&up.nats(ADMIN_KEY).await?).await
}

#[tokio::test]
async fn a_team_generates_the_quarterly_report_at_the_command_line() -> Result<()> {
    let up = start().await?;
    up.terminal.write_file("team.yaml", format!("name: Report Team\nagents: [{}]\n", AGENTS.join(", ")))?;
    let words = ["run", "team", "--inline", "team.yaml", "--workflow", WORKFLOW];
    let inputs = ["--input", "quarter=Q4 2024", "--input", "data_source=test_data.csv"];
    let result = up.terminal.run(&[&words[..], &inputs].concat()).await?.expect_success()?;
    assert_report(&result)
}
