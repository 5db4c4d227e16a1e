//! The report and the artifacts of a run over one's own data, and the rejection of each run, path and user
//! that has none.

use std::path::Path;

use anyhow::{Context, Result};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_protocol::Json;

const CSV: &str = "Day,Crew,Lamps\n2024-10-03,Ann,4\n2024-11-17,Bo,2\n2025-01-05,Ann,3\n2025-02-06,Bo,5\n";
const RUN: [&str; 6] =
    ["run", "workflow", "generate_quarterly_report", "--input", "data_source=@lamps.csv", "--context"];

/// A workflow that waits for a person, so that its run has not ended.
const APPROVAL_FLOW: &str = "\
workflow_id: approval_flow
name: A workflow that waits
inputs:
  - { name: text, type: text, required: true }
steps:
  - id: ask
    approval: { prompt: \"Continue with ${inputs.text}?\" }
  - id: echo
    agent: echo_agent
    depends_on: [ask]
    inputs: { text: \"${inputs.text}\" }
    outputs: [text]
";

fn read(folder: &Path, name: &str) -> Result<String> {
    std::fs::read_to_string(folder.join(name)).with_context(|| name.to_owned())
}

/// The report without the time at which it was written.
fn untimed(report: &str) -> String {
    report.lines().filter(|line| !line.contains("Written")).collect::<Vec<_>>().join("\n")
}

async fn run_report(terminal: &CliHarness, more: &[&str]) -> Result<Json> {
    terminal.write_file("lamps.csv", CSV)?;
    terminal.run(&[&RUN[..], &["company=Lamp & Sons", "-o", "json"], more].concat()).await?.expect_success()
}

#[tokio::test]
async fn a_run_over_own_data_has_the_same_report_at_once_and_later() -> Result<()> {
    let terminal = CliHarness::open()?;
    let reply = run_report(&terminal, &["--context", "quarter=Q1 2025", "--report", "now"]).await?;
    let run = reply["id"].as_str().context("the id of the run")?;
    let later = terminal.run(&["runs", "report", run, "--out", "later", "-o", "json"]).await?.expect_success()?;
    assert_eq!(later["report"].as_array().map(Vec::len), Some(2), "{later:#}");
    for name in ["report.md", "report.html"] {
        let (now, later) =
            (read(terminal.folder(), &format!("now/{name}"))?, read(terminal.folder(), &format!("later/{name}"))?);
        assert_eq!(untimed(&now), untimed(&later));
        assert!(now.contains("Lamp &amp; Sons") && now.contains(run) && now.contains("+33.3%"), "{now}");
    }
    let markdown = read(terminal.folder(), "now/report.md")?;
    for row in [
        "- Agents involved: 5: ",
        "- Policy decisions: 5 on the requests of its steps, none denied",
        "- Models: offline.extractive",
        "- Tokens: 0 in, 0 out",
        "(offline extract, no language model)",
        "## Executive summary",
    ] {
        assert!(markdown.contains(row), "{row} is not in {markdown}");
    }
    assert!(!markdown.contains("Hearth") && !markdown.contains("Acme"), "{markdown}");
    Ok(())
}

#[tokio::test]
async fn an_artifact_of_a_run_is_written_to_a_new_file_and_its_read_is_audited() -> Result<()> {
    let terminal = CliHarness::open()?;
    let reply = run_report(&terminal, &[]).await?;
    let chart = &reply["outputs"]["charts"][0]["svg"]["$artifact"];
    let hash = chart["hash"].as_str().context("the hash of a chart")?;
    let get = |hash: &str, out: &str, user: &str| {
        let words = ["artifacts", "get", hash, "--out", out, "--user", user, "-o", "json"].map(str::to_owned);
        let terminal = &terminal;
        async move { terminal.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let written = get(hash, "chart.svg", "operator").await?.expect_success()?;
    assert_eq!(written["bytes"], chart["bytes"]);
    assert!(read(terminal.folder(), "chart.svg")?.starts_with("<svg"));

    assert_eq!(get(hash, "denied.svg", "guest").await?.expect_error(3)?["code"], "policy_denied");
    assert_eq!(get(&"0".repeat(64), "missing.svg", "admin").await?.expect_error(2)?["code"], "unknown_record");
    let existing = get(hash, "chart.svg", "admin").await?.expect_error(2)?;
    assert!(existing["message"].as_str().is_some_and(|text| text.contains("exists already")), "{existing:#}");
    assert_eq!(get(hash, "nowhere/chart.svg", "admin").await?.expect_error(2)?["code"], "path_not_allowed");
    let malformed = get("abc", "malformed.svg", "admin").await?;
    assert!(malformed.code == 2 && malformed.err.contains("64 hexadecimal digits"), "{malformed:?}");
    for name in ["denied.svg", "missing.svg", "malformed.svg"] {
        assert!(!terminal.folder().join(name).exists(), "{name}");
    }

    let audit = terminal.run(&["audit", "list", "-o", "json"]).await?.expect_success()?;
    let events = audit["records"].as_array().context("records")?.iter().map(|record| &record["event"]);
    let reads: Vec<_> = events.filter(|event| event["resource"] == hash).map(|event| &event["user"]).collect();
    assert_eq!(reads, ["guest", "operator"], "{audit:#}");
    Ok(())
}

#[tokio::test]
async fn a_run_without_a_report_is_rejected_with_the_missing_part() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let definitions = DefinitionsDir::new(&terminal.folder().join("defs"))?;
    definitions.write_echo_agent("echo_agent")?;
    definitions.write_row_workflow("echo_flow", "echo_agent", 1)?;
    definitions.write_model_agent("model_agent", "tier.small")?;
    definitions.write_row_workflow("model_flow", "model_agent", 1)?;
    definitions.write_workflow("approval_flow", APPROVAL_FLOW)?;
    terminal.add_options(&["--definitions", "defs", "-o", "json"]);
    let flow = |id: &'static str, text: &'static str| ["run", "workflow", id, "--input", text];
    let report = |run: &str, out: &str| ["runs", "report", run, "--out", out].map(str::to_owned);
    let refused = |words: [String; 5]| {
        let terminal = &terminal;
        async move { terminal.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await?.expect_error(2) }
    };

    let done = terminal.run(&flow("echo_flow", "text=hello")).await?.expect_success()?;
    let cause = refused(report(done["id"].as_str().context("id")?, "a")).await?;
    assert_eq!(cause["code"], "no_report");
    assert!(cause["message"].as_str().is_some_and(|text| text.contains("final_output")), "{cause:#}");

    let detached = terminal.run(&[&flow("approval_flow", "text=hello")[..], &["--detach"]].concat()).await?;
    let cause = refused(report(detached.expect_success()?["id"].as_str().context("id")?, "b")).await?;
    assert_eq!((&cause["code"], cause["details"]["status"].is_string()), (&Json::from("no_report"), true), "{cause:#}");

    // There is nothing to extract from this text.
    let failed = terminal.run(&flow("model_flow", "text=42")).await?;
    let failed: Json = serde_json::from_str(&failed.out)?;
    let cause = refused(report(failed["id"].as_str().context("id")?, "c")).await?;
    assert_eq!(
        (&cause["code"], &cause["details"]["cause"]["code"]),
        (&"no_report".into(), &"offline_cannot_answer".into())
    );

    assert_eq!(refused(report("run_0000", "d")).await?["code"], "unknown_run");
    for dir in ["a", "b", "c", "d"] {
        assert!(!terminal.folder().join(dir).exists(), "{dir} was created");
    }

    // The workflow has run: its reply is printed, and the missing report decides the exit code.
    let output = terminal.run(&[&flow("echo_flow", "text=hello")[..], &["--report", "e"]].concat()).await?;
    assert!(output.code == 2 && output.out.contains("success") && output.err.contains("no_report"), "{output:?}");
    let both = terminal.run(&[&flow("echo_flow", "text=x")[..], &["--report", "f", "--detach"]].concat()).await?;
    assert_eq!(both.code, 2, "{both:?}");
    Ok(())
}

const COLLECT: &str = "\
agent_id: collect_agent
name: Collect Agent
category: data_analytics
description: Computes facts
version: \"1.0.0\"
inputs:
  - { name: data_source, type: file, required: true }
outputs:
  - { name: raw_data, type: object }
implementation: { runtime: native, handler: native.data_collection }
";

const LETTER: &str = "\
workflow_id: letter
name: Letter
description: Facts beside a long text
version: \"1.0.0\"
inputs:
  - { name: data_source, type: file, required: true }
  - { name: text, type: text, required: true }
steps:
  - { id: collect, agent: collect_agent, outputs: [raw_data] }
  - { id: echo, agent: echo_agent, inputs: { text: \"${inputs.text}\" }, outputs: [text] }
outputs:
  table: \"${steps.collect.outputs}\"
  appendix: \"${steps.echo.outputs.text}\"
";

#[tokio::test]
async fn a_workflow_of_ones_own_has_a_report_with_the_content_of_its_large_outputs() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let definitions = DefinitionsDir::new(&terminal.folder().join("defs"))?;
    definitions.write_echo_agent("echo_agent")?;
    terminal.write_file("defs/agents/data_analytics/collect_agent.yaml", COLLECT)?;
    definitions.write_workflow("letter", LETTER)?;
    terminal.add_options(&["--definitions", "defs", "-o", "json"]);
    terminal.write_file("lamps.csv", CSV)?;
    terminal.write_file("long.txt", "A line of the appendix.\n".repeat(4_000))?;
    let words = ["run", "workflow", "letter", "--input", "data_source=@lamps.csv", "--input", "text=@long.txt"];
    let reply = terminal.run(&[&words[..], &["--report", "out"]].concat()).await?.expect_success()?;
    let artifact = &reply["outputs"]["appendix"]["$artifact"];
    assert!(artifact["bytes"].as_u64() > Some(90_000), "{reply:#}");
    let markdown = read(terminal.folder(), "out/report.md")?;
    assert!(markdown.contains("## Appendix\n\nA line of the appendix.") && markdown.contains("| Lamps | 14 |"));
    assert!(markdown.contains("- Models: none") && !markdown.contains("no language model"), "{markdown}");
    let hash = artifact["hash"].as_str().context("the hash")?;
    terminal.run(&["artifacts", "get", hash, "--out", "appendix.txt"]).await?.expect_success()?;
    assert_eq!(read(terminal.folder(), "appendix.txt")?, read(terminal.folder(), "long.txt")?);
    Ok(())
}

#[tokio::test]
async fn a_report_is_not_written_over_a_file_or_below_one() -> Result<()> {
    let terminal = CliHarness::open()?;
    let reply = run_report(&terminal, &["--report", "first"]).await?;
    let run = reply["id"].as_str().context("id")?.to_owned();
    let report = |out: &'static str| {
        let (terminal, run) = (&terminal, run.clone());
        async move { terminal.run(&["runs", "report", &run, "--out", out, "-o", "json"]).await }
    };
    let second = report("first").await?.expect_error(2)?;
    assert!(second["message"].as_str().is_some_and(|text| text.contains("report.md exists already")), "{second:#}");
    let below = report("lamps.csv/out").await?.expect_error(2)?;
    assert_eq!(below["code"], "path_not_allowed");
    let file = report("lamps.csv").await?.expect_error(2)?;
    assert_eq!(file["code"], "path_not_allowed");

    // Found before the workflow runs.
    let runs = |reply: &Json| reply["runs"].as_array().map(Vec::len);
    let before = runs(&terminal.run(&["runs", "list", "-o", "json"]).await?.expect_success()?);
    let words = [&RUN[..], &["company=x", "-o", "json", "--report", "first"]].concat();
    terminal.run(&words).await?.expect_error(2)?;
    let after = runs(&terminal.run(&["runs", "list", "-o", "json"]).await?.expect_success()?);
    assert_eq!(before, after);

    let denied = terminal.run(&["runs", "report", &run, "--out", "x", "-o", "json", "--user", "guest"]).await?;
    assert_eq!(denied.expect_error(3)?["code"], "policy_denied");
    Ok(())
}

/// A score and a qualification are judgements, which the offline model does not have.
#[tokio::test]
async fn a_lead_is_not_qualified_without_a_model() -> Result<()> {
    let terminal = CliHarness::open()?;
    let words = ["run", "agent", "lead_qualification_agent", "--input", "lead=Hello", "-o", "json"];
    let output = terminal.run(&words).await?;
    assert!(!output.out.contains("\"qualification\": \"hot\""), "{output:?}");
    let cause = output.expect_error(1)?;
    assert_eq!(cause["code"], "offline_cannot_answer");
    let fields: Vec<&str> =
        cause["details"]["fields"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    assert_eq!(fields, ["score", "qualification", "next_questions"]);
    assert!(cause["message"].as_str().is_some_and(|text| text.contains("OPENAI_API_KEY")), "{cause:#}");
    let costs = terminal.run(&["costs", "-o", "json"]).await?.expect_success()?;
    assert_eq!(costs["total_usd"].as_f64(), Some(0.0));

    let words = ["run", "agent", "executive_summary_agent", "--input", "document=Sales rose by 3%.", "-o", "json"];
    let reply = terminal.run(&words).await?.expect_success()?;
    assert_eq!(reply["metadata"]["disclaimer"], "(offline extract, no language model)");
    assert_eq!(reply["outputs"]["summary"], "Sales rose by 3%. (offline extract, no language model)");
    assert_eq!(reply["outputs"]["key_points"][0], "Sales rose by 3%. (offline extract, no language model)");
    assert_eq!(reply["metadata"]["tokens_used"], serde_json::json!({ "input": 0, "output": 0 }));
    Ok(())
}
