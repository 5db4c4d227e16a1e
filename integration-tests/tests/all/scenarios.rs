//! End to end: what a user does, on the real binary and on real servers, over the command line, HTTP and NATS. Every test
//! of this folder starts `greenroom up`, or shares one with the tests that run at the same time; none links the pod. They
//! are the third level of the test pyramid, which `scripts/test` counts.
//!
//! This file holds the process that most scenarios share, its definitions, and what they do with runs.

mod agents;
mod approvals;
mod artifacts;
mod budgets;
mod catalogue;
mod idempotency;
mod interface;
mod policies;
mod process;
mod quarterly_report;
mod readers;
mod recovery;
mod sse;
mod streams;
mod teams;
mod tenants;
mod workflows;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::up_process::{SharedUp, UpProcess};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{ErrorCode, Json};
use serde_json::json;

/// An agent that returns its input, and one of another category that does.
const ECHO: &str = "echo_agent";
const LEDGER_AGENT: &str = "ledger_agent";
/// Workflows: two steps in a row, one step after an approval, one after an event, one with the context of its team.
const ROW: &str = "two_steps";
const SIGNED: &str = "signed";
const PAID: &str = "paid_order";
const GREETING: &str = "greeting";
const TEAM: &str = "letters";
/// Longer than anything that a scenario waits for.
const WAIT_MAX: Duration = Duration::from_secs(60);

const SIGNED_STEPS: &str = "
  - { id: sign, approval: { prompt: \"Send it?\" } }
  - { id: send, agent: echo_agent, depends_on: [sign], inputs: { text: \"${inputs.text}\" }, outputs: [text] }
final_output: \"${steps.send.outputs.text}\"
";
const PAID_STEPS: &str = "
  - { id: payment, wait_for: { event: paid, timeout: 3600 } }
  - { id: ship, agent: echo_agent, inputs: { text: \"paid ${steps.payment.outputs.value.amount}\" }, outputs: [text] }
final_output: \"${steps.ship.outputs.text}\"
";
const GREETING_STEPS: &str = "
  - { id: greet, agent: echo_agent, inputs: { text: \"${context.greeting}\" }, outputs: [text] }
final_output: \"${steps.greet.outputs.text}\"
";

/// The process that the scenarios share which change nothing that others read.
static SHARED: SharedUp = SharedUp::new();

async fn shared() -> Result<Arc<UpProcess>> {
    SHARED.get(start()).await
}

/// Starts a process of the scenario's own.
async fn start() -> Result<UpProcess> {
    UpProcess::start(|_, definitions| write_definitions(definitions)).await
}

fn write_definitions(definitions: &DefinitionsDir) -> Result<()> {
    definitions.write_echo_agent(ECHO)?;
    definitions.write_agent(
        LEDGER_AGENT,
        "finance_accounting",
        "runtime: native\n  handler: native.echo\n  timeout: 60",
    )?;
    definitions.write_row_workflow(ROW, ECHO, 2)?;
    for (id, steps) in [(SIGNED, SIGNED_STEPS), (PAID, PAID_STEPS), (GREETING, GREETING_STEPS)] {
        let head = format!("workflow_id: {id}\nname: {id}\ndescription: A scenario\nversion: \"1.0.0\"\n");
        let inputs = "inputs:\n  - { name: text, type: text }\nsteps:";
        definitions.write_workflow(id, &format!("{head}{inputs}{steps}"))?;
    }
    let team = format!(
        "team_id: {TEAM}\nname: Letters\ndescription: Writes letters\nagents: [{ECHO}]\nworkflows: [{ROW}, {GREETING}]\n\
         shared_context: {{ greeting: hello }}\n"
    );
    definitions.write_team(TEAM, &team)
}

/// Starts a run of a workflow over HTTP without waiting for its end, and returns its id.
async fn detach(up: &UpProcess, workflow: &str) -> Result<String> {
    let body = json!({ "inputs": { "text": "hello" }, "detach": true }).to_string();
    let accepted = up.post(&format!("/v1/workflows/{workflow}/run"), &[], &body).await?;
    ensure!(accepted.status == 202, "{accepted:?}");
    Ok(accepted.json()?["id"].as_str().context("an id")?.to_owned())
}

/// As [`detach`], and waits until the run awaits an approval.
async fn await_approval(up: &UpProcess) -> Result<String> {
    let run = detach(up, SIGNED).await?;
    wait_for_status(up, &run, "waiting_approval").await?;
    Ok(run)
}

/// Waits until a run has this status, and returns its description.
async fn wait_for_status(up: &UpProcess, run: &str, status: &str) -> Result<Json> {
    let probe = || async {
        let described = up.get(&format!("/v1/runs/{run}")).await.ok()?.json().ok()?;
        (described["outputs"]["run"]["status"] == status).then(|| described["outputs"].clone())
    };
    wait_until(status, WAIT_MAX, probe).await.with_context(|| up.log())
}

/// The code by which a call was refused.
fn code<T>(result: Result<T, greenroom_client::Error>) -> Option<ErrorCode> {
    result.err().and_then(|error| error.code())
}
