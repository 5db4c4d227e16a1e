//! The messages of the protocol between the runtime and a process, as `greenroom/_worker.py` reads and writes them. What
//! a process sends is not trusted: a handler may write to the pipe.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use greenroom_actors::execution::host_calls::HostReply;
use greenroom_protocol::{Cause, Json, Values};
use serde::{Deserialize, Serialize};

/// The first message to a process.
#[derive(Debug, Serialize)]
pub(super) struct StartMessage<'a> {
    /// The folder of the handlers.
    pub(super) handlers: &'a Path,
    /// Folders with packages.
    pub(super) packages: &'a [&'a Path],
    pub(super) module: &'a str,
    pub(super) function: &'a str,
    /// The working folder.
    pub(super) work: &'a Path,
    pub(super) limits: LimitsMessage<'a>,
}

/// The limits that a process sets before it imports anything of a handler. An absent one is not set.
#[derive(Debug, Serialize)]
pub(super) struct LimitsMessage<'a> {
    pub(super) memory_bytes: Option<u64>,
    pub(super) file_bytes: u64,
    pub(super) open_files: u32,
    /// Without it, a handler starts no process.
    pub(super) processes: Option<u32>,
    pub(super) cgroup: Option<&'a Path>,
    pub(super) network: bool,
    /// The process sees no other ones than its own, because it has namespaces.
    pub(super) namespaces: bool,
    pub(super) readable: &'a [&'a Path],
    pub(super) writable: &'a [&'a Path],
}

/// A call.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "call")]
pub(super) struct CallMessage<'a> {
    pub(super) inputs: &'a Values,
    pub(super) context: &'a Values,
    pub(super) execution: ExecutionMessage<'a>,
}

/// What a handler may know of its execution.
#[derive(Debug, Serialize)]
pub(super) struct ExecutionMessage<'a> {
    /// The number of the execution, which each message of it has.
    pub(super) number: u64,
    pub(super) agent: &'a str,
    pub(super) key: &'a str,
    /// In seconds.
    pub(super) timeout: f64,
}

/// The reply to a call of the host.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "reply")]
pub(super) struct ReplyMessage {
    number: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorMessage>,
}

#[derive(Debug, Serialize)]
struct FileMessage {
    name: String,
    media_type: String,
    bytes: String,
}

#[derive(Debug, Serialize)]
struct ErrorMessage {
    code: &'static str,
    message: String,
}

impl ReplyMessage {
    /// The reply with this result.
    pub(super) fn new(number: u32, result: Result<HostReply, &Cause>) -> Self {
        let empty = Self { number, value: None, file: None, error: None };
        match result {
            Ok(HostReply::Json(value)) => Self { value: Some(value), ..empty },
            Ok(HostReply::File(file)) => {
                let bytes = STANDARD.encode(&file.bytes);
                Self { file: Some(FileMessage { name: file.name, media_type: file.media_type, bytes }), ..empty }
            }
            Err(cause) => {
                let error = ErrorMessage { code: cause.code.as_str(), message: cause.message.clone() };
                Self { error: Some(error), ..empty }
            }
        }
    }
}

/// A message of a process.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum WorkerMessage {
    /// It has set its limits.
    Ready {
        /// The names of the restrictions that the machine has.
        in_effect: Vec<String>,
    },
    /// The handler calls its host, and waits for the reply.
    HostCall {
        /// The number of the execution that makes it.
        execution: u64,
        /// The number of the call.
        number: u32,
        /// The call; it is decoded by itself, so that a wrong one is an error of the handler only.
        call: Json,
    },
    /// The handler has returned.
    Done {
        /// The number of the execution.
        execution: u64,
        /// Its outputs, by name.
        outputs: Values,
        /// Why the process can serve no other call.
        retire: Option<String>,
    },
    /// The handler has raised an exception.
    Failed(FailureMessage),
}

/// An exception of a handler.
#[derive(Debug, Deserialize)]
pub(super) struct FailureMessage {
    /// The number of the execution.
    pub(super) execution: u64,
    /// The name of its class.
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) traceback: Vec<String>,
    /// The number of the call of the host that has failed, if it is that exception.
    pub(super) host_call: Option<u32>,
    /// True if the message says everything: the class is one of the runtime.
    pub(super) is_definite: bool,
    /// Why the process can serve no other call.
    pub(super) retire: Option<String>,
}
