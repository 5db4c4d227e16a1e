//! The types and names of the world `greenroom:agent`, as `greenroom.wit` has them, and the check that a component exports
//! what the world demands.

use std::sync::Arc;

use greenroom_actors::execution::host_calls::LogLevel;
use greenroom_protocol::Cause;
use greenroom_protocol::value::truncate_utf8;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, ComponentExportIndex, ComponentType, Lift, Lower};

/// The interface that components import.
pub(super) const HOST_INTERFACE: &str = "greenroom:agent/host@1.0.0";
/// The function that components export.
const EXECUTE: &str = "execute";
/// Exports that the message about a missing one names.
const EXPORTS_MAX: usize = 8;
/// Bytes of the name of an export in a message.
const EXPORT_BYTES_MAX: usize = 64;

/// The type of the parameters of `execute`: inputs and context, as JSON.
pub(super) type ExecuteParameters = (String, String);
/// The type of its result: the outputs as JSON.
pub(super) type ExecuteResult = (Result<String, Failure>,);

/// The record `failure`.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) message: String,
}

impl From<&Cause> for Failure {
    fn from(cause: &Cause) -> Self {
        Self { code: cause.code.as_str().to_owned(), message: cause.message.clone() }
    }
}

/// The enumeration `log-level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "the derived conversion makes them of the numbers that a component passes")]
pub(super) enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

/// The record `file`.
#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(super) struct FileContent {
    pub(super) name: String,
    #[component(name = "media-type")]
    pub(super) media_type: String,
    pub(super) bytes: Arc<[u8]>,
}

/// Finds the function `execute` among the exports.
///
/// # Errors
/// A sentence about what is missing, or has another type.
pub(super) fn find_execute(component: &Component) -> Result<ComponentExportIndex, String> {
    let Some((item, index)) = component.get_export(None, EXECUTE) else {
        let ty = component.component_type();
        let exports = ty.exports(component.engine());
        let names = exports.take(EXPORTS_MAX).map(|(name, _)| format!("`{}`", truncate_utf8(name, EXPORT_BYTES_MAX)));
        let names: Vec<String> = names.collect();
        let found = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        return Err(format!("it does not export the function `{EXECUTE}`, but {found}"));
    };
    match item {
        ComponentItem::ComponentFunc(function) if is_execute(&function) => Ok(index),
        _ => Err(format!(
            "its export `{EXECUTE}` is not `func(inputs: string, context: string) -> result<string, failure>`"
        )),
    }
}

fn is_execute(function: &ComponentFunc) -> bool {
    let has_parameters = function.params().map(|(_, ty)| ty).eq([Type::String, Type::String]);
    let mut results = function.results();
    let (Some(Type::Result(result)), None) = (results.next(), results.next()) else { return false };
    let is_failure = |ty: Type| {
        let Type::Record(record) = ty else { return false };
        let fields = record.fields().map(|field| (field.name.to_owned(), field.ty));
        fields.eq([("code".to_owned(), Type::String), ("message".to_owned(), Type::String)])
    };
    !function.async_() && has_parameters && result.ok() == Some(Type::String) && result.err().is_some_and(is_failure)
}
