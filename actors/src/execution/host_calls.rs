//! The calls of a handler in another language into its host: other agents, the context, artifacts, the log.
//!
//! A call re-enters the pipeline as the agent itself, so a handler has no more rights than the definition of its agent:
//! each call is authenticated, decided by the guard, audited and paid. Artifacts are those of the tenant, as for a native
//! handler. What starts and bounds the handlers is in `actors/runtimes`.

use greenroom_protocol::request::{CallOptions, ContextChange, ContextRead, ContextWrite, Invoke};
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{AgentId, ArtifactRef, Cause, ContextKey, ErrorCode, Json, Reply, Request, RunId, Values};
use serde::Deserialize;

use super::log_lines::{LOG_LINES_MAX, LineFate};
use super::runtime::ExecutionContext;
use crate::handler::File;
use crate::run::handler_write_id;

/// Maximum size in bytes of a file or an artifact that a handler opens.
pub const OPENED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Maximum size in bytes of one line of the log; the rest is cut.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;

/// A function of the host that a handler in another language calls. Each one re-enters the pipeline as the agent itself
/// (authenticated, judged by the guard, audited, paid), except `Log`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "function", rename_all = "snake_case", deny_unknown_fields)]
pub enum HostCall {
    /// Invokes another agent; the reply is its outputs as an object.
    CallAgent {
        /// The id of the agent, or its id without a trailing `_NNN`.
        agent: String,
        /// Its inputs, by name.
        #[serde(default)]
        inputs: Values,
    },
    /// Reads the context of the run or the team: one key, or all keys; null for a key that is absent.
    ReadContext {
        /// The key; without it, all keys.
        #[serde(default)]
        key: Option<String>,
    },
    /// Writes one key of the context.
    WriteContext {
        /// The key.
        key: String,
        /// Replaces the value of the key.
        value: Json,
    },
    /// Reads an artifact (or a file of an input) as bytes.
    OpenArtifact {
        /// A reference to an artifact, or the path that an input has.
        artifact: Json,
    },
    /// Stores an artifact; the reply is its reference.
    StoreArtifact {
        /// Its file name.
        name: String,
        /// Its media type, such as `text/csv`.
        media_type: String,
        /// Its content, in Base64.
        #[serde(with = "base64_bytes")]
        bytes: Vec<u8>,
    },
    /// Writes a line to the log of the pod.
    Log {
        /// The level of the line.
        level: LogLevel,
        /// The text.
        message: String,
    },
}

/// The level of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For the developer of the handler.
    Debug,
    /// What the handler does.
    Info,
    /// Something that the handler did not expect.
    Warn,
    /// A failure.
    Error,
}

/// The result of a host call.
#[derive(Debug, Clone)]
pub enum HostReply {
    /// A value.
    Json(Json),
    /// The content of an artifact or a file.
    File(File),
}

