//! Trees of runs on the real binary: the limits of a run hold over all runs below it, calls wait for what others have
//! only reserved, a cancelled run ends those below it, and recovery is no request of a user.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{
    RecordedRequest, ScriptServer, ServerBehavior, TOKENS_IN, TOKENS_OUT,
};
use greenroom_integration_tests::test_pod::text;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{Json, RunId, WorkflowId};
use serde_json::json;

const AGENT: &str = "llm_agent";
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Cost of one answer, at the standard tier's 3 and 15 dollars per million tokens.
const ANSWER_MICROS: u64 = TOKENS_IN * 3 + TOKENS_OUT * 15;

/// A workflow with these members, whose steps are written below `steps:`.
fn workflow(id: &str, members: &str, steps: &str) -> String {
    format!(
        "workflow_id: {id}\nname: {id}\ndescription: Calls a model\nversion: \"1.0.0\"\n{members}\
         inputs:\n  - {{ name: text, type: text }}\nsteps:\n{steps}"
    )
}

/// Steps in a row with these members.
fn row(steps: usize, members: &str) -> String {
    let mut text = String::new();
    for number in 0..steps {
        let after = if number == 0 { String::new() } else { format!(", depends_on: [step_{}]", number - 1) };
        let _ = writeln!(text, "  - {{ id: step_{number}, {members}{after} }}");
    }
    text
}

/// An agent that calls the model, and the workflow `inner` that calls it once.
fn fixture(server: &ScriptServer) -> Result<ModelFixture> {
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.write_llm_agent(AGENT, 60, 200)?;
    let call = "  - { id: call, agent: llm_agent, inputs: { text: hello }, outputs: [text] }\n";
    fixture.definitions.write_workflow("inner", &workflow("inner", "", call))?;
    Ok(fixture)
}

async fn spent_micros(fixture: &ModelFixture) -> Result<u64> {
    let document = fixture.terminal.run(&["costs"]).await?.expect_success()?;
    document["total_micro_usd"].as_u64().context("a sum")
}

#[tokio::test]
async fn the_cost_limit_of_a_run_holds_over_all_runs_below_it() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = fixture(&server)?;
    fixture.definitions.write_workflow("outer", &workflow("outer", "", &row(6, "workflow: inner")))?;
    let arguments = ["run", "workflow", "outer", "--input", "text=hello", "--max-cost-usd", "0.015"];
    let output = fixture.terminal.run(&arguments).await?;
    let reply = output.json()?;
    assert_eq!((output.code, reply["error"]["code"].as_str()), (1, Some("budget_exceeded")), "{reply:#}");
    let answers = server.count() as u64;
    ensure!(answers >= 1 && answers * ANSWER_MICROS <= 15_000, "{answers} answers were paid for");
    assert_eq!(spent_micros(&fixture).await?, answers * ANSWER_MICROS);
    Ok(())
}

#[tokio::test]
async fn the_token_limit_of_a_workflow_holds_over_all_runs_below_it() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = fixture(&server)?;
    let limited = workflow("outer", "limits: { max_tokens: 4000 }\n", &row(6, "workflow: inner"));
    fixture.definitions.write_workflow("outer", &limited)?;
    let output = fixture.terminal.run(&["run", "workflow", "outer", "--input", "text=hello"]).await?;
    let error = output.expect_error(1)?;
    assert_eq!((error["code"].as_str(), &error["details"]["max_tokens"]), (Some("budget_exceeded"), &json!(4_000)));
    let answers = server.count() as u64;
    ensure!(answers >= 1 && answers * (TOKENS_IN + TOKENS_OUT) <= 4_000, "{answers} answers");
    Ok(())
}

#[tokio::test]
async fn the_limits_of_a_team_hold_over_its_run() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = fixture(&server)?;
    let team =
        "team_id: team\nname: T\ndescription: Calls a model\nagents: [llm_agent]\nlimits: { max_tokens: 4000 }\n";
    fixture.definitions.write_team("team", team)?;
    fixture.definitions.write_workflow("many", &workflow("many", "", &row(6, "workflow: inner")))?;
    let step = "  - { id: step, team: team, workflow: many }\n";
    fixture.definitions.write_workflow("outer", &workflow("outer", "", step))?;
    let output = fixture.terminal.run(&["run", "workflow", "outer", "--input", "text=hello"]).await?;
    let error = output.expect_error(1)?;
    assert_eq!((error["code"].as_str(), &error["details"]["max_tokens"]), (Some("budget_exceeded"), &json!(4_000)));
    ensure!(server.count() as u64 * (TOKENS_IN + TOKENS_OUT) <= 4_000, "{} answers", server.count());
    Ok(())
}

