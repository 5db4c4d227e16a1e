//! Steps that wait for an event, and teams that a request contains, as their users run them with the command line.

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::terminal::COMMAND_WAIT_MAX;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Json;
use serde_json::json;

use crate::run_cases::{detach, fixture, reaches, show};

const PAYMENT: &str = "timeout: 60
steps:
  - { id: payment, wait_for: { event: paid, timeout: 3600 } }
  - { id: ship, agent: echo_text, inputs: { text: \"paid ${steps.payment.outputs.value.amount}\" }, outputs: [text] }
";
const OUTER: &str = "steps:
  - { id: call, workflow: payment }
  - { id: after, agent: echo_text, depends_on: [call], inputs: { text: after }, outputs: [text] }
";
/// A workflow that waits for a person before it uses the context of its team.
const GREETING: &str = "steps:
  - { id: ask, approval: { prompt: \"Greet?\" } }
  - { id: greet, agent: echo_text, depends_on: [ask], inputs: { text: \"${context.greeting}\" }, outputs: [text] }
";
const CREW: &str = "name: Crew\nagents: [echo_text]\nshared_context: { greeting: hello }\n";

/// Waits until a run waits for an event, and returns the run of the step.
async fn waiting_run(fixture: &ModelFixture, run: &str) -> Result<String> {
    let pending = || async {
        let output = show(fixture, run).await.ok()?;
        let wait = &output["run"]["pending_waits"][0];
        (wait["target"]["event"] == "paid").then(|| wait["run"].as_str().map(str::to_owned))?
    };
    wait_until("a step waits for the event", COMMAND_WAIT_MAX, pending).await
}

async fn publish(fixture: &ModelFixture, run: &str, more: &[&str]) -> Result<(i32, Json)> {
    let output = fixture.terminal.run(&[&["runs", "publish", run, "paid"][..], more].concat()).await?;
    match output.code {
        0 => Ok((0, Json::Null)),
        code => Ok((code, output.expect_error(code)?)),
    }
}

#[tokio::test]
async fn a_run_waits_for_an_event_and_survives_a_kill() -> Result<()> {
    let fixture = fixture(&[("payment", PAYMENT), ("outer", OUTER)])?;
    let (host, _client) = fixture.up().await?;
    let outer = detach(&fixture, "outer").await?;
    let inner = waiting_run(&fixture, &outer).await?;
    ensure!(inner != outer, "the run of the step is named");
    let table = fixture.terminal.run(&["runs", "show", &outer, "-o", "table"]).await?;
    assert!(table.out.contains(&format!("greenroom runs publish {inner} paid")), "{}", table.out);
    assert!(show(&fixture, &inner).await?["run"].get("deadline").is_none(), "its time does not pass");
    drop(host);

    let (_host, _client) = fixture.up().await?;
    let published = || async {
        let published = publish(&fixture, &inner, &["--data", "{\"amount\": 3}", "--idempotency-key", "once"]).await;
        published.ok().filter(|(code, _)| *code == 0)
    };
    wait_until("the resumed run receives the event", COMMAND_WAIT_MAX, published).await?;
    reaches(&fixture, &outer, "success").await?;
    let report = reaches(&fixture, &inner, "success").await?;
    assert_eq!(report["reply"]["outputs"]["text"], "paid 3");
    Ok(())
}

#[tokio::test]
async fn an_event_is_refused_that_is_too_large_or_comes_too_late() -> Result<()> {
    let fixture = fixture(&[("payment", PAYMENT)])?;
    let (_host, _client) = fixture.up().await?;
    let run = detach(&fixture, "payment").await?;
    waiting_run(&fixture, &run).await?;
    let large = format!("\"{}\"", "x".repeat(17 * 1024));
    let (code, error) = publish(&fixture, &run, &["--data", &large]).await?;
    assert_eq!((code, &error["code"]), (2, &json!("payload_too_large")), "{error:#}");
    let invalid = fixture.terminal.run(&["runs", "publish", &run, "paid", "--data", "nope"]).await?;
    assert_eq!(invalid.code, 2, "{invalid:?}");
    let (code, error) = publish(&fixture, "run_none", &[]).await?;
    assert_eq!((code, &error["code"]), (2, &json!("unknown_run")), "{error:#}");
    assert_eq!(publish(&fixture, &run, &["--data", "{\"amount\": 3}"]).await?.0, 0);
    reaches(&fixture, &run, "success").await?;
    let (code, error) = publish(&fixture, &run, &[]).await?;
    assert_eq!((code, &error["code"]), (2, &json!("run_not_active")), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn a_team_of_a_request_is_formed_again_after_a_kill() -> Result<()> {
    let fixture = fixture(&[("greeting", GREETING)])?;
    fixture.terminal.write_file("crew.yaml", CREW)?;
    let (host, _client) = fixture.up().await?;
    let words = ["run", "team", "--inline", "crew.yaml", "--workflow", "greeting", "--detach"];
    let reply = fixture.terminal.run(&words).await?.expect_success()?;
    let run = reply["outputs"]["run_id"].as_str().context("a run")?.to_owned();
    let report = reaches(&fixture, &run, "waiting_approval").await?;
    let team = report["run"]["team_id"].as_str().context("a team")?.to_owned();
    assert!(team.starts_with("inline_"), "{team}");
    // Whoever knows the id cannot form the team of another request.
    let words = ["run", "team", team.as_str(), "--workflow", "greeting", "--detach"];
    let error = fixture.terminal.run(&words).await?.expect_error(2)?;
    assert_eq!(error["code"], "unknown_team", "{error:#}");
    drop(host);

    let (_host, _client) = fixture.up().await?;
    let approve = ["runs", "approve", run.as_str(), "ask"];
    let approved = || async { fixture.terminal.run(&approve).await.ok().filter(|output| output.code == 0) };
    wait_until("the resumed run is approved", COMMAND_WAIT_MAX, approved).await?;
    let report = reaches(&fixture, &run, "success").await?;
    assert_eq!(report["reply"]["outputs"]["text"], "hello", "{report:#}");
    assert_eq!(report["reply"]["metadata"]["agents_involved"], 1, "its member has executed the step");
    Ok(())
}

#[tokio::test]
async fn a_team_of_a_request_is_checked_as_a_file_is() -> Result<()> {
    let fixture = fixture(&[("greeting", GREETING)])?;
    let start = async |yaml: &str| {
        fixture.terminal.write_file("crew.yaml", yaml)?;
        fixture.terminal.run(&["run", "team", "--inline", "crew.yaml", "--workflow", "greeting", "--detach"]).await
    };
    let refused = [
        ("name: Crew\nagents: [echo_txet]\n", "team.agents[0]: there is no agent `echo_txet`"),
        ("name: Crew\nagents: [echo_text, echo_text]\n", "team.agents[1]: `echo_text` is duplicated"),
        ("name: Crew\nagents: []\n", "team.agents: the team has no agents"),
        ("name: Crew\nagents: [echo_text]\nshared_context: { a key: 1 }\n", "team.shared_context: \"a key\""),
        ("name: Crew\nagents: [echo_text]\nworkflows: [greeting]\n", "crew.yaml:3:1"),
        ("name: Crew\n", "needs `agents`"),
    ];
    for (yaml, message) in refused {
        let error = start(yaml).await?.expect_error(2)?;
        assert_eq!(error["code"], "invalid_definition", "{error:#}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(message)), "{message}: {error:#}");
    }
    let large = format!("{CREW}  # {}\n", "x".repeat(65 * 1024));
    assert_eq!(start(&large).await?.expect_error(2)?["code"], "payload_too_large");
    for words in [
        &["run", "team", "--inline", "crew.yaml"][..],
        &["run", "team", "crew", "--inline", "crew.yaml", "--workflow", "greeting"],
        &["run", "team"],
    ] {
        assert_eq!(fixture.terminal.run(words).await?.code, 2, "{words:?}");
    }
    Ok(())
}
