//! The calls of a component into its host.
//!
//! What a component calls must live as long as its store, and the context of an execution does not: it is borrowed. So the
//! functions of the store send each call through a port to the execution, which owns the context and drives both. A
//! component waits for its call, so there is at most one at a time.

use std::collections::BTreeMap;

use async_trait::async_trait;
use greenroom_actors::execution::host_calls::{HostCall, HostReply};
use greenroom_actors::execution::runtime::ExecutionContext;
use greenroom_protocol::{Cause, ErrorCode};
use tokio::sync::{mpsc, oneshot};

/// Calls of one execution, except for lines of the log.
pub const HOST_CALLS_MAX: u32 = 10_000;
/// Lines that one execution writes to the log; further ones are dropped.
const LOG_LINES_MAX: u32 = 1_000;

/// What a component may call: the context of its execution.
#[async_trait]
pub(super) trait Host: Send + Sync {
    /// Makes a call. `number` counts the calls of agents in one attempt from 1.
    async fn call(&self, call: HostCall, number: u32) -> Result<HostReply, Cause>;
}

#[async_trait]
impl Host for ExecutionContext<'_> {
    async fn call(&self, call: HostCall, number: u32) -> Result<HostReply, Cause> {
        self.host_call(call, number).await
    }
}

/// A call that waits for its reply.
pub(super) struct HostRequest {
    call: HostCall,
    reply: oneshot::Sender<Result<HostReply, Cause>>,
}

/// The end of the port in a store.
#[derive(Clone)]
pub(super) struct HostPort(mpsc::Sender<HostRequest>);

impl HostPort {
    /// A port, and the requests that arrive through it.
    pub(super) fn new() -> (Self, mpsc::Receiver<HostRequest>) {
        let (requests, receiver) = mpsc::channel(1);
        (Self(requests), receiver)
    }

    /// Makes a call and waits for its reply.
    ///
    /// # Errors
    /// A trap, if the execution has ended. The inner result is the reply.
    pub(super) async fn call(&self, call: HostCall) -> wasmtime::Result<Result<HostReply, Cause>> {
        let (reply, receiver) = oneshot::channel();
        let ended = || wasmtime::format_err!("the execution has ended");
        self.0.send(HostRequest { call, reply }).await.map_err(|_| ended())?;
        receiver.await.map_err(|_| ended())
    }
}

/// The calls of one execution.
pub(super) struct HostCalls<'a> {
    host: &'a dyn Host,
    calls: u32,
    /// Those of other agents, whose keys must be the same in a repetition.
    agent_calls: u32,
    log_lines: u32,
    /// The last cause of each code that a call has failed with.
    causes: BTreeMap<ErrorCode, Cause>,
}

impl<'a> HostCalls<'a> {
    pub(super) const fn new(host: &'a dyn Host) -> Self {
        Self { host, calls: 0, agent_calls: 0, log_lines: 0, causes: BTreeMap::new() }
    }

    /// Drives the execution of a component to its end, and makes its calls meanwhile.
    pub(super) async fn drive<T>(
        &mut self,
        mut execution: impl Future<Output = T> + Unpin,
        mut requests: mpsc::Receiver<HostRequest>,
    ) -> T {
        loop {
            tokio::select! {
                biased;
                result = &mut execution => return result,
                Some(HostRequest { call, reply }) = requests.recv() => {
                    // The component waits for this reply, so the execution need not be polled meanwhile. It has dropped
                    // the receiver if it was ended by a trap.
                    let _ = reply.send(self.call(call).await);
                }
            }
        }
    }

    /// Makes one call.
    pub(super) async fn call(&mut self, call: HostCall) -> Result<HostReply, Cause> {
        if matches!(call, HostCall::Log { .. }) {
            self.log_lines = self.log_lines.saturating_add(1);
            if self.log_lines > LOG_LINES_MAX {
                return Ok(HostReply::Json(serde_json::Value::Null));
            }
        } else {
            self.calls = self.calls.saturating_add(1);
            if self.calls > HOST_CALLS_MAX {
                let message = format!("the component has called its host more than {HOST_CALLS_MAX} times");
                return Err(Cause::new(ErrorCode::HandlerFailed, message));
            }
        }
        if matches!(call, HostCall::CallAgent { .. }) {
            self.agent_calls = self.agent_calls.saturating_add(1);
        }
        let result = self.host.call(call, self.agent_calls).await;
        if let Err(cause) = &result {
            self.causes.insert(cause.code, cause.clone());
        }
        result
    }

    /// The last cause with this code that a call has failed with.
    pub(super) fn cause(&self, code: ErrorCode) -> Option<&Cause> {
        self.causes.get(&code)
    }
}
