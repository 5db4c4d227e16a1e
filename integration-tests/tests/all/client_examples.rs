//! The examples of the client over its three transports: in-process, HTTP and NATS. Each is compiled here as it is, without
//! a change.

use anyhow::Result;
use greenroom_client::Client;
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod};
use greenroom_integration_tests::up_process::UpProcess;
use greenroom_supervisor::compose::Overrides;

#[expect(dead_code, reason = "the tests call what the function `main` of the example calls")]
#[path = "../../../client/examples/agent.rs"]
mod agent;

#[expect(dead_code, reason = "the tests call what the function `main` of the example calls")]
#[path = "../../../client/examples/quarterly_report.rs"]
mod quarterly_report;

async fn run_examples(client: &Client) -> Result<()> {
    let summary = agent::summarize(client).await?;
    assert!(!summary.summary.is_empty(), "{summary:?}");
    let report = quarterly_report::write_report(client).await?;
    assert_eq!(report.steps, 5, "{report:?}");
    for output in ["executive_summary", "financial_summary", "kpi_insights"] {
        assert!(!report.outputs[output].is_null(), "{output}: {report:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_examples_work_in_process() -> Result<()> {
    let pod = start_pod(StoreKind::Memory, None, Overrides::default()).await?;
    run_examples(&pod.admin()?).await
}

#[tokio::test]
async fn the_examples_work_over_http() -> Result<()> {
    let up = UpProcess::start_embedded().await?;
    run_examples(&up.http(ADMIN_KEY)?).await
}

#[tokio::test]
async fn the_examples_work_over_nats() -> Result<()> {
    let up = UpProcess::start_embedded().await?;
    run_examples(&up.nats(ADMIN_KEY).await?).await
}
