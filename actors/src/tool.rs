//! Tools: what the model of an agent may call. A [`ToolSource`] provides the tools of one scheme; a
//! [`Tool`] is one that is compiled in.

use async_trait::async_trait;
use greenroom_definitions::Catalogue;
use greenroom_protocol::header::Traceparent;
use greenroom_protocol::request::{CallOptions, CallTool};
use greenroom_protocol::{CallKey, Cause, ErrorCode, Json, Request, Values};

use crate::handler::{FileAccess, HandlerMode};
use crate::model::ToolSpec;

/// The one output of the reply to a tool call: what the tool returned.
pub const TOOL_RESULT: &str = "result";

/// The tool that reads artifacts. An agent with any tool may call it, because results of tools become artifacts.
pub const READ_ARTIFACT: &str = "native:read_artifact";

/// What a model must know about a tool before it can call it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolDescription {
    /// Its name in its source, without the scheme.
    pub name: String,
    /// What the tool does.
    pub description: String,
    /// The JSON Schema of its arguments: an object.
    pub parameters: Json,
}

/// One call of a tool, before it becomes a request.
#[derive(Debug, Clone)]
pub struct NestedCall<'a> {
    /// The tool's name in its source, without the scheme.
    pub name: &'a str,
    /// The arguments, by name.
    pub arguments: Values,
    /// The idempotency key, the same for every retry.
    pub key: CallKey,
    /// The model and the cost limit that a called agent inherits.
    pub options: CallOptions,
}

/// The input of one call of a tool.
#[derive(Debug, Clone)]
pub struct ToolInput {
    /// The arguments, by name.
    pub arguments: Values,
    /// The idempotency key, the same for every retry and for every repetition by the caller: a tool that changes
    /// something elsewhere passes it on, or stores it with the change.
    pub key: CallKey,
    /// The trace of the call and its span, for what the tool calls elsewhere; `None` if the id of the trace has another form.
    pub trace: Option<Traceparent>,
}

/// A source of tools. A definition names a tool as `SCHEME:NAME`.
///
/// An agent never calls a source: it issues the request that [`ToolSource::request`] builds, so each
/// call is authenticated, authorized and audited. The dispatcher executes it by [`ToolSource::call`].
///
/// A definition names each tool that its agent may call, so an execution describes only those, and an
/// agent's tools do not change with the source. A source whose list comes from elsewhere, such as an MCP
/// server, fetches it in [`ToolSource::refresh`], and describes what it has fetched.
#[async_trait]
pub trait ToolSource: Send + Sync {
    /// The scheme of its tools' names, such as `native`.
    fn scheme(&self) -> &str;

    /// All tools of the source, in the order of their names.
    fn list(&self, catalogue: &Catalogue) -> Vec<ToolDescription>;

    /// Describes a tool; `None` if the source has no tool of this name. A source with many tools overrides
    /// this, so that one is described without the others.
    fn describe(&self, name: &str, catalogue: &Catalogue) -> Option<ToolDescription> {
        self.list(catalogue).into_iter().find(|tool| tool.name == name)
    }

    /// True if a call of this tool communicates with something outside of the organization. The rule
    /// `no_external_tools` depends on it, also for a name that the source does not have.
    fn is_external(&self, _name: &str) -> bool {
        false
    }

    /// Brings what the source knows of these tools up to date, before an execution describes them. It returns within a
    /// bound of the source, whether or not that was possible.
    async fn refresh(&self, _: &[&str]) {}

    /// Checks that a tool is the one that was described to the model, before it is called.
    ///
    /// # Errors
    /// [`ErrorCode::VersionConflict`] if it has another description or other parameters since;
    /// [`ErrorCode::UnknownTool`] if it is no tool of the source any more.
    async fn require_unchanged(&self, _name: &str, _described: &ToolSpec) -> Result<(), Cause> {
        Ok(())
    }

    /// Builds the request that calls a tool.
    ///
    /// # Errors
    /// A [`Cause`] if the name or the arguments cannot be sent.
    fn request(&self, call: NestedCall<'_>) -> Result<Request, Cause> {
        let tool = format!("{}:{}", self.scheme(), call.name);
        Ok(Request::CallTool(CallTool { tool, arguments: call.arguments, key: Some(call.key) }))
    }

    /// Executes one call that policy has permitted, with the file access of the calling agent.
    ///
    /// # Errors
    /// [`greenroom_protocol::ErrorCode::UnknownTool`]; a [`Cause`] of the tool.
    async fn call(&self, name: &str, input: ToolInput, files: &FileAccess) -> Result<Json, Cause>;
}

/// The text argument of this name, for a tool that requires one.
///
/// # Errors
/// [`ErrorCode::MissingInput`] if it is absent or null, [`ErrorCode::InvalidInput`] if it is no text.
pub fn require_text<'a>(arguments: &'a Values, name: &str) -> Result<&'a str, Cause> {
    let found = match arguments.get(name) {
        Some(Json::String(text)) => return Ok(text),
        None | Some(Json::Null) => {
            return Err(Cause::new(ErrorCode::MissingInput, format!("the argument `{name}` (text) is missing")));
        }
        Some(Json::Bool(_)) => "a boolean",
        Some(Json::Number(_)) => "a number",
        Some(Json::Array(_)) => "a list",
        Some(Json::Object(_)) => "an object",
    };
    Err(Cause::new(ErrorCode::InvalidInput, format!("the argument `{name}` must be a text, not {found}")))
}

/// A native tool.
#[async_trait]
pub trait Tool: Send + Sync {
    /// Its name, without `native:`.
    fn name(&self) -> &str;

    /// What it does, for the model that may call it.
    fn description(&self) -> &str;

    /// The JSON Schema of its arguments: an object.
    fn parameters(&self) -> Json;

    /// The JSON Schema of what it returns; without one of its own, any value.
    fn result(&self) -> Json {
        Json::Bool(true)
    }

    /// Whether it awaits or blocks.
    fn mode(&self) -> HandlerMode;

    /// Executes one call.
    ///
    /// # Errors
    /// A [`Cause`] that the model may read.
    async fn call(&self, input: &ToolInput, files: &FileAccess) -> Result<Json, Cause>;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_missing_argument_is_called_missing() {
        let arguments = Values::from([("a".into(), json!("x")), ("b".into(), json!(7)), ("c".into(), Json::Null)]);
        assert_eq!(require_text(&arguments, "a").unwrap(), "x");
        for (name, code, word) in
            [("b", ErrorCode::InvalidInput, "not a number"), ("c", ErrorCode::MissingInput, "`c` (text) is missing")]
        {
            let cause = require_text(&arguments, name).unwrap_err();
            assert!(cause.code == code && cause.message.contains(word), "{cause}");
        }
        assert_eq!(require_text(&arguments, "d").unwrap_err().code, ErrorCode::MissingInput);
    }
}
