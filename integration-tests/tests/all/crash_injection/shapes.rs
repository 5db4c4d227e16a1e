//! The workflows that are crashed at every write, and what each of them ends as.

use greenroom_protocol::event::RunStatus;

/// A workflow and its expected status.
pub(super) struct Shape {
    pub(super) workflow: &'static str,
    pub(super) team: Option<&'static str>,
    pub(super) yaml: &'static str,
    /// The workflow that its steps call.
    pub(super) inner: Option<&'static str>,
    pub(super) ends: RunStatus,
    /// Calls that may be in flight at one time.
    pub(super) parallel: u64,
}

pub(super) const ROW: Shape = Shape {
    workflow: "in_a_row",
    team: None,
    inner: None,
    yaml: "steps:
  - { id: first, agent: llm_agent, inputs: { text: 'say first' }, outputs: [text] }
  - { id: second, agent: llm_agent, inputs: { text: 'say second ${steps.first.outputs.text}' }, outputs: [text] }
  - { id: third, agent: llm_agent, inputs: { text: 'say third ${steps.second.outputs.text}' }, outputs: [text] }
",
    ends: RunStatus::Success,
    parallel: 1,
};

/// Steps whose outputs are remembered before they are recorded.
pub(super) const REMEMBERED: Shape = Shape {
    workflow: "remembered",
    team: None,
    inner: None,
    yaml: "steps:
  - { id: first, agent: remembering_agent, inputs: { text: 'say first' }, outputs: [text] }
  - { id: second, agent: remembering_agent, inputs: { text: 'say second ${steps.first.outputs.text}' }, outputs: [text] }
",
    ends: RunStatus::Success,
    parallel: 1,
};

/// A team, a `for_each` step, an approval, and a last step that fails so that all steps are compensated.
pub(super) const COMPENSATED: Shape = Shape {
    workflow: "compensated",
    team: Some("llm_team"),
    inner: None,
    yaml: "steps:
  - id: first
    agent: llm_agent
    inputs: { text: 'say first' }
    outputs: [text]
    compensate: { agent: llm_agent, inputs: { text: 'compensate first' } }
  - id: each
    agent: llm_agent
    depends_on: [first]
    for_each: { items: [alpha, beta, gamma], max_concurrency: 2 }
    inputs: { text: 'say ${item}' }
    outputs: [text]
    compensate: { agent: llm_agent, inputs: { text: 'compensate ${item}' } }
  - id: approve
    approval: { prompt: 'Continue?' }
    depends_on: [each]
  - { id: last, agent: llm_agent, depends_on: [approve], inputs: { text: 'say last' }, outputs: [text] }
",
    ends: RunStatus::Failed,
    parallel: 2,
};

/// A team's run that calls a workflow for each of two items, and then another team.
pub(super) const NESTED: Shape = Shape {
    workflow: "nested",
    team: Some("llm_team"),
    yaml: "steps:
  - id: each
    workflow: inner
    for_each: { items: [alpha, beta], max_concurrency: 2 }
    inputs: { text: '${item}' }
    outputs: [text]
  - id: other
    team: llm_team
    workflow: inner
    depends_on: [each]
    inputs: { text: gamma }
    outputs: [text]
",
    inner: Some(
        "steps:
  - { id: draft, agent: llm_agent, inputs: { text: 'say ${inputs.text}draft' }, outputs: [text] }
",
    ),
    ends: RunStatus::Success,
    parallel: 2,
};
