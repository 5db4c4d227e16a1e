//! The program of the README, in parts that are the same as there, token for token.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::TryStreamExt;
use greenroom_client::{Client, Credential, Team, nats::ConnectOptions};
use greenroom_protocol::{Json, RunId};
use serde_json::json;

use super::agent::Summary;

const TEXT: &str = "Revenue grew by 12 percent in the fourth quarter. Costs were flat.";
const SALES: &str = "day,region,revenue\n2024-10-03,North,120.50\n2024-11-17,South,98.00\n2024-12-21,North,143.25\n";

#[expect(dead_code, reason = "it is compiled only: its address is that of no server")]
async fn connect(key: String, run: RunId) -> Result<()> {
    let options = ConnectOptions::default().credential(Credential::ApiKey(key));
    let client = Client::connect_with("nats://nats.example:4222", options).await?;

    call(client, TEXT, json!({}), json!({}), run).await
}

/// Executes the calls.
async fn call(client: Client, text: &str, inputs: Json, context: Json, run: RunId) -> Result<()> {
    // One agent; outputs of your own type, or by name with `execute()`.
    let summary: Summary = client.agent("executive_summary_agent").input("document", text).execute_as().await?;

    // A workflow with a timeout and a key: repeating the call returns the first reply.
    let outputs = client
        .workflow("generate_quarterly_report")
        .inputs(&inputs)
        .timeout(Duration::from_secs(600))
        .idempotency_key("q4-2024")
        .run()
        .await?;

    // A team that exists for this request.
    let agents = ["executive_summary_agent", "kpi_dashboard_narrator_agent", "financial_narrative_agent"];
    let team = Team::new("Reporting").agents(agents).shared_context(&context);
    let report = team.execute_workflow(&client, "generate_quarterly_report", &inputs).await?;

    // The events of a run; the stream continues when a pod or a connection is lost.
    let mut events = client.run(&run).watch();

    ensure!(!summary.summary.is_empty() && !outputs.is_empty() && !report.is_empty(), "{summary:?}");
    ensure!(events.try_next().await?.is_some(), "the run has events");
    Ok(())
}

/// Runs the program with inputs of its own.
pub(super) async fn run(client: Client) -> Result<()> {
    let sales = client.upload("q4.csv", "text/csv", SALES).await?;
    let inputs = json!({ "data_source": sales.to_json(), "quarter": "Q4 2024" });
    let started = client.workflow("generate_quarterly_report").inputs(&inputs).detach().reply().await?;
    call(client, TEXT, inputs, json!({ "company": "Acme Corp" }), RunId::new(started.id)?).await
}
