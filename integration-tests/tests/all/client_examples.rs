//! The examples of the client and the program of the README over its three transports: in-process, HTTP and NATS. Each is
//! compiled here as it is, without a change.

use anyhow::{Context, Result, ensure};
use greenroom_client::Client;
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod};
use greenroom_integration_tests::up_process::UpProcess;
use greenroom_supervisor::compose::Overrides;
use proc_macro2::TokenStream;

#[expect(dead_code, reason = "the tests call what the function `main` of the example calls")]
#[path = "../../../client/examples/agent.rs"]
mod agent;

#[expect(dead_code, reason = "the tests call what the function `main` of the example calls")]
#[path = "../../../client/examples/quarterly_report.rs"]
mod quarterly_report;

mod readme;

const README: &str = include_str!("../../../README.md");

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
    let client = pod.admin()?;
    run_examples(&client).await?;
    readme::run(client).await
}

#[tokio::test]
async fn the_examples_work_over_http() -> Result<()> {
    let up = UpProcess::start_embedded().await?;
    let client = up.http(ADMIN_KEY)?;
    run_examples(&client).await?;
    readme::run(client).await
}

#[tokio::test]
async fn the_examples_work_over_nats() -> Result<()> {
    let up = UpProcess::start_embedded().await?;
    let client = up.nats(ADMIN_KEY).await?;
    run_examples(&client).await?;
    readme::run(client).await
}

/// The tokens of a program, without its comments and its layout.
fn tokens(program: &str) -> Result<String> {
    let stream: TokenStream = program.parse().map_err(|error| anyhow::anyhow!("{program}: {error}"))?;
    Ok(stream.to_string())
}

#[test]
fn the_program_of_the_readme_is_the_one_that_these_tests_run() -> Result<()> {
    let (_, rest) = README.split_once("```rust\n").context("the README has a program")?;
    let (program, rest) = rest.split_once("```").context("the program ends")?;
    ensure!(!rest.contains("```rust"), "the README has another program, which no test compiles");
    let compiled = tokens(include_str!("client_examples/readme.rs"))?;
    let parts: Vec<&str> = program.split("\n\n").collect();
    ensure!(parts.len() > 5, "{program}");
    for part in parts {
        ensure!(compiled.contains(&tokens(part)?), "client_examples/readme.rs does not have this part:\n{part}");
    }
    Ok(())
}
