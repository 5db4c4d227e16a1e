//! `greenroom eval` and `greenroom catalogue` as a user has them: verdicts, exit codes, kept results, and the budget.

use std::fs;

use anyhow::Result;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness};
use greenroom_integration_tests::wait::wait_until;
use serde_json::{Value, json};

/// An agent that returns its input, with two examples: one that holds, and one of which `expect` decides.
fn agent(expect: &str) -> String {
    format!(
        "agent_id: echo_text\nname: Echo Text\ncategory: business_ops\ndescription: Returns its text\nversion: \"1.0.0\"\n\
         tags: [mirror]\ninputs: [{{ name: text, type: text, required: true }}]\noutputs: [{{ name: text, type: text }}]\n\
         implementation: {{ runtime: native, handler: native.echo }}\nexamples:\n  - name: refused\n    inputs: {{}}\n    \
         expect: [{{ fails: missing_input }}]\n  - name: bees\n    inputs: {{ text: \"Bees dance.\" }}\n    expect: {expect}\n"
    )
}

const FILE: &str = "definitions/agents/business_ops/echo_text.yaml";
const HOLDS: &str = "[{ path: text, contains: bees, length: { maximum: 20 } }]";
const FAILS: &str = "[{ path: text, contains: wasps }]";

fn harness(expect: &str) -> Result<CliHarness> {
    let mut terminal = CliHarness::open_without_format()?;
    DefinitionsDir::new(&terminal.folder().join("definitions"))?;
    terminal.write_file(FILE, agent(expect))?;
    terminal.add_options(&["--definitions", "definitions"]);
    Ok(terminal)
}

#[tokio::test]
async fn examples_that_hold_pass_and_are_stored() -> Result<()> {
    let terminal = harness(HOLDS)?;
    let words = ["eval", "echo_text", "--keep", "kept.json", "--junit", "junit.xml", "-o", "json"];
    let result = terminal.run(&words).await?.expect_success()?;
    assert_eq!(json!([result["passed"], result["failed"], result["skipped"]]), json!([2, 0, 0]));
    let junit = fs::read_to_string(terminal.folder().join("junit.xml"))?;
    assert!(junit.contains("tests=\"2\" failures=\"0\"") && junit.contains("classname=\"echo_text\" name=\"bees\""));
    assert!(terminal.folder().join("kept.json").is_file());
    Ok(())
}

#[tokio::test]
async fn an_assertion_that_fails_is_named_with_the_output_and_compared_with_the_earlier_result() -> Result<()> {
    let terminal = harness(HOLDS)?;
    terminal.run(&["eval", "--keep", "kept.json", "-o", "json"]).await?.expect_success()?;
    terminal.write_file(FILE, agent(FAILS))?;
    let failed = terminal.run(&["eval", "--compare", "kept.json"]).await?;
    assert_eq!(failed.code, 1, "{failed:?}");
    for part in [
        "assertion 1",
        "does not contain \"wasps\"",
        "Bees dance.",
        "fails now: echo_text · bees",
        "1 passed, 1 failed",
    ] {
        assert!(failed.out.contains(part), "{part}: {}", failed.out);
    }
    Ok(())
}

#[tokio::test]
async fn a_budget_of_nothing_runs_nothing() -> Result<()> {
    let terminal = harness(HOLDS)?;
    let words = ["eval", "--max-cost-usd", "0", "-o", "json"];
    let result = terminal.run(&words).await?.expect_success()?;
    assert_eq!(result["skipped"], 2);
    assert_eq!(result["results"][0]["skipped"], "the budget is used up");
    Ok(())
}

/// The examples of an agent of a model, by their names and texts.
fn examples(texts: &[(&str, &str)]) -> String {
    let example = |(name, text): &(&str, &str)| {
        format!("  - {{ name: {name}, inputs: {{ text: {text} }}, expect: [{{ path: text, contains: done }}] }}\n")
    };
    format!("examples:\n{}", texts.iter().map(example).collect::<String>())
}

#[tokio::test]
async fn an_example_that_the_rest_of_the_budget_does_not_cover_is_skipped_and_a_shorter_one_runs() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = ModelFixture::with_openai(server.url())?;
    // Each byte may be a token of 3 millionths, so a call of the long one may cost more than what the first one leaves.
    let long = "x".repeat(6_000);
    let texts = [("short", "hello"), ("long", long.as_str()), ("last", "again")];
    fixture.write_llm_agent_with("llm_agent", 60, 200, &examples(&texts))?;
    let words = ["eval", "--max-cost-usd", "0.02"];
    let stored = ["--keep", "kept.json", "--junit", "junit.xml"];
    let result = fixture.terminal.run(&[&words[..], &stored].concat()).await?.expect_success()?;
    assert_eq!(json!([result["passed"], result["failed"], result["skipped"]]), json!([2, 0, 1]), "{result:#}");
    let long = &result["results"][1];
    let reason = "a call could cost more than the";
    assert!(long["verdict"] == "skipped" && long["skipped"].as_str().is_some_and(|text| text.starts_with(reason)));
    assert_eq!(server.count(), 2, "the call of the long one was not sent");
    let junit = fs::read_to_string(fixture.terminal.folder().join("junit.xml"))?;
    assert!(junit.contains(&format!("<skipped message=\"{reason}")) && junit.contains("failures=\"0\""), "{junit}");
    let compared = fixture.terminal.run(&[&words[..], &["--compare", "kept.json", "-o", "table"]].concat()).await?;
    assert!(compared.code == 0 && compared.out.contains(reason), "{compared:?}");
    assert!(compared.out.contains("no difference"), "{compared:?}");
    Ok(())
}

