//! The native tools of the test environment.

use async_trait::async_trait;
use greenroom_protocol::{Cause, Json, Values};
use serde_json::json;

use crate::handler::{FileAccess, HandlerMode};
use crate::tool::Tool;

/// Adds two numbers.
pub(super) struct Adder;

#[async_trait]
impl Tool for Adder {
    fn name(&self) -> &'static str {
        "adder"
    }
    fn description(&self) -> &'static str {
        "adds a and b"
    }
    fn parameters(&self) -> Json {
        json!({"type": "object"})
    }
    fn mode(&self) -> HandlerMode {
        HandlerMode::Blocking
    }
    async fn call(&self, arguments: &Values, _: &FileAccess) -> Result<Json, Cause> {
        let number = |name| arguments.get(name).and_then(Json::as_i64).unwrap_or_default();
        Ok(json!(number("a") + number("b")))
    }
}

/// Panics in its caller's task.
pub(super) struct PanickingTool;

#[async_trait]
impl Tool for PanickingTool {
    fn name(&self) -> &'static str {
        "panicking"
    }
    fn description(&self) -> &'static str {
        "panics"
    }
    fn parameters(&self) -> Json {
        json!({"type": "object"})
    }
    fn mode(&self) -> HandlerMode {
        HandlerMode::Async
    }
    async fn call(&self, _: &Values, _: &FileAccess) -> Result<Json, Cause> {
        panic!("the test requested this panic of a tool")
    }
}
