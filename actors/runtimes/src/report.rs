//! A run's outputs and their facts → a report: Markdown, and one self-contained HTML page.
//!
//! All content is data: text from a file, a user or a model can become text and plain Markdown marks
//! (headings, lists, emphasis), never an element, a link or a script. The charts are drawn here from the
//! facts, so no image comes from outside either.

use greenroom_protocol::{Json, Metadata, Timestamp, Values};

use crate::charts;
use crate::tables::{Measure, TableFacts, number_format};

mod html;
mod markdown;
mod prose;

/// Maximum figures at the top of the page.
const TILES_MAX: usize = 4;
/// Maximum size of one text; a report is read by people.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// The input of a report.
#[derive(Debug, Clone, Copy)]
pub struct ReportInput<'a> {
    /// The company that the report is about.
    pub company: Option<&'a str>,
    /// The run's id.
    pub run: &'a str,
    /// The workflow's id.
    pub workflow: &'a str,
    /// The run's outputs, by name.
    pub outputs: &'a Values,
    /// The facts of `native.data_collection`; if absent, they are searched in the outputs.
    pub facts: Option<&'a TableFacts>,
    /// The metadata of the run's reply.
    pub metadata: &'a Metadata,
    /// The revision of the policy that authorized it.
    pub policy: Option<&'a str>,
    /// The time of the report.
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
pub fn write(input: &ReportInput<'_>) -> Report {
    let from_outputs = input.outputs.values().find_map(TableFacts::from_json);
    let facts = input.facts.or(from_outputs.as_ref());
    let content = Content::new(input, facts);
    Report { markdown: markdown::render(&content), html: html::render(&content) }
}

/// A titled text.
struct Section {
    title: String,
    text: String,
}

/// One figure at the top of the page.
struct KpiTile {
    label: String,
    value: String,
    change: Option<KpiChange>,
}

/// A change, and whether it is an improvement.
struct KpiChange {
    text: String,
    against: String,
    good: Option<bool>,
}

/// A table: its header and rows of cells.
struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// The content of both pages, in their order.
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
    fn new(input: &ReportInput<'_>, facts: Option<&TableFacts>) -> Self {
        let (summary, sections) = sections(input.outputs, facts.is_some());
        let period = facts.map(|facts| facts.period.label.clone());
        let kind = match facts.map(|facts| facts.period.label.starts_with('Q')) {
            Some(true) => "Quarterly report",
            Some(false) | None => "Report",
        };
        let title = match input.company {
            Some(company) => format!("{company} — {}", kind.to_lowercase()),
            None => kind.to_owned(),
        };
        let subtitle = match (period, facts) {
            (Some(period), Some(facts)) => {
                format!("{period} · {} of {} rows of {}", facts.period.rows, facts.rows, facts.file)
            }
            (Some(_) | None, _) => input.workflow.to_owned(),
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
            provenance: provenance(input),
        }
    }
}

/// Splits the texts of the outputs into the summary and the sections, in reading order.
fn sections(outputs: &Values, has_facts: bool) -> (Option<Section>, Vec<Section>) {
    const ORDER: [&str; 4] = ["executive_summary", "key_points", "financial_summary", "kpi_insights"];
    let is_included = |name: &str| match name {
        "final_output" => !outputs.contains_key("executive_summary"),
        // The table of measures contains the same figures.
        "kpis" => !has_facts,
        _ => true,
    };
    let mut names: Vec<&String> = outputs.keys().filter(|name| is_included(name)).collect();
    names.sort_by_key(|name| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
    let mut all = names.into_iter().filter_map(|name| {
        let value = outputs.get(name)?;
        let text = prose::to_markdown(value)?;
        let title = if name == "final_output" { "Executive summary".to_owned() } else { number_format::title(name) };
        Some((name, Section { title, text: prose::truncate(&text, TEXT_BYTES_MAX) }))
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

fn compared_period(facts: &TableFacts) -> String {
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
                    against: format!("vs {}", compared_period(facts)),
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

fn provenance(input: &ReportInput<'_>) -> Vec<(String, String)> {
    let metadata = input.metadata;
    let mut all = vec![
        ("Run".to_owned(), input.run.to_owned()),
        ("Workflow".to_owned(), input.workflow.to_owned()),
        ("Written".to_owned(), input.at.to_string()),
        ("Model".to_owned(), metadata.model.clone().unwrap_or_else(|| "none".to_owned())),
        ("Steps".to_owned(), metadata.workflow_steps.to_string()),
    ];
    let agents: Vec<&str> = metadata.agents.iter().map(greenroom_protocol::AgentId::as_str).collect();
    all.push((
        "Agents".to_owned(),
        if agents.is_empty() { metadata.agents_involved.to_string() } else { agents.join(", ") },
    ));
    all.push(("Policy decisions".to_owned(), format!("{}, all allowed", metadata.policy_decisions)));
    if let Some(policy) = input.policy {
        all.push(("Policy revision".to_owned(), policy.to_owned()));
    }
    let tokens = metadata.tokens_used;
    all.push(("Tokens".to_owned(), format!("{} in, {} out", tokens.input, tokens.output)));
    let estimated = if metadata.estimated { " (partly estimated)" } else { "" };
    all.push(("Cost".to_owned(), format!("${:.4}{estimated}", metadata.cost_usd)));
    all
}

/// Formats a value that is neither a text nor a list of texts.
fn compact_json(value: &Json) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests;