#[tokio::test]
async fn an_interrupted_evaluation_keeps_what_has_ended() -> Result<()> {
    let silent = |request: &RecordedRequest| match request.body.to_string().contains("hold") {
        true => ServerBehavior::Silence,
        false => ServerBehavior::Good,
    };
    let server = ScriptServer::start(silent).await?;
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.write_llm_agent_with("llm_agent", 60, 200, &examples(&[("first", "hello"), ("second", "hold")]))?;
    let process = fixture.terminal.start(&["eval", "--keep", "kept.json"])?;
    let is_called = || async { (server.count() == 2).then_some(()) };
    wait_until("the second example is in flight", COMMAND_WAIT_MAX, is_called).await?;
    process.interrupt()?;
    let output = process.wait().await?;
    assert!(output.code == 130 && output.err.contains("kept.json has the 1 examples that have ended"), "{output:?}");
    let stored: Value = serde_json::from_str(&fs::read_to_string(fixture.terminal.folder().join("kept.json"))?)?;
    assert_eq!(stored["incomplete"], true, "{stored:#}");
    assert_eq!(json!([stored["results"][0]["verdict"], stored["results"][1]]), json!(["passed", null]), "{stored:#}");
    fixture.write_llm_agent_with("llm_agent", 60, 200, &examples(&[("first", "hello"), ("second", "hello")]))?;
    let compared = fixture.terminal.run(&["eval", "--compare", "kept.json"]).await?.expect_success()?;
    let comparison = &compared["comparison"];
    assert_eq!(json!([comparison["added"], comparison["incomplete_before"]]), json!([[], true]), "{comparison:#}");
    Ok(())
}

#[tokio::test]
async fn the_shipped_examples_hold_offline_where_they_claim_to_as_ci_runs_them() -> Result<()> {
    let terminal = CliHarness::open()?;
    let words = ["eval", "--model", "offline.extractive", "--max-cost-usd", "0.01"];
    let first = ["--keep", "kept.json", "--junit", "junit.xml"];
    let result = terminal.run(&[&words[..], &first].concat()).await?.expect_success()?;
    let count = |name: &str| result[name].as_u64().unwrap_or_default();
    assert_eq!(result["failed"], 0, "{result:#}");
    let examples = result["results"].as_array().map_or(0, Vec::len) as u64;
    assert!(count("passed") > 0 && count("passed") + count("skipped") == examples, "{result:#}");
    let mut passed = result["results"].as_array().into_iter().flatten().filter(|one| one["verdict"] == "passed");
    assert!(passed.any(|one| one["agent"] == "executive_summary_agent_001"), "{result:#}");
    let junit = fs::read_to_string(terminal.folder().join("junit.xml"))?;
    assert!(junit.contains(&format!("tests=\"{examples}\" failures=\"0\"")), "{junit}");
    let words = [&words[..], &["--category", "business_ops"]].concat();
    let compared = terminal.run(&[&words[..], &["--compare", "kept.json"]].concat()).await?.expect_success()?;
    assert_eq!(compared["failed"], 0, "{compared:#}");
    let refused = terminal.run(&["eval", "--category", "no_such_category"]).await?.expect_error(2)?;
    assert_eq!(refused["code"], "unknown_record");
    Ok(())
}

#[tokio::test]
async fn the_catalogue_is_searched_drawn_and_measured_without_a_pod() -> Result<()> {
    let terminal = harness(HOLDS)?;
    let found = terminal.run(&["catalogue", "search", "mirror", "-o", "json"]).await?.expect_success()?;
    assert_eq!(found["found"][0]["id"], "echo_text");
    let displayed = terminal.run(&["catalogue", "show", "echo_text", "-o", "json"]).await?.expect_success()?;
    assert_eq!(displayed["agent"]["tags"][0], "mirror");
    let graph = terminal.run(&["catalogue", "graph", "--format", "svg", "-o", "json"]).await?.expect_success()?;
    assert!(graph["graph"].as_str().is_some_and(|svg| svg.starts_with("<svg") && svg.contains("echo_text")));
    let stats = terminal.run(&["catalogue", "stats", "-o", "json"]).await?.expect_success()?;
    assert_eq!(json!([stats["totals"]["agents"], stats["totals"]["examples"]]), json!([1, 2]));
    terminal.run(&["catalogue", "show", "nothing", "-o", "json"]).await?.expect_error(2)?;
    Ok(())
}
