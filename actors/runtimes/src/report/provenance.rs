//! Where a report comes from: the run, the models, the agents, the decisions and the cost, all of them as the
//! run's reply records them.

use greenroom_protocol::{AgentId, Metadata, PriceBasis};

use super::ReportInput;

/// The rows: a name and a value.
pub(super) fn rows(input: &ReportInput<'_>) -> Vec<(String, String)> {
    let metadata = input.metadata;
    let row = |name: &str, value: String| Some((name.to_owned(), value));
    let revisions = &metadata.policy_revisions;
    let rows = [
        row("Run", input.run.to_owned()),
        row("Workflow", input.workflow.to_owned()),
        row("Written", input.at.to_string()),
        row("Models", if metadata.models.is_empty() { "none".to_owned() } else { metadata.models.join(", ") }),
        row("Steps", metadata.workflow_steps.to_string()),
        row("Agents involved", agents(metadata)),
        row("Policy decisions", decisions(metadata)),
        (!revisions.is_empty()).then(|| ("Policy revisions".to_owned(), revisions.join(", "))),
        row("Tokens", format!("{} in, {} out", metadata.tokens_used.input, metadata.tokens_used.output)),
        row("Cost", cost(metadata)),
    ];
    rows.into_iter().flatten().collect()
}

/// The number of the agents that ran, members of the team or not, and their ids.
fn agents(metadata: &Metadata) -> String {
    let ids: Vec<&str> = metadata.agents.iter().map(AgentId::as_str).collect();
    if ids.is_empty() { "none".to_owned() } else { format!("{}: {}", ids.len(), ids.join(", ")) }
}

/// The decisions on the requests of the run's steps.
fn decisions(metadata: &Metadata) -> String {
    let denials = match metadata.policy_denials {
        0 => "none denied".to_owned(),
        denials => format!("{denials} denied"),
    };
    format!("{} on the requests of its steps, {denials}", metadata.policy_decisions)
}

fn cost(metadata: &Metadata) -> String {
    let estimated = if metadata.estimated { ", partly estimated" } else { "" };
    let assumed = match metadata.price {
        PriceBasis::Assumed => ", at an assumed price",
        PriceBasis::Listed => "",
    };
    format!("${:.4}{estimated}{assumed}", metadata.cost.as_usd())
}
