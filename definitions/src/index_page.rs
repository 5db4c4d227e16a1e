//! The index of a catalogue as a Markdown page, for `docs/catalogue/`, and the table of what its agents cost.

use crate::agent::RuntimeKind;
use crate::catalogue::Catalogue;
use crate::statistics::{AgentCost, expensive};

/// Writes the index: the agents of each category, then the teams and the workflows.
#[must_use]
pub fn index_page(catalogue: &Catalogue) -> String {
    let (agents, teams, workflows) = (catalogue.agent_count(), catalogue.team_count(), catalogue.workflow_count());
    let mut page = format!(
        "# The catalogue\n\n{agents} agents, {teams} teams, {workflows} workflows. This page is generated from the \
         definitions by `UPDATE=1 cargo test -p greenroom-definitions`.\n"
    );
    for category in catalogue.categories() {
        let own: Vec<_> = catalogue.agents().filter(|agent| agent.spec().category == category.id).collect();
        page.push_str(&format!("\n## {}\n\n{}. {} agents.\n", category.name, category.description, own.len()));
        if own.is_empty() {
            continue;
        }
        page.push_str("\n| agent | what it does | by |\n|---|---|---|\n");
        for agent in own {
            let by = match agent.spec().implementation.runtime {
                RuntimeKind::Llm => agent.model().to_string(),
                other => other.as_str().to_owned(),
            };
            page.push_str(&format!("| `{}` | {} | `{by}` |\n", agent.id(), cell(&agent.spec().description)));
        }
    }
    page.push_str("\n## Teams\n\n| team | members | purpose |\n|---|---|---|\n");
    for team in catalogue.teams() {
        let spec = team.spec();
        let purpose = if spec.description.is_empty() { &spec.name } else { &spec.description };
        page.push_str(&format!("| `{}` | {} | {} |\n", team.id(), spec.agents.len(), cell(purpose)));
    }
    page.push_str("\n## Workflows\n\n| workflow | steps | purpose |\n|---|---|---|\n");
    for workflow in catalogue.workflows() {
        let spec = workflow.spec();
        let purpose = if spec.description.is_empty() { &spec.name } else { &spec.description };
        page.push_str(&format!("| `{}` | {} | {} |\n", workflow.id(), spec.steps.len(), cell(purpose)));
    }
    page
}

/// Writes the agents whose call is estimated to cost more than [`LISTED_COST_USD`](crate::statistics::LISTED_COST_USD) as a table, the most expensive first.
#[must_use]
pub fn cost_table(catalogue: &Catalogue) -> String {
    let mut table = "| agent | model | at most |\n|---|---|---|\n".to_owned();
    for AgentCost { agent, usd } in expensive(catalogue) {
        let model = catalogue.agent(&agent).map(|agent| agent.model().to_string()).unwrap_or_default();
        table.push_str(&format!("| `{agent}` | `{model}` | ${usd:.4} |\n"));
    }
    table
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