impl ExecutionContext<'_> {
    /// Makes a call of the handler. `number` counts the calls of agents in one attempt from 1, so that a repetition has the
    /// same call keys, however often it logs a line or reads the context; no other call uses it.
    ///
    /// # Errors
    /// The cause of the nested request, such as [`ErrorCode::PolicyDenied`] or [`ErrorCode::BudgetExceeded`];
    /// [`ErrorCode::UnknownAgent`] or [`ErrorCode::InvalidRequest`] for a text that is no id or key;
    /// [`ErrorCode::UnknownRun`] for a write without a team; those of
    /// [`FileAccess`](crate::handler::FileAccess) for artifacts.
    pub async fn host_call(&self, call: HostCall, number: u32) -> Result<HostReply, Cause> {
        // Boxed, so that an execution in flight does not carry the state of each kind of call.
        match call {
            HostCall::CallAgent { agent, inputs } => Box::pin(self.call_agent(&agent, inputs, number)).await,
            HostCall::ReadContext { key } => Box::pin(self.read_context(key.as_deref())).await,
            HostCall::WriteContext { key, value } => Box::pin(self.write_context(&key, value)).await,
            HostCall::OpenArtifact { artifact } => Box::pin(self.open_artifact(&artifact)).await,
            HostCall::StoreArtifact { name, media_type, bytes } => {
                let stored = Box::pin(self.files.store_artifact(&bytes, &name, &media_type)).await?;
                Ok(HostReply::Json(stored.to_json()))
            }
            HostCall::Log { level, message } => {
                self.write_log(level, &message);
                Ok(HostReply::Json(Json::Null))
            }
        }
    }

    async fn call_agent(&self, agent: &str, inputs: Values, number: u32) -> Result<HostReply, Cause> {
        let agent = AgentId::new(agent).map_err(|error| Cause::new(ErrorCode::UnknownAgent, error.to_string()))?;
        let key = self.invocation.key();
        // The grant has the limits on spending, which bind the calls of all levels together.
        let options = CallOptions { cost_max: None, ..self.invocation.invoke.options.clone() };
        let invoke = Invoke {
            agent,
            inputs,
            context: Values::new(),
            version: None,
            key: Some(key.child(&format!("call[{number}]"))),
            options,
            approvals: None,
        };
        self.env.budgets.share(&self.invocation.grant, &key, self.budget);
        let outputs = outputs(self.issue_request(Request::Invoke(invoke)).await)?;
        Ok(HostReply::Json(outputs.into_iter().collect()))
    }

    /// Reads the shared context of the team; outside of a team, the context that the call has.
    async fn read_context(&self, key: Option<&str>) -> Result<HostReply, Cause> {
        let keys: Vec<ContextKey> = key.map(context_key).transpose()?.into_iter().collect();
        let mut values = match self.invocation.grant.team_run() {
            Some(run) => {
                let read = ContextRead { run: run.clone(), keys };
                outputs(self.issue_request(Request::ContextRead(read)).await)?
            }
            None => self.invocation.invoke.context.clone(),
        };
        Ok(HostReply::Json(match key {
            Some(key) => values.remove(key).unwrap_or_default(),
            None => values.into_iter().collect(),
        }))
    }

    async fn write_context(&self, key: &str, value: Json) -> Result<HostReply, Cause> {
        let key = context_key(key)?;
        let run: RunId = self.invocation.grant.team_run().cloned().ok_or_else(|| {
            let message = "no team has called the agent, and only the context of a team can be written";
            Cause::new(ErrorCode::UnknownRun, message)
        })?;
        // By this id the end of the step finds that the handler has written the key.
        let id = handler_write_id(&self.invocation.key(), &key);
        let write = ContextWrite { run, key, expect: None, change: ContextChange::Put(value), ttl_ms: None };
        outputs(self.issue_request_with_id(id, Request::ContextWrite(write)).await)?;
        Ok(HostReply::Json(Json::Null))
    }

    /// Opens an artifact of the tenant, or the file whose path an input has. Personal data is for users with the permission,
    /// as wherever an agent receives it.
    async fn open_artifact(&self, artifact: &Json) -> Result<HostReply, Cause> {
        let invoke = &self.invocation.invoke;
        let is_input = || invoke.inputs.values().chain(invoke.context.values()).any(|value| contains(value, artifact));
        if let Some(reference) = ArtifactRef::from_json(artifact) {
            let may_read = self.invocation.grant.principal().permissions.pii_access;
            if !may_read && self.files.is_personal_data(&reference).await? {
                let message = "the artifact holds personal data, and the user lacks the permission pii_access";
                return Err(Cause::new(ErrorCode::PolicyDenied, message));
            }
        } else if artifact.is_string() && !is_input() {
            let message = "a handler opens artifacts, and the files whose paths are among its inputs";
            return Err(Cause::new(ErrorCode::PathNotAllowed, message));
        }
        self.files.open_file(artifact, OPENED_BYTES_MAX).await.map(HostReply::File)
    }

    fn write_log(&self, level: LogLevel, message: &str) {
        let agent = self.invocation.agent.id().as_str();
        let trace = self.invocation.grant.trace().as_str();
        match self.log_lines.count() {
            LineFate::Written => {}
            LineFate::FirstDropped => {
                let lines_max = LOG_LINES_MAX;
                tracing::warn!(
                    agent.id = agent,
                    trace_id = trace,
                    lines_max,
                    "further lines of the handler are dropped"
                );
                return;
            }
            LineFate::Dropped => return,
        }
        let message = log_line(message);
        match level {
            LogLevel::Debug => {
                tracing::debug!(agent.id = agent, trace_id = trace, handler.message = message, "handler logged a line")
            }
            LogLevel::Info => {
                tracing::info!(agent.id = agent, trace_id = trace, handler.message = message, "handler logged a line")
            }
            LogLevel::Warn => {
                tracing::warn!(agent.id = agent, trace_id = trace, handler.message = message, "handler logged a line")
            }
            LogLevel::Error => {
                tracing::error!(agent.id = agent, trace_id = trace, handler.message = message, "handler logged a line")
            }
        }
    }
}

/// The outputs of a nested request, or its cause.
fn outputs(reply: Reply) -> Result<Values, Cause> {
    match reply.error {
        Some(cause) => Err(cause),
        None => Ok(reply.outputs),
    }
}

fn context_key(key: &str) -> Result<ContextKey, Cause> {
    ContextKey::new(key)
        .map_err(|error| Cause::new(ErrorCode::InvalidRequest, format!("this is no key of a context: {error}")))
}

/// True if the value is the wanted one, or has it as an item or a member.
fn contains(value: &Json, wanted: &Json) -> bool {
    value == wanted
        || match value {
            Json::Array(items) => items.iter().any(|item| contains(item, wanted)),
            Json::Object(members) => members.values().any(|member| contains(member, wanted)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
        }
}

/// The text of a line: cut at its bound, without control characters, so that a handler cannot forge a second line.
fn log_line(message: &str) -> String {
    let is_cut = message.len() > LOG_LINE_BYTES_MAX;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = truncate_utf8(message, LOG_LINE_BYTES_MAX).chars().map(plain).collect();
    if is_cut {
        line.push_str(" … (cut)");
    }
    line
}

/// Bytes that cross the boundary as Base64.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, de};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
