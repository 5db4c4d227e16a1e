//! `native.data_visualization`: facts, or figures, → charts that are stored as artifacts.
//!
//! The shipped report workflow passes narratives and not the data. So the handler searches the inputs for
//! facts, then computes them from the file of the run, and at last draws any named figures as they are.

use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, Handler, HandlerInput, HandlerMode};
use greenroom_protocol::{Cause, ErrorCode, Json, Values};
use serde_json::json;

use super::data_source;
use crate::charts::{self, Chart};
use crate::tables::{TableFacts, number_format};

/// Maximum depth to which the inputs are searched.
const DEPTH_MAX: usize = 5;
/// Maximum figures of a chart that is not drawn from facts.
const VALUES_MAX: usize = 24;

/// The handler.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DataVisualization;

#[async_trait]
impl Handler for DataVisualization {
    fn name(&self) -> &str {
        "native.data_visualization"
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Blocking
    }

    async fn run(&self, input: &HandlerInput, files: &FileAccess) -> Result<Values, Cause> {
        let facts = match input.inputs.values().find_map(TableFacts::find_in) {
            Some(facts) => Some(facts),
            None => load_run_facts(input, files).await?,
        };
        let charts = match facts {
            Some(facts) => charts::render_all(&facts, true),
            None => draw_figures(&input.inputs).into_iter().collect(),
        };
        if charts.is_empty() {
            let message = "the inputs have no facts, no file and no named figures to draw";
            return Err(Cause::new(ErrorCode::InvalidInput, message));
        }
        let mut stored = Vec::with_capacity(charts.len());
        for chart in &charts {
            let name = format!("{}.svg", slug(&chart.title));
            let artifact = files.store_artifact(chart.svg.as_bytes(), &name, "image/svg+xml").await?;
            stored.push(json!({ "title": chart.title, "alt": chart.alt, "svg": artifact.to_json() }));
        }
        Ok([("charts".to_owned(), Json::Array(stored))].into())
    }
}

async fn load_run_facts(input: &HandlerInput, files: &FileAccess) -> Result<Option<TableFacts>, Cause> {
    let Some(source) = data_source::find_source(&input.inputs).or_else(|| data_source::find_source(&input.context))
    else {
        return Ok(None);
    };
    let options = data_source::read_options(&[&input.inputs, &input.context])?;
    data_source::load_facts(files, source, &options).await.map(Some)
}

/// Draws the objects with a name and a figure, at any depth of the inputs.
fn draw_figures(inputs: &Values) -> Option<Chart> {
    let mut figures = Vec::new();
    for value in inputs.values() {
        collect_figures(value, 0, &mut figures);
    }
    figures.truncate(VALUES_MAX);
    charts::chart_values("Figures", &figures)
}

fn collect_figures(value: &Json, depth: usize, figures: &mut Vec<(String, f64)>) {
    if depth > DEPTH_MAX || figures.len() >= VALUES_MAX {
        return;
    }
    match value {
        Json::Array(items) => items.iter().for_each(|item| collect_figures(item, depth + 1, figures)),
        Json::Object(members) => {
            let name = ["name", "label", "metric", "measure"].iter().find_map(|name| members.get(*name)?.as_str());
            let figure = ["value", "total", "amount"].iter().find_map(|name| members.get(*name)?.as_f64());
            match (name, figure) {
                (Some(name), Some(figure)) => figures.push((number_format::title(name), figure)),
                (None, _) | (_, None) => {
                    for (name, member) in members {
                        match member.as_f64() {
                            Some(figure) => figures.push((number_format::title(name), figure)),
                            None => collect_figures(member, depth + 1, figures),
                        }
                    }
                }
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// Derives a file name: letters and digits of the title, joined by dashes.
fn slug(title: &str) -> String {
    const CHARS_MAX: usize = 60;
    let plain: String =
        title.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
    let joined = plain.split_whitespace().collect::<Vec<_>>().join("-");
    let short: String = joined.chars().take(CHARS_MAX).collect();
    if short.is_empty() { "chart".to_owned() } else { short }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{draw_figures, slug};

    #[test]
    fn named_figures_are_drawn_without_facts() {
        let inputs =
            [("kpi_data".to_owned(), json!({ "items": [{ "name": "nps", "value": 41 }], "churn_pct": 2.5 }))].into();
        let chart = draw_figures(&inputs).unwrap();
        assert!(chart.alt.contains("Churn pct 2.5") && chart.alt.contains("NPS 41"), "{}", chart.alt);
        assert!(draw_figures(&[("text".to_owned(), json!("no figure"))].into()).is_none());
    }

    #[test]
    fn a_title_becomes_the_name_of_a_file() {
        assert_eq!(slug("Revenue by region / 2024"), "revenue-by-region-2024");
        assert_eq!(slug("…"), "chart");
    }
}
