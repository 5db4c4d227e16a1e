//! `native:table_facts`: the exact figures of a table, as `native.data_collection` computes them, for a table that an
//! agent has as text or as a file.

use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, HandlerMode};
use greenroom_actors::tool::{Tool, ToolInput, require_text};
use greenroom_protocol::{Cause, ErrorCode, Json};
use serde_json::json;

use crate::tables::{TableOptions, read_facts};

/// Maximum size of a table that is a text.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Maximum size of a table that is a file.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The tool.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TableFacts;

#[async_trait]
impl Tool for TableFacts {
    fn name(&self) -> &str {
        "table_facts"
    }

    fn description(&self) -> &str {
        "Reads a table (CSV, JSON or JSON Lines as text, or a file) and computes totals, means, shares by group, \
         months and growth, with warnings about doubtful cells."
    }

    fn parameters(&self) -> Json {
        json!({
            "type": "object",
            "properties": {
                "table": { "type": "string", "description": "The table as text, with its header" },
                "file": { "type": "string", "description": "The path of a file, instead of `table`" },
                "quarter": { "type": "string", "description": "A quarter, such as Q4 2024, to compare with the last" },
                "sheet": { "type": "string", "description": "The sheet or list, if there are several" }
            },
            "additionalProperties": false
        })
    }

    fn result(&self) -> Json {
        json!({
            "type": "object",
            "properties": {
                "file": { "type": "string" },
                "period": { "type": "object" },
                "measures": { "type": "array", "items": { "type": "object" } },
                "breakdowns": { "type": "array", "items": { "type": "object" } },
                "by_month": { "type": "array", "items": { "type": "object" } },
                "notes": { "type": "array" },
                "warnings": { "type": "array" }
            }
        })
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Blocking
    }

    async fn call(&self, input: &ToolInput, files: &FileAccess) -> Result<Json, Cause> {
        let arguments = &input.arguments;
        let text = |name: &str| arguments.get(name).and_then(Json::as_str).filter(|text| !text.trim().is_empty());
        let options = TableOptions {
            quarter: text("quarter").map(str::to_owned),
            table: text("sheet").map(str::to_owned),
            ..TableOptions::default()
        };
        let facts = match arguments.get("file").filter(|file| !file.is_null()) {
            Some(file) => {
                let file = files.open_file(file, FILE_BYTES_MAX).await?;
                read_facts(&file.name, &file.bytes, &options)?
            }
            None => {
                let table = require_text(arguments, "table")?;
                if table.len() > TEXT_BYTES_MAX {
                    let message = format!("the table has {} bytes, at most {TEXT_BYTES_MAX} are read", table.len());
                    return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
                }
                read_facts("table", table.as_bytes(), &options)?
            }
        };
        serde_json::to_value(facts).map_err(|error| Cause::new(ErrorCode::HandlerFailed, error.to_string()))
    }
}
