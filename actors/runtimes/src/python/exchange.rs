//! One call: the inputs go to the process, its calls of the host are made, and its outputs or its exception return.

use greenroom_actors::execution::host_calls::{HostCall, HostReply, LogLevel};
use greenroom_actors::execution::runtime::ExecutionContext;
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};
use serde_json::json;

use super::frames::{self, FrameError};
use super::messages::{CallMessage, ExecutionMessage, FailureMessage, ReplyMessage, WorkerMessage};
use super::output::Tail;
use super::worker::{Worker, WorkerError};
use crate::json_bounds;

/// Calls of the host that one execution may make.
const HOST_CALLS_MAX: u32 = 10_000;
/// Lines of a traceback in an error.
const TRACEBACK_LINES_MAX: usize = 12;
/// Bytes of one of its lines, of a message and of the name of an exception.
const TEXT_BYTES_MAX: usize = 2_000;
const KIND_BYTES_MAX: usize = 100;

/// A call that has ended with outputs or with an exception; the process may serve the next one.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) result: Result<Values, Cause>,
    /// True if the call has left something in the process, which can serve no other one.
    pub(super) retire: bool,
}

/// The calls of the host of one execution.
#[derive(Debug, Default)]
struct HostCalls {
    number: u32,
    /// Those of other agents, whose keys must be the same in a repetition, however often that logs a line.
    agent_calls: u32,
    /// The last call that has failed, by the number that the process gave it.
    last_failure: Option<(u32, Cause)>,
}

/// The frame of a call. Each message of the execution has its number, so that one which a thread of an earlier execution
/// has sent is not taken for one of this.
///
/// # Errors
/// [`ErrorCode::PayloadTooLarge`] if the inputs do not fit into a frame.
pub(super) fn call_frame(ctx: &ExecutionContext<'_>, number: u64) -> Result<Vec<u8>, Cause> {
    let invocation = ctx.invocation();
    let key = invocation.key();
    let message = CallMessage {
        inputs: &invocation.invoke.inputs,
        context: &invocation.invoke.context,
        execution: ExecutionMessage {
            number,
            agent: invocation.agent.id().as_str(),
            key: key.as_str(),
            timeout: ctx.time_left().as_secs_f64(),
        },
    };
    frames::encode(&message).map_err(|error| match error {
        FrameError::TooLarge(bytes) => {
            let max = frames::FRAME_BYTES_MAX;
            let message = format!("the inputs have {bytes} bytes as JSON, the limit of a handler is {max}");
            Cause::new(ErrorCode::PayloadTooLarge, message)
        }
        FrameError::Closed | FrameError::TooManyValues | FrameError::Invalid(_) | FrameError::Pipe(_) => {
            Cause::new(ErrorCode::Internal, error.to_string())
        }
    })
}

/// Makes one call.
///
/// # Errors
/// [`WorkerError`]; the process has to be ended then.
pub(super) async fn call(
    worker: &mut Worker,
    ctx: &ExecutionContext<'_>,
    (current, frame): (u64, &[u8]),
    output: &mut Tail,
) -> Result<Ended, WorkerError> {
    worker.send(frame, output).await?;
    let mut host = HostCalls::default();
    loop {
        match worker.receive(output).await? {
            WorkerMessage::HostCall { execution, number, call } if execution == current => {
                let reply = worker.watch(host.make(ctx, number, call), output).await??;
                worker.send(&reply, output).await?;
            }
            WorkerMessage::Done { execution, outputs, retire } if execution == current => {
                return Ok(Ended { result: Ok(outputs), retire: retire.is_some() });
            }
            WorkerMessage::Failed(failure) if failure.execution == current => {
                let retire = failure.retire.is_some();
                return Ok(Ended { result: Err(host.cause(ctx, failure, output)), retire });
            }
            WorkerMessage::Ready { .. }
            | WorkerMessage::HostCall { .. }
            | WorkerMessage::Done { .. }
            | WorkerMessage::Failed(_) => return Err(WorkerError::Unexpected),
        }
    }
}

