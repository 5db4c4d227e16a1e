//! What the runs of the harness do: the definitions and users of its pods, and which kind of run has which number.

use std::fs;

use greenroom_protocol::MicroUsd;

use super::model_log::CALL_COST_MICRO_USD;
use crate::definitions_dir::DefinitionsDir;

/// The user whom nothing limits.
pub const ADMIN: &str = "admin";
/// The user whose runs have a budget.
pub const PAYER: &str = "payer";
/// Steps of a run that calls the model in each.
const ROW_STEPS: u64 = 5;
/// The workflow of such runs, of users with and without a budget.
const ROW: &str = "row";
/// The agent that calls the model.
const THINKER: &str = "thinker";
/// The same on the pods with a label, which not every pod has, and what the steps begin with that call it.
const PLACED: &str = "placed";
const PLACED_STEP: &str = "placed_";
/// That label.
pub const LABEL: &str = "gpu";
/// An agent that returns its input, and does not call the model.
pub const WRITER: &str = "writer";
/// A workflow of that agent.
pub const PLAIN: &str = "plain";
/// Steps of that workflow.
const PLAIN_STEPS: usize = 2;

/// The kinds of runs that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// All kinds that need no label.
    Mixed,
    /// All kinds. The pods call each other over NATS.
    MixedWithPlaced,
    /// Those of [`RunKind::Row`] only.
    Rows,
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunKind {
    /// It calls the model in five steps, one after the other.
    Row,
    /// As a row, for a user whose budget is not enough for all of these runs.
    Paid,
    /// It waits for a signature between two calls.
    Signed,
    /// It calls another run, which calls the model twice.
    Nested,
    /// It calls the model for each item of a list, two at a time.
    Items,
    /// It belongs to a team, whose context its steps write and read.
    Team,
    /// It calls the model in two steps on a pod with a label, wherever the run is.
    Placed,
}

impl Workload {
    /// The kind of the run with this number.
    #[must_use]
    pub const fn kind(self, number: usize) -> RunKind {
        match (self, number % 10) {
            (Self::Rows, _) => RunKind::Row,
            (Self::MixedWithPlaced, 5 | 8) => RunKind::Placed,
            (Self::Mixed | Self::MixedWithPlaced, 1 | 6) => RunKind::Team,
            (Self::Mixed | Self::MixedWithPlaced, 2) => RunKind::Signed,
            (Self::Mixed | Self::MixedWithPlaced, 3) => RunKind::Nested,
            (Self::Mixed | Self::MixedWithPlaced, 4) => RunKind::Paid,
            (Self::Mixed | Self::MixedWithPlaced, 7) => RunKind::Items,
            (Self::Mixed | Self::MixedWithPlaced, _) => RunKind::Row,
        }
    }

    /// The budget of [`PAYER`] for so many runs: enough for half of its calls.
    #[must_use]
    pub fn budget(self, runs: usize) -> MicroUsd {
        let paid = (0..runs).filter(|number| self.kind(*number) == RunKind::Paid).map(|_| 1).sum::<u64>();
        MicroUsd(paid.max(1) * ROW_STEPS * CALL_COST_MICRO_USD / 2)
    }
}

impl RunKind {
    /// The workflow of the run.
    #[must_use]
    pub const fn workflow(self) -> &'static str {
        match self {
            Self::Row | Self::Paid => ROW,
            Self::Signed => "signed",
            Self::Nested => "nested",
            Self::Items => "items",
            Self::Team => "letter",
            Self::Placed => PLACED,
        }
    }

    /// The team of the run.
    #[must_use]
    pub const fn team(self) -> Option<&'static str> {
        match self {
            Self::Team => Some("letters"),
            Self::Row | Self::Paid | Self::Signed | Self::Nested | Self::Items | Self::Placed => None,
        }
    }
}

/// The step of a signed run that waits.
pub const SIGN_STEP: &str = "sign";

/// An agent whose worst case is little more than what a call costs, so that few reservations use up a budget.
const AGENT: &str = r#"agent_id: thinker
name: Thinker
category: business_ops
description: Calls a model
version: "1.0.0"
capabilities: [text_generation]
inputs: [{ name: text, type: text, required: true }]
outputs: [{ name: text, type: text }]
policies: [require_authentication, audit_all_actions]
limits: { max_concurrency: 10000, max_tokens: 200 }
implementation:
  runtime: llm
  model: tier.standard
  timeout: 120
  prompt: { system: "You answer.", user: "{{ inputs.text }}" }
"#;

