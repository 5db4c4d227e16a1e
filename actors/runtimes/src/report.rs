//! A run's outputs and the facts behind them → a report for a board: Markdown, and one HTML page that
//! needs nothing else.
//!
//! Every word in it is data: what a file, a user or a model wrote can become text and the plain marks
//! of Markdown (headings, lists, emphasis), never an element, an address or a script. The charts are
//! drawn here from the facts, so no picture comes from outside either.

use greenroom_protocol::{Json, Metadata, Timestamp, Values};

use crate::charts;
use crate::tables::{Measure, TableFacts, number_format};

mod html;
mod markdown;
mod prose;

/// Figures at the head of the page.
const TILES_MAX: usize = 4;
/// Bytes of one text that is shown; a report is read by people.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// What a report is made from.
#[derive(Debug, Clone, Copy)]
pub struct ReportInput<'a> {
    /// Whose report it is.
    pub company: Option<&'a str>,
    /// The run's id.
    pub run: &'a str,
    /// The workflow's id.
    pub workflow: &'a str,
    /// The run's outputs, by name.
    pub outputs: &'a Values,
    /// The facts that `native.data_collection` gave; found in the outputs if they are there.
    pub facts: Option<&'a TableFacts>,
    /// What the run took.
    pub metadata: &'a Metadata,
    /// The revision of the policy that judged it.
    pub policy: Option<&'a str>,
    /// When it was written.
    pub at: Timestamp,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// As Markdown.
    pub markdown: String,
    /// As one HTML page.
    pub html: String,
}

/// Writes the report.
#[must_use]
pub fn write(material: &ReportInput<'_>) -> Report {
    let found = material.outputs.values().find_map(TableFacts::from_json);
    let facts = material.facts.or(found.as_ref());
    let content = Content::of(material, facts);
    Report { markdown: markdown::page(&content), html: html::page(&content) }
}

/// A titled text.
struct Section {
    title: String,
    text: String,
}

/// One figure at the head of the page.
struct KpiTile {
    label: String,
    value: String,
    change: Option<KpiChange>,
}

/// A change, and whether it is a good one.
struct KpiChange {
    text: String,
    against: String,
    good: Option<bool>,
}

/// A table: its head, and rows of cells.
struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// What the pages show, decided once for both.
struct Content {
    title: String,
    subtitle: String,
    tiles: Vec<KpiTile>,
    summary: Option<Section>,
    sections: Vec<Section>,
    charts: Vec<charts::Chart>,
    measures: Option<Table>,
    breakdowns: Vec<Table>,
    data: Option<String>,
    provenance: Vec<(String, String)>,
}

impl Content {
    fn of(material: &ReportInput<'_>, facts: Option<&TableFacts>) -> Self {
        let (summary, sections) = sections(material.outputs, facts.is_some());
        let period = facts.map(|facts| facts.period.label.clone());
        let kind = match facts.map(|facts| facts.period.label.starts_with('Q')) {
            Some(true) => "Quarterly report",
            Some(false) | None => "Report",
        };
        let title = match material.company {
            Some(company) => format!("{company} — {}", kind.to_lowercase()),
            None => kind.to_owned(),
        };
        let subtitle = match (period, facts) {
            (Some(period), Some(facts)) => {
                format!("{period} · {} of {} rows of {}", facts.period.rows, facts.rows, facts.file)
            }
            (Some(_) | None, _) => material.workflow.to_owned(),
        };
        Self {
            title,
            subtitle,
            tiles: facts.map(tiles).unwrap_or_default(),
            summary,
            sections,
            charts: facts.map(|facts| charts::render_all(facts, false)).unwrap_or_default(),
            measures: facts.map(measures),
            breakdowns: facts.map(breakdowns).unwrap_or_default(),
            data: facts.map(about_the_data),
            provenance: provenance(material),
        }
    }
}

