//! A run's outputs and their facts → a report: Markdown, and one self-contained HTML page.
//!
//! All content is data: text from a file, a user or a model can become text and plain Markdown marks
//! (headings, lists, emphasis), never an element, a link or a script. The charts are drawn here from the
//! facts, so no image comes from outside either.

use greenroom_protocol::{Json, Metadata, Timestamp, Values};

use crate::charts;
use crate::tables::{Measure, Note, TableFacts, number_format};

mod html;
mod markdown;
mod prose;
mod provenance;

/// Maximum figures at the top of the page.
const TILES_MAX: usize = 4;
/// The heading of the notes and warnings of the facts.
const NOTES_TITLE: &str = "Notes on the data";
/// Stands for the total of a measure that does not add up.
const NOT_ADDED: &str = "not added up";
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
    /// The run's outputs, by name, with the content of their artifacts.
    pub outputs: &'a Values,
    /// The metadata of the run's recorded reply.
    pub metadata: &'a Metadata,
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

/// What the outputs lack for a report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// No output has facts.
    #[error("none of its outputs ({}) has the facts of a table, as native.data_collection computes them", list(.outputs))]
    NoFacts {
        /// The names of the outputs.
        outputs: Vec<String>,
    },
    /// Several outputs have facts, and none of them is named `facts`.
    #[error("its outputs {} have the facts of different tables; name the output of the report `{FACTS}`", list(.outputs))]
    SeveralFacts {
        /// The names of the outputs.
        outputs: Vec<String>,
    },
}

/// The output whose facts a report is about, if several outputs have facts.
const FACTS: &str = "facts";

/// Writes the report.
///
/// # Errors
/// [`ReportError`] if the outputs have no facts, or those of several tables.
pub fn write(input: &ReportInput<'_>) -> Result<Report, ReportError> {
    let content = Content::new(input, &find_facts(input.outputs)?);
    Ok(Report { markdown: markdown::render(&content), html: html::render(&content) })
}

/// The facts of the outputs; the same facts in several outputs count once.
fn find_facts(outputs: &Values) -> Result<TableFacts, ReportError> {
    if let Some(facts) = outputs.get(FACTS).and_then(TableFacts::find_in) {
        return Ok(facts);
    }
    let mut found: Vec<(&String, TableFacts)> = Vec::new();
    for (name, value) in outputs {
        if let Some(facts) = TableFacts::find_in(value).filter(|facts| found.iter().all(|(_, known)| known != facts)) {
            found.push((name, facts));
        }
    }
    let name = |(name, _): &(&String, TableFacts)| (*name).clone();
    match found.pop() {
        None => Err(ReportError::NoFacts { outputs: outputs.keys().cloned().collect() }),
        Some((_, facts)) if found.is_empty() => Ok(facts),
        Some(last) => Err(ReportError::SeveralFacts { outputs: found.iter().chain([&last]).map(name).collect() }),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
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
    disclaimer: Option<String>,
    tiles: Vec<KpiTile>,
    summary: Option<Section>,
    sections: Vec<Section>,
    charts: Vec<charts::Chart>,
    measures: Table,
    breakdowns: Vec<Table>,
    data: String,
    warnings: Vec<String>,
    notes: Vec<String>,
    provenance: Vec<(String, String)>,
}

impl Content {
    fn new(input: &ReportInput<'_>, facts: &TableFacts) -> Self {
        let (summary, sections) = sections(input.outputs, facts);
        let kind = if facts.period.label.starts_with('Q') { "Quarterly report" } else { "Report" };
        let title = match input.company {
            Some(company) => format!("{company} — {}", kind.to_lowercase()),
            None => kind.to_owned(),
        };
        let period = &facts.period;
        let disclaimer = input.metadata.disclaimer.as_ref();
        Self {
            title,
            subtitle: format!("{} · {} of {} rows of {}", period.label, period.rows, facts.rows, facts.file),
            disclaimer: disclaimer.map(|text| format!("The texts are figures and sentences of the data {text}.")),
            tiles: tiles(facts),
            summary,
            sections,
            charts: charts::render_all(facts, false),
            measures: measures(facts),
            breakdowns: breakdowns(facts),
            data: about_the_data(facts),
            warnings: messages(&facts.warnings),
            notes: messages(&facts.notes),
            provenance: provenance::rows(input),
        }
    }
}

/// Splits the texts of the outputs into the summary, which is the output of the workflow as a whole, and the
/// sections, in the order of their names.
fn sections(outputs: &Values, facts: &TableFacts) -> (Option<Section>, Vec<Section>) {
    const FINAL: &str = "final_output";
    let final_output = outputs.get(FINAL);
    let (mut summary, mut rest) = (None, Vec::new());
    for (name, value) in outputs.iter().filter(|(name, _)| *name != FINAL) {
        let Some(text) = prose::to_section(value).filter(|_| !restates(value, facts)) else { continue };
        let section = Section { title: number_format::title(name), text: prose::truncate(&text, TEXT_BYTES_MAX) };
        match &summary {
            None if Some(value) == final_output => summary = Some(section),
            Some(_) | None => rest.push(section),
        }
    }
    if summary.is_none() {
        let text = final_output.and_then(prose::to_section);
        summary =
            text.map(|text| Section { title: "Summary".to_owned(), text: prose::truncate(&text, TEXT_BYTES_MAX) });
    }
    (summary, rest)
}

/// True for a list of figures that are those of the measures: the table of measures has them already.
fn restates(value: &Json, facts: &TableFacts) -> bool {
    let is_measure = |item: &Json| {
        let measure = item.get("name").and_then(Json::as_str).and_then(|name| facts.measure(name));
        measure.is_some_and(|measure| {
            item.get("value").and_then(Json::as_f64) == measure.figure().and_then(serde_json::Number::as_f64)
        })
    };
    value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(is_measure))
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
            label: measure.heading(),
            value: number_format::full(measure.figure(), measure.unit.as_deref()),
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
                match (&measure.total, measure.additive) {
                    (Some(total), true) => number_format::exact(Some(total), unit),
                    (Some(_) | None, _) => NOT_ADDED.to_owned(),
                },
                number_format::rounded(measure.mean.as_ref(), unit),
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
            head.extend(headline.iter().map(|measure| measure.heading()));
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
    text.push_str(
        " Totals are exact sums of the file's figures; titles, repeated headers and total rows are not counted.",
    );
    text
}

fn messages(notes: &[Note]) -> Vec<String> {
    notes.iter().map(|note| note.message.clone()).collect()
}

/// Formats a value that is neither a text nor a list of texts.
fn compact_json(value: &Json) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests;
