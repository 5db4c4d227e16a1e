//! Forms a team for one request, lets it write the report of a table, and follows its run.
//!
//! `cargo run --package greenroom-client --example quarterly_report --features http,nats -- nats://127.0.0.1:4222 KEY`; the
//! address may be that of a bridge, too. A pod whose users have no keys needs none.

#![expect(clippy::result_large_err, reason = "an example shows the cause, and is not measured")]

use std::time::Duration;

use futures::TryStreamExt;
use greenroom_client::{Client, Credential, Error, Observation, Team};
use greenroom_protocol::Json;
use greenroom_protocol::event::RunEventKind;
use serde_json::json;

const WORKFLOW: &str = "generate_quarterly_report";
const SALES: &str = "day,region,revenue\n2024-10-03,North,120.50\n2024-11-17,South,98.00\n2024-12-21,North,143.25\n";

/// What remains of the run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) steps: usize,
    pub(crate) outputs: Json,
}

/// Runs the workflow of the catalogue with a team of three.
pub(crate) async fn write_report(client: &Client) -> Result<Report, Error> {
    // The table is stored once: the same content has the same reference.
    let sales = client.upload("sales.csv", "text/csv", SALES).await?;
    let inputs = json!({ "data_source": sales.to_json(), "quarter": "Q4 2024" });
    let agents = ["executive_summary_agent", "kpi_dashboard_narrator_agent", "financial_narrative_agent"];
    let team = Team::new("Reporting").agents(agents).shared_context(json!({ "company": "Acme Corp" }));
    // With its key, a repetition of the call continues with the same run.
    let call = team.workflow(client, WORKFLOW).inputs(&inputs).idempotency_key("example-q4-2024");
    let accepted = call.timeout(Duration::from_secs(60)).detach().reply().await?;
    let run = client.run(&accepted.id);
    let (mut observations, mut steps) = (run.watch(), 0);
    while let Some(observation) = observations.try_next().await? {
        if let Observation::Event(event) = observation
            && matches!(event.kind, RunEventKind::StepEnded { .. })
        {
            steps += 1;
        }
    }
    let described = run.get().execute().await?;
    let reply = described.get("reply").cloned().unwrap_or_default();
    Ok(Report { steps, outputs: reply.get("outputs").cloned().unwrap_or_default() })
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8000".to_owned());
    let mut client = Client::connect(&address).await?;
    if let Some(key) = arguments.next() {
        client = client.with_credential(Credential::ApiKey(key));
    }
    let report = write_report(&client).await?;
    println!("{} steps", report.steps);
    println!("{}", report.outputs.get("executive_summary").and_then(Json::as_str).unwrap_or("no summary"));
    Ok(())
}
