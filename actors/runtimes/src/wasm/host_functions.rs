//! The functions of the interface `host`, as a component calls them: each becomes a call through the port of its store.
//!
//! A call that fails is a result for the component, which may handle it. Only a call after the end of the execution traps.

use greenroom_actors::execution::host_calls::{HostCall, HostReply};
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, ErrorCode, Json, Values, strict_json};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance};

use super::host_port::HostPort;
use super::interface::{Failure, FileContent, HOST_INTERFACE, Level};
use super::store_state::StoreState;
use crate::json_bounds::{self, VALUES_MAX};

/// Bytes of a text in a message about it.
const EXCERPT_BYTES_MAX: usize = 100;

/// The result of a function that returns JSON.
type TextResult = Result<String, Failure>;

/// Defines the functions of the interface.
///
/// # Errors
/// If one is defined already.
pub(super) fn define(linker: &mut Linker<StoreState>) -> wasmtime::Result<()> {
    let mut host = linker.instance(HOST_INTERFACE)?;
    define_requests(&mut host)?;
    define_artifacts(&mut host)?;
    host.func_wrap_async("log", |store: StoreContextMut<'_, StoreState>, (level, message): (Level, String)| {
        let port = store.data().port.clone();
        Box::new(async move {
            // A line that is not written is no failure of the component.
            let _ = port.call(HostCall::Log { level: level.into(), message }).await?;
            Ok::<_, wasmtime::Error>(())
        })
    })
}

fn define_requests(host: &mut LinkerInstance<'_, StoreState>) -> wasmtime::Result<()> {
    host.func_wrap_async("call-agent", |store: StoreContextMut<'_, StoreState>, (agent, inputs): (String, String)| {
        let port = store.data().port.clone();
        Box::new(async move {
            let result = match parse::<Values>("the inputs of a call", &inputs) {
                Ok(inputs) => call_for_text(&port, HostCall::CallAgent { agent, inputs }).await?,
                Err(cause) => Err(Failure::from(&cause)),
            };
            Ok::<_, wasmtime::Error>((result,))
        })
    })?;
    host.func_wrap_async("read-context", |store: StoreContextMut<'_, StoreState>, (key,): (Option<String>,)| {
        let port = store.data().port.clone();
        Box::new(async move {
            let result = call_for_text(&port, HostCall::ReadContext { key }).await?;
            Ok::<_, wasmtime::Error>((result,))
        })
    })?;
    host.func_wrap_async("write-context", |store: StoreContextMut<'_, StoreState>, (key, value): (String, String)| {
        let port = store.data().port.clone();
        Box::new(async move {
            let result = match parse::<Json>("the value of a key", &value) {
                Ok(value) => call_for_text(&port, HostCall::WriteContext { key, value }).await?.map(drop),
                Err(cause) => Err(Failure::from(&cause)),
            };
            Ok::<_, wasmtime::Error>((result,))
        })
    })
}

fn define_artifacts(host: &mut LinkerInstance<'_, StoreState>) -> wasmtime::Result<()> {
    host.func_wrap_async("open-artifact", |store: StoreContextMut<'_, StoreState>, (artifact,): (String,)| {
        let port = store.data().port.clone();
        Box::new(async move {
            let result = match parse::<Json>("an artifact", &artifact) {
                Ok(artifact) => call_for_file(&port, HostCall::OpenArtifact { artifact }).await?,
                Err(cause) => Err(Failure::from(&cause)),
            };
            Ok::<_, wasmtime::Error>((result,))
        })
    })?;
    host.func_wrap_async(
        "store-artifact",
        |store: StoreContextMut<'_, StoreState>, (name, media_type, bytes): (String, String, Vec<u8>)| {
            let port = store.data().port.clone();
            Box::new(async move {
                let call = HostCall::StoreArtifact { name, media_type, bytes };
                let result = call_for_text(&port, call).await?;
                Ok::<_, wasmtime::Error>((result,))
            })
        },
    )
}

/// Makes a call whose reply is a value.
async fn call_for_text(port: &HostPort, call: HostCall) -> wasmtime::Result<TextResult> {
    Ok(match port.call(call).await? {
        Ok(HostReply::Json(value)) => Ok(value.to_string()),
        Ok(HostReply::File(_)) => Err(unexpected_reply()),
        Err(cause) => Err(Failure::from(&cause)),
    })
}

/// Makes a call whose reply is a file.
async fn call_for_file(port: &HostPort, call: HostCall) -> wasmtime::Result<Result<FileContent, Failure>> {
    Ok(match port.call(call).await? {
        Ok(HostReply::File(file)) => {
            Ok(FileContent { name: file.name, media_type: file.media_type, bytes: file.bytes })
        }
        Ok(HostReply::Json(_)) => Err(unexpected_reply()),
        Err(cause) => Err(Failure::from(&cause)),
    })
}

fn unexpected_reply() -> Failure {
    Failure::from(&Cause::new(ErrorCode::Internal, "the host has replied with another kind of value"))
}

/// Parses a text of the component as JSON.
fn parse<T: serde::de::DeserializeOwned>(subject: &str, text: &str) -> Result<T, Cause> {
    if json_bounds::has_too_many_values(text.as_bytes()) {
        let message = format!("{subject}: more than {VALUES_MAX} values; store them as an artifact");
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    strict_json::from_str(text).map_err(|error| {
        let (problem, excerpt) = (json_bounds::describe(&error), truncate_utf8(text, EXCERPT_BYTES_MAX));
        Cause::new(ErrorCode::InvalidRequest, format!("{subject} cannot be read as JSON: {problem}: {excerpt:?}"))
    })
}