#[tokio::test]
async fn concurrent_calls_wait_for_what_the_others_have_only_reserved() -> Result<()> {
    const MANY: usize = 12;
    let server = ScriptServer::start(|_| ServerBehavior::Slow(Duration::from_millis(50))).await?;
    let fixture = fixture(&server)?;
    let items: Vec<String> = (0..MANY).map(|number| number.to_string()).collect();
    let each = format!(
        "  - {{ id: each, agent: llm_agent, for_each: {{ items: [{}], max_concurrency: {MANY} }}, \
         inputs: {{ text: \"say ${{item}}\" }}, outputs: [text] }}\n",
        items.join(", ")
    );
    fixture.definitions.write_workflow("crowd", &workflow("crowd", "", &each))?;
    // The calls cost 59,400 in the end, and their worst cases together far more than the limit.
    let arguments = ["run", "workflow", "crowd", "--input", "text=hello", "--max-cost-usd", "0.065"];
    let reply = fixture.terminal.run(&arguments).await?.expect_success()?;
    assert_eq!(reply["outputs"]["text"].as_array().map(Vec::len), Some(MANY), "{reply:#}");
    assert_eq!(spent_micros(&fixture).await?, MANY as u64 * ANSWER_MICROS);
    let arguments = ["run", "workflow", "crowd", "--input", "text=hello", "--max-cost-usd", "0.02"];
    let error = fixture.terminal.run(&arguments).await?.expect_error(1)?;
    assert_eq!(error["code"], "budget_exceeded");
    let message = error["message"].as_str().context("a message")?;
    ensure!(message.contains("only reserved by calls in flight"), "{message}");
    Ok(())
}

async fn start(client: &Client, workflow: &str) -> Result<RunId> {
    let params = CallParams { inputs: text("hello"), detach: true, ..CallParams::default() };
    let reply = client.run_workflow(WorkflowId::new(workflow)?, params).await?;
    ensure!(reply.error.is_none(), "{:?}", reply.error);
    Ok(RunId::new(reply.id)?)
}

async fn runs(fixture: &ModelFixture) -> Result<Vec<Json>> {
    let list = fixture.terminal.run(&["runs", "list"]).await?.expect_success()?;
    Ok(list["runs"].as_array().context("runs")?.clone())
}