impl HostCalls {
    /// Makes a call of the host, and returns the frame of its reply.
    async fn make(&mut self, ctx: &ExecutionContext<'_>, number: u32, call: Json) -> Result<Vec<u8>, FrameError> {
        let cause = match self.try_make(ctx, call).await {
            Ok(reply) => match frames::encode(&ReplyMessage::new(number, Ok(reply))) {
                Ok(frame) => return Ok(frame),
                Err(FrameError::TooLarge(bytes)) => {
                    let message = format!("the reply has {bytes} bytes, the limit is {}", frames::FRAME_BYTES_MAX);
                    Cause::new(ErrorCode::PayloadTooLarge, message)
                }
                Err(error) => return Err(error),
            },
            Err(cause) => cause,
        };
        let frame = frames::encode(&ReplyMessage::new(number, Err(&cause)))?;
        self.last_failure = Some((number, cause));
        Ok(frame)
    }

    async fn try_make(&mut self, ctx: &ExecutionContext<'_>, call: Json) -> Result<HostReply, Cause> {
        if self.number >= HOST_CALLS_MAX {
            let message = format!("an execution calls its host at most {HOST_CALLS_MAX} times");
            return Err(Cause::new(ErrorCode::HandlerFailed, message));
        }
        self.number += 1;
        let call: HostCall = serde_json::from_value(call).map_err(|error| {
            let problem = json_bounds::describe(&error);
            Cause::new(ErrorCode::InvalidRequest, format!("the call of the host cannot be read: {problem}"))
        })?;
        if matches!(call, HostCall::CallAgent { .. }) {
            self.agent_calls += 1;
        }
        ctx.host_call(call, self.agent_calls).await
    }

    /// The cause of an exception: that of the call of the host whose failure it is, or one with the traceback.
    fn cause(self, ctx: &ExecutionContext<'_>, failure: FailureMessage, output: &Tail) -> Cause {
        let FailureMessage { kind, message, traceback, host_call, is_definite, execution: _, retire: _ } = failure;
        if let Some((_, cause)) = self.last_failure.filter(|(number, _)| Some(*number) == host_call) {
            return cause;
        }
        let (kind, message) = (truncate_utf8(&kind, KIND_BYTES_MAX), truncate_utf8(&message, TEXT_BYTES_MAX));
        let handler = ctx.invocation().agent.spec().implementation.handler.as_deref().unwrap_or_default();
        let text = match (is_definite, message) {
            (true, message) => message.to_owned(),
            (false, "") => format!("{handler} raised {kind}"),
            (false, message) => format!("{handler} raised {kind}: {message}"),
        };
        let surplus = traceback.len().saturating_sub(TRACEBACK_LINES_MAX);
        let lines: Vec<&str> = traceback.iter().skip(surplus).map(|line| truncate_utf8(line, TEXT_BYTES_MAX)).collect();
        let details = json!({ "exception": kind, "traceback": lines, "output": output.text() });
        Cause::new(ErrorCode::HandlerFailed, text).with_details(details)
    }
}

/// Writes the end of what a handler has printed to the log, as one line.
pub(super) async fn log_output(ctx: &ExecutionContext<'_>, output: &Tail) {
    if output.is_empty() {
        return;
    }
    let call = HostCall::Log { level: LogLevel::Info, message: output.text() };
    // A line beyond the bound is dropped, which is no failure.
    let _ = ctx.host_call(call, 0).await;
}

/// The cause of a process that can serve no further call.
pub(super) fn worker_cause(error: &WorkerError, output: &Tail) -> Cause {
    let details = json!({ "output": output.text() });
    let (code, text) = match error {
        WorkerError::Frame(FrameError::Closed | FrameError::Pipe(_)) => {
            (ErrorCode::AgentCrashed, "the process of the handler ended during the call".to_owned())
        }
        WorkerError::Frame(FrameError::TooLarge(_) | FrameError::TooManyValues | FrameError::Invalid(_))
        | WorkerError::Unexpected => {
            (ErrorCode::AgentCrashed, format!("the process of the handler was ended: {error}"))
        }
        WorkerError::Files(_) => (ErrorCode::HandlerFailed, error.to_string()),
    };
    Cause::new(code, text).with_details(details)
}
