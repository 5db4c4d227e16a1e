//! The statistics of a catalogue as text.

use greenroom_definitions::similarity::{DESCRIPTION_SIMILARITY_MAX, PROMPT_SIMILARITY_MAX, SimilarPair};
use greenroom_definitions::statistics::{LISTED_COST_USD, Statistics};

/// Names in a line; the others are counted.
const NAMED_MAX: usize = 20;

/// Formats the statistics.
pub(super) fn format(statistics: &Statistics) -> String {
    let totals = &statistics.totals;
    let mut text = format!(
        "{} agents, {} teams, {} workflows, {} examples, {} deprecated, {} quarantined\n",
        totals.agents, totals.teams, totals.workflows, totals.examples, totals.deprecated, totals.quarantined
    );
    let mut counts = |heading: &str, all: &mut dyn Iterator<Item = (&String, &usize)>| {
        let lines: String = all.map(|(name, count)| format!("  {count:>5}  {name}\n")).collect();
        text.push_str(&format!("\n{heading}\n{lines}"));
    };
    counts("agents of each category", &mut statistics.categories.iter());
    counts("agents of each runtime", &mut statistics.runtimes.iter());
    counts("agents of each model", &mut statistics.models.iter());
    let unused: Vec<&str> =
        statistics.capabilities.iter().filter(|(_, count)| **count == 0).map(|(name, _)| name.as_str()).collect();
    text.push_str(&named("capabilities without an agent", &unused));
    let expensive: Vec<String> =
        statistics.expensive.iter().map(|cost| format!("{} (${:.4})", cost.agent, cost.usd)).collect();
    let heading = format!("agents whose call may cost more than ${LISTED_COST_USD}");
    text.push_str(&named(&heading, &expensive.iter().map(String::as_str).collect::<Vec<_>>()));
    let edges: Vec<String> =
        statistics.one_way_edges.iter().map(|edge| format!("{} → {}", edge.from, edge.to)).collect();
    text.push_str(&named("collaborations that one agent lists", &edges.iter().map(String::as_str).collect::<Vec<_>>()));
    let unreached: Vec<&str> = statistics.unreached.iter().map(|id| id.as_str()).collect();
    text.push_str(&named("agents without a team and a workflow", &unreached));
    let without: Vec<&str> = statistics.without_assertions.iter().map(|id| id.as_str()).collect();
    text.push_str(&named("agents with an example that expects nothing", &without));
    let prompts = format!("most similar system prompts (below {PROMPT_SIMILARITY_MAX}, snippets left out)");
    text.push_str(&pairs(&prompts, &statistics.similar_prompts));
    let descriptions = format!("most similar descriptions (below {DESCRIPTION_SIMILARITY_MAX})");
    text.push_str(&pairs(&descriptions, &statistics.similar_descriptions));
    text
}

fn named(heading: &str, names: &[&str]) -> String {
    let listed: Vec<&str> = names.iter().copied().take(NAMED_MAX).collect();
    let rest = names.len().saturating_sub(NAMED_MAX);
    let rest = if rest > 0 { format!(", and {rest} more") } else { String::new() };
    let list = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
    format!("\n{heading}: {}\n  {list}{rest}\n", names.len())
}

fn pairs(heading: &str, pairs: &[SimilarPair]) -> String {
    let line = |pair: &SimilarPair| format!("  {:.3}  {} · {}\n", pair.similarity, pair.one, pair.other);
    let lines: String = pairs.iter().map(line).collect();
    format!("\n{heading}\n{}", if lines.is_empty() { "  none has anything in common\n" } else { &lines })
}