/// The summary, and every other text of the outputs in the order in which a board reads them.
fn sections(outputs: &Values, has_facts: bool) -> (Option<Section>, Vec<Section>) {
    const ORDER: [&str; 4] = ["executive_summary", "key_points", "financial_summary", "kpi_insights"];
    let shown = |name: &str| match name {
        "final_output" => !outputs.contains_key("executive_summary"),
        // The table of measures says the same, in full.
        "kpis" => !has_facts,
        _ => true,
    };
    let mut names: Vec<&String> = outputs.keys().filter(|name| shown(name)).collect();
    names.sort_by_key(|name| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
    let mut all = names.into_iter().filter_map(|name| {
        let value = outputs.get(name)?;
        let text = prose::of(value)?;
        let title = if name == "final_output" { "Executive summary".to_owned() } else { number_format::title(name) };
        Some((name, Section { title, text: prose::bounded(&text, TEXT_BYTES_MAX) }))
    });
    let mut summary = None;
    let mut rest = Vec::new();
    for (name, section) in all.by_ref() {
        match (&mut summary, name.as_str()) {
            (None, "executive_summary" | "final_output") => summary = Some(section),
            (Some(Section { text, .. }), "key_points") => {
                text.push_str(&format!("\n\n### Key points\n\n{}", section.text))
            }
            _ => rest.push(section),
        }
    }
    (summary, rest)
}

fn against(facts: &TableFacts) -> String {
    facts.growth.as_ref().map(|growth| number_format::month(&growth.before)).unwrap_or_default()
}

fn is_good(measure: &Measure) -> Option<bool> {
    let growth = number_format::to_f64(measure.growth_pct.as_ref());
    (measure.growth_pct.is_some() && growth.abs() >= 0.05).then_some((growth < 0.0) == measure.lower_is_better)
}

fn tiles(facts: &TableFacts) -> Vec<KpiTile> {
    facts
        .headline()
        .take(TILES_MAX)
        .map(|measure| KpiTile {
            label: number_format::title(&measure.name),
            value: number_format::full(Some(&measure.total), measure.unit.as_deref()),
            change: Some(match facts.growth {
                Some(_) => KpiChange {
                    text: number_format::change(measure.growth_pct.as_ref()),
                    against: format!("vs {}", against(facts)),
                    good: is_good(measure),
                },
                None => KpiChange { text: number_format::ABSENT.to_owned(), against: "growth".to_owned(), good: None },
            }),
        })
        .collect()
}

fn measures(facts: &TableFacts) -> Table {
    let growth = match &facts.growth {
        Some(growth) => {
            format!("Growth, {} vs {}", number_format::month(&growth.now), number_format::month(&growth.before))
        }
        None => "Growth".to_owned(),
    };
    let head = ["Measure", "Total", "Mean", "Min", "Max"].map(str::to_owned).into_iter().chain([growth]).collect();
    let rows = facts
        .measures
        .iter()
        .map(|measure| {
            let unit = measure.unit.as_deref();
            vec![
                number_format::title(&measure.name),
                number_format::exact(Some(&measure.total), unit),
                number_format::exact(measure.mean.as_ref(), unit),
                number_format::exact(measure.min.as_ref(), unit),
                number_format::exact(measure.max.as_ref(), unit),
                number_format::change(measure.growth_pct.as_ref()),
            ]
        })
        .collect();
    Table { title: format!("Measures, {}", facts.period.label), head, rows }
}

fn breakdowns(facts: &TableFacts) -> Vec<Table> {
    let headline: Vec<&Measure> = facts.headline().take(TILES_MAX).collect();
    let Some(first) = headline.first() else { return Vec::new() };
    facts
        .breakdowns
        .iter()
        .map(|breakdown| {
            let mut head = vec![number_format::title(&breakdown.column)];
            head.extend(headline.iter().map(|measure| number_format::title(&measure.name)));
            head.push(format!("Share of {}", number_format::title(&first.name).to_lowercase()));
            head.push("Growth".to_owned());
            let rows = breakdown
                .groups
                .iter()
                .map(|group| {
                    let mut row = vec![group.value.clone()];
                    let totals = headline
                        .iter()
                        .map(|measure| number_format::exact(group.totals.get(&measure.name), measure.unit.as_deref()));
                    row.extend(totals);
                    row.push(number_format::share(group.share_pct.as_ref()));
                    row.push(number_format::change(group.growth_pct.as_ref()));
                    row
                })
                .collect();
            let title = format!("By {}", number_format::title(&breakdown.column).to_lowercase());
            Table { title, head, rows }
        })
        .collect()
}

fn about_the_data(facts: &TableFacts) -> String {
    let mut text = format!("{} has {} rows and {} columns", facts.file, facts.rows, facts.columns.len());
    match (&facts.date_column, &facts.period.from, &facts.period.to) {
        (Some(column), Some(from), Some(to)) => {
            text.push_str(&format!("; {} of them are dated {from} to {to} by the column {column}.", facts.period.rows));
        }
        (Some(_) | None, _, _) => text.push_str("; no column says when a row happened."),
    }
    match &facts.previous {
        Some(previous) => {
            text.push_str(&format!(" Growth compares with {} rows of {}.", previous.rows, previous.label))
        }
        None if facts.growth.is_some() => text.push_str(" Growth compares the last month of the file with its first."),
        None => text.push_str(" There is no earlier period in the file, so growth is n/a."),
    }
    text.push_str(" Totals are exact sums of the file's figures.");
    text
}

fn provenance(material: &ReportInput<'_>) -> Vec<(String, String)> {
    let metadata = material.metadata;
    let mut all = vec![
        ("Run".to_owned(), material.run.to_owned()),
        ("Workflow".to_owned(), material.workflow.to_owned()),
        ("Written".to_owned(), material.at.to_string()),
        ("Model".to_owned(), metadata.model.clone().unwrap_or_else(|| "none".to_owned())),
        ("Steps".to_owned(), metadata.workflow_steps.to_string()),
    ];
    let agents: Vec<&str> = metadata.agents.iter().map(greenroom_protocol::AgentId::as_str).collect();
    all.push((
        "Agents".to_owned(),
        if agents.is_empty() { metadata.agents_involved.to_string() } else { agents.join(", ") },
    ));
    all.push(("Policy decisions".to_owned(), format!("{}, all allowed", metadata.policy_decisions)));
    if let Some(policy) = material.policy {
        all.push(("Policy revision".to_owned(), policy.to_owned()));
    }
    let tokens = metadata.tokens_used;
    all.push(("Tokens".to_owned(), format!("{} in, {} out", tokens.input, tokens.output)));
    let estimated = if metadata.estimated { " (partly estimated)" } else { "" };
    all.push(("Cost".to_owned(), format!("${:.4}{estimated}", metadata.cost_usd)));
    all
}

/// A value as its JSON, for one that is neither text nor a list of texts.
fn compact_json(value: &Json) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests;
