//! `native:draw_chart`: draws named values as bars, stored as an SVG artifact with a description for readers who cannot
//! see it.

use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, HandlerMode};
use greenroom_actors::tool::{Tool, ToolInput};
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, ErrorCode, Json};
use serde::Deserialize;
use serde_json::json;

use super::computation::{invalid, require_at_most};
use crate::charts::chart_values;

/// Maximum values of a chart.
const VALUES_MAX: usize = 8;
/// Maximum bytes of a label and of the title.
const LABEL_BYTES_MAX: usize = 80;

/// The tool.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DrawChart;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    title: String,
    values: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    label: String,
    value: f64,
}

#[async_trait]
impl Tool for DrawChart {
    fn name(&self) -> &str {
        "draw_chart"
    }

    fn description(&self) -> &str {
        "Draws up to eight named values as a bar chart, stores it as an SVG file, and returns it with a description."
    }

    fn parameters(&self) -> Json {
        json!({
            "type": "object",
            "properties": {
                "title": { "type": "string", "description": "What the chart shows" },
                "values": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": VALUES_MAX,
                    "items": {
                        "type": "object",
                        "properties": { "label": { "type": "string" }, "value": { "type": "number" } },
                        "required": ["label", "value"],
                        "additionalProperties": false
                    }
                }
            },
            "required": ["title", "values"],
            "additionalProperties": false
        })
    }

    fn result(&self) -> Json {
        json!({
            "type": "object",
            "properties": {
                "svg": { "type": "object", "description": "The stored file" },
                "description": { "type": "string" }
            }
        })
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Blocking
    }

    async fn call(&self, input: &ToolInput, files: &FileAccess) -> Result<Json, Cause> {
        let arguments = Json::Object(input.arguments.clone().into_iter().collect());
        let arguments: Arguments = serde_json::from_value(arguments).map_err(|error| invalid(error.to_string()))?;
        require_at_most("values", arguments.values.len(), VALUES_MAX)?;
        let values: Vec<(String, f64)> = arguments
            .values
            .into_iter()
            .map(|value| (truncate_utf8(&value.label, LABEL_BYTES_MAX).to_owned(), value.value))
            .collect();
        let chart = chart_values(truncate_utf8(&arguments.title, LABEL_BYTES_MAX), &values)
            .ok_or_else(|| Cause::new(ErrorCode::InvalidInput, "the values cannot be drawn"))?;
        let svg = files.store_artifact(chart.svg.as_bytes(), "chart.svg", "image/svg+xml").await?;
        Ok(json!({ "svg": svg.to_json(), "description": chart.alt }))
    }
}