/// Waits until every run has this status.
async fn wait_all(fixture: &ModelFixture, count: usize, status: &str) -> Result<()> {
    wait_until(&format!("{count} runs are {status}"), WAIT_MAX, || async {
        let runs = runs(fixture).await.ok()?;
        (runs.len() == count && runs.iter().all(|run| run["status"] == status)).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_cancelled_run_ends_the_runs_below_it_and_drops_their_calls() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Silence).await?;
    let fixture = fixture(&server)?;
    fixture.definitions.write_workflow("middle", &workflow("middle", "", "  - { id: step, workflow: inner }\n"))?;
    fixture.definitions.write_workflow("outer", &workflow("outer", "", &row(2, "workflow: middle")))?;
    let (process, client) = fixture.up().await?;
    let run = start(&client, "outer").await?;
    wait_until("the call is in flight", WAIT_MAX, || async { (server.count() == 1).then_some(()) }).await?;
    let cancelled = client.cancel(run).await?;
    ensure!(cancelled.error.is_none(), "{cancelled:?}");
    wait_all(&fixture, 3, "cancelled").await?;
    wait_until("the connection is closed", WAIT_MAX, || async { (server.open() == 0).then_some(()) }).await?;
    assert_eq!(server.count(), 1, "no later step has started");
    let estimated = spent_micros(&fixture).await?;
    ensure!(estimated > 0 && estimated < 10_000, "{estimated}: the call that was dropped is settled as estimated");
    drop(process);
    Ok(())
}

#[tokio::test]
async fn a_run_is_recovered_without_a_quota_of_its_owner() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = fixture(&server)?;
    let inner = "  - { id: call, agent: llm_agent, inputs: { text: hello }, outputs: [text] }\n  \
                 - { id: wait, approval: { prompt: 'Go on?' }, depends_on: [call] }\n";
    fixture.definitions.write_workflow("asks", &workflow("asks", "", inner))?;
    fixture.definitions.write_workflow("outer", &workflow("outer", "", "  - { id: step, workflow: asks }\n"))?;
    let (process, client) = fixture.up().await?;
    let run = start(&client, "outer").await?;
    let waits =
        || async { runs(&fixture).await.ok()?.iter().any(|run| run["status"] == "waiting_approval").then_some(()) };
    wait_until("the inner run awaits approval", WAIT_MAX, waits).await?;
    drop(process);
    // The owner has used up all money and all requests of the hour.
    let user = "[[users]]\nname = \"admin\"\nroles = [\"admin\"]\nrate_limit = 0\nlimits = { usd = 0.000001 }\n";
    fixture.terminal.write_file("greenroom.toml", user)?;
    let (process, client) = fixture.up().await?;
    let resumed = || async {
        let report = client.run_record(run.clone()).await.ok()?;
        report.outputs.get("events")?.as_array()?.iter().any(|event| event["event"] == "run_resumed").then_some(())
    };
    wait_until("the run is resumed", WAIT_MAX, resumed).await?;
    wait_until("the inner run awaits approval again", WAIT_MAX, waits).await?;
    let statuses: Vec<Json> = runs(&fixture).await?.into_iter().map(|run| run["status"].clone()).collect();
    assert_eq!(statuses, [json!("waiting_approval"), json!("running")]);
    assert_eq!(server.count(), 1, "nothing was repeated");
    drop(process);
    Ok(())
}

/// The users of the audited requests with this action, the oldest first.
async fn audited_users(fixture: &ModelFixture, action: &str) -> Result<Vec<String>> {
    let list = fixture.terminal.run(&["audit", "list", "--limit", "1000"]).await?.expect_success()?;
    let records = list["records"].as_array().context("records")?;
    let opened = records.iter().rev().filter(|record| record["event"]["action"] == action);
    Ok(opened.map(|record| record["event"]["user"].as_str().unwrap_or_default().to_owned()).collect())
}

#[tokio::test]
async fn a_run_that_another_user_resumes_continues_as_its_owner_and_both_are_audited() -> Result<()> {
    let silent_once = |request: &RecordedRequest| match request.number {
        0 => ServerBehavior::Silence,
        _ => ServerBehavior::Good,
    };
    let server = ScriptServer::start(silent_once).await?;
    let fixture = fixture(&server)?;
    let users = "[[users]]\nname = \"admin\"\nroles = [\"admin\"]\n[[users]]\nname = \"clara\"\nroles = [\"admin\"]\n";
    fixture.terminal.write_file("greenroom.toml", users)?;
    let process = fixture.terminal.start(&["run", "workflow", "inner", "--input", "text=hello"])?;
    wait_until("the call is in flight", WAIT_MAX, || async { (server.count() == 1).then_some(()) }).await?;
    drop(process);
    let run = runs(&fixture).await?[0]["run_id"].as_str().context("a run")?.to_owned();
    let resumed = fixture.terminal.run(&["runs", "resume", &run, "--user", "clara"]).await?;
    ensure!(resumed.code == 0, "{resumed:?}");
    let output = fixture.terminal.run(&["runs", "show", &run]).await?.expect_success()?;
    assert_eq!((&output["run"]["status"], &output["run"]["owner"]), (&json!("success"), &json!("admin")));
    assert_eq!(audited_users(&fixture, "resume_run").await?, ["clara", "admin"], "the act, and what follows from it");
    assert_eq!(audited_users(&fixture, "invoke").await?, ["admin", "admin"]);
    let costs = fixture.terminal.run(&["costs"]).await?.expect_success()?;
    let rows = costs["costs"].as_array().context("rows")?;
    ensure!(!rows.is_empty() && rows.iter().all(|row| row["user"] == "admin"), "{costs:#}");
    Ok(())
}