/// The workflows that take a text and return one: the id, the last step, and all steps.
const WORKFLOWS: [(&str, &str, &str); 5] = [
    (
        "signed",
        "send",
        r#"
  - { id: draft, agent: thinker, inputs: { text: "${inputs.text}" }, outputs: [text] }
  - { id: sign, approval: { prompt: "Sign?" }, depends_on: [draft] }
  - { id: send, agent: thinker, inputs: { text: "${steps.draft.outputs.text}" }, outputs: [text], depends_on: [sign] }"#,
    ),
    (
        "nested",
        "last",
        r#"
  - { id: inner, workflow: inner, inputs: { text: "${inputs.text}" }, outputs: [text] }
  - { id: last, agent: thinker, inputs: { text: "${steps.inner.outputs.text}" }, outputs: [text] }"#,
    ),
    (
        PLACED,
        "placed_second",
        r#"
  - id: placed_first
    agent: placed
    inputs: { text: "${inputs.text}" }
    outputs: [text]
    retry: { max_attempts: 8, delay: 0.2, max_delay: 2 }
  - id: placed_second
    agent: placed
    inputs: { text: "${steps.placed_first.outputs.text}" }
    outputs: [text]
    retry: { max_attempts: 8, delay: 0.2, max_delay: 2 }"#,
    ),
    (
        "inner",
        "second",
        r#"
  - { id: first, agent: thinker, inputs: { text: "${inputs.text}" }, outputs: [text] }
  - { id: second, agent: thinker, inputs: { text: "${steps.first.outputs.text}" }, outputs: [text] }"#,
    ),
    (
        "items",
        "last",
        r#"
  - id: each
    agent: thinker
    for_each: { items: [alpha, beta, gamma, delta], max_concurrency: 2 }
    inputs: { text: "${item}" }
    outputs: [text]
  - { id: last, agent: thinker, depends_on: [each], inputs: { text: "${inputs.text}" }, outputs: [text] }"#,
    ),
];

const LETTER: &str = r#"workflow_id: letter
name: Letter
steps:
  - { id: draft, agent: writer, inputs: { text: "${context.tone}" }, outputs: [text] }
  - { id: think, agent: thinker, depends_on: [draft], inputs: { text: "${context.facts}" }, outputs: [text] }
  - { id: send, agent: writer, depends_on: [think], inputs: { text: "${context.facts}" }, outputs: [text] }
outputs: { text: "${steps.send.outputs.text}" }
"#;

const LETTERS: &str = r"team_id: letters
name: Letters
description: Writes letters
agents: [writer, thinker]
workflows: [letter]
shared_context: { tone: warm }
";

/// Writes the definitions.
///
/// # Errors
/// If a file cannot be written.
pub fn write_definitions(dir: &DefinitionsDir) -> anyhow::Result<()> {
    let writer = "runtime: native\n  handler: native.echo\n  timeout: 60\ncollaboration:\n  provides_to_team: [facts]";
    dir.write_agent(WRITER, "business_ops", writer)?;
    dir.write_row_workflow(PLAIN, WRITER, PLAIN_STEPS)?;
    let agents = dir.dir().join("agents/business_ops");
    fs::write(agents.join(format!("{THINKER}.yaml")), AGENT)?;
    fs::write(agents.join(format!("{PLACED}.yaml")), placed_agent())?;
    dir.write_row_workflow(ROW, THINKER, usize::try_from(ROW_STEPS)?)?;
    for (id, last, steps) in WORKFLOWS {
        let input = "inputs: [{ name: text, type: text, required: true }]";
        let output = format!("outputs: {{ text: \"${{steps.{last}.outputs.text}}\" }}");
        dir.write_workflow(id, &format!("workflow_id: {id}\nname: {id}\n{input}\nsteps:{steps}\n{output}\n"))?;
    }
    dir.write_workflow("letter", LETTER)?;
    dir.write_team("letters", LETTERS)
}

/// The agent that calls the model, for pods with the label.
fn placed_agent() -> String {
    let placement = format!("implementation:\n  placement: {{ labels: [{LABEL}] }}\n");
    let named =
        AGENT.replace("agent_id: thinker", &format!("agent_id: {PLACED}")).replace("name: Thinker", "name: Placed");
    named.replace("implementation:\n", &placement)
}

/// True if the call with this key may be executed by another pod than the owner of its run.
#[must_use]
pub fn is_placed(key: &str) -> bool {
    key.split('/').nth(1).is_some_and(|step| step.starts_with(PLACED_STEP))
}

/// The idempotency key of the request that starts the run with this number.
#[must_use]
pub fn start_key(number: usize) -> String {
    format!("start-{number}")
}

/// The key by which a user is authenticated over NATS.
#[must_use]
pub fn key_of(user: &str) -> String {
    format!("planted-key-of-{user}")
}

/// The settings file: an administrator whom nothing limits, and the user with this budget.
#[must_use]
pub fn settings(budget: MicroUsd) -> String {
    let user = |name: &str, more: &str| {
        let key = key_of(name);
        format!(
            "[[users]]\nname = \"{name}\"\nroles = [\"admin\"]\napi_key = \"{key}\"\nrate_limit = 1000000000\n\
             query_limit = 1000000000\n{more}\n"
        )
    };
    user(ADMIN, "") + &user(PAYER, &format!("limits = {{ usd = {:.6} }}\n", budget.as_usd()))
}
