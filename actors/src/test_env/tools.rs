//! The native tools of the test environment.

use async_trait::async_trait;
use greenroom_protocol::{Cause, Json};
use serde_json::json;

use crate::handler::{FileAccess, HandlerMode};
use crate::tool::{Tool, ToolInput};

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
    async fn call(&self, input: &ToolInput, _: &FileAccess) -> Result<Json, Cause> {
        let number = |name| input.arguments.get(name).and_then(Json::as_i64).unwrap_or_default();
        Ok(json!(number("a") + number("b")))
    }
}

/// Returns the key of its call.
pub(super) struct KeyReader;

#[async_trait]
impl Tool for KeyReader {
    fn name(&self) -> &'static str {
        "key_reader"
    }
    fn description(&self) -> &'static str {
        "returns its idempotency key"
    }
    fn parameters(&self) -> Json {
        json!({"type": "object"})
    }
    fn mode(&self) -> HandlerMode {
        HandlerMode::Async
    }
    async fn call(&self, input: &ToolInput, _: &FileAccess) -> Result<Json, Cause> {
        Ok(json!(input.key))
    }
}

/// Returns its arguments, as a reader of artifacts.
pub(super) struct ArtifactReader;

#[async_trait]
impl Tool for ArtifactReader {
    fn name(&self) -> &'static str {
        "read_artifact"
    }
    fn description(&self) -> &'static str {
        "reads a page of an artifact"
    }
    fn parameters(&self) -> Json {
        json!({"type": "object"})
    }
    fn mode(&self) -> HandlerMode {
        HandlerMode::Async
    }
    async fn call(&self, input: &ToolInput, _: &FileAccess) -> Result<Json, Cause> {
        Ok(json!(input.arguments))
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
    async fn call(&self, _: &ToolInput, _: &FileAccess) -> Result<Json, Cause> {
        panic!("the test requested this panic of a tool")
    }
}
