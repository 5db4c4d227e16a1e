//! A run by its id: its record, its signals and its events.

use std::future;

use futures::StreamExt;
use futures::stream;
use greenroom_protocol::event::{EventNumber, WatchedRun};
use greenroom_protocol::request::{ContextChange, ContextRead, ContextWrite, Query, ResumeRun, Signal, SignalRun};
use greenroom_protocol::{Cause, ContextKey, Json, Request, RunId, StepId, ToolCallId};

use crate::call::invalid_id;
use crate::connection::Connection;
use crate::prepared::PreparedRequest;
use crate::transport::{Observations, TransportError, Watch};

/// A run of the caller's tenant.
#[must_use = "a handle does nothing by itself"]
pub struct RunHandle<'c> {
    connection: &'c Connection,
    run: String,
}

impl<'c> RunHandle<'c> {
    pub(crate) fn new(connection: &'c Connection, run: &str) -> Self {
        Self { connection, run: run.to_owned() }
    }

    /// Reads the run; outputs `run`, `context`, `events`, `next` and, once it has ended, `reply`.
    pub fn get(&self) -> PreparedRequest<'c> {
        self.prepare(|run| Ok(Request::Query(Query::Run { run })))
    }

    /// Cancels the run and compensates its finished steps.
    pub fn cancel(&self) -> PreparedRequest<'c> {
        self.signal(Signal::Cancel)
    }

    /// Approves a step that awaits approval.
    pub fn approve(&self, step: impl AsRef<str>) -> PreparedRequest<'c> {
        self.prepare(|run| Ok(signal_request(run, Signal::Approve { step: step_id(step.as_ref())?, call: None })))
    }

    /// Approves one call of a tool, for which a step of the run waits.
    pub fn approve_call(&self, step: impl AsRef<str>, call: ToolCallId) -> PreparedRequest<'c> {
        self.prepare(|run| Ok(signal_request(run, Signal::Approve { step: step_id(step.as_ref())?, call: Some(call) })))
    }

    /// Rejects one call of a tool, for which a step of the run waits; the agent reads the rejection as its result.
    pub fn reject_call(&self, step: impl AsRef<str>, call: ToolCallId, reason: Option<String>) -> PreparedRequest<'c> {
        self.prepare(|run| {
            let (step, call) = (step_id(step.as_ref())?, Some(call));
            Ok(signal_request(run, Signal::Reject { step, call, reason }))
        })
    }

    /// Rejects a step that awaits approval, which fails it.
    pub fn reject(&self, step: impl AsRef<str>) -> PreparedRequest<'c> {
        self.prepare(|run| {
            Ok(signal_request(run, Signal::Reject { step: step_id(step.as_ref())?, call: None, reason: None }))
        })
    }

    /// Publishes an event to the run, for which one of its steps waits now or later; `data` becomes the output `value` of
    /// that step. With an idempotency key the event is published once, however often the request is repeated.
    pub fn publish(&self, name: impl AsRef<str>, data: Json) -> PreparedRequest<'c> {
        self.prepare(|run| event_request(&run, name.as_ref(), data))
    }

    /// Reads the shared context of the run's team: these keys, or all of them.
    pub fn read_context(&self, keys: impl IntoIterator<Item = ContextKey>) -> PreparedRequest<'c> {
        let keys = keys.into_iter().collect();
        self.prepare(|run| Ok(Request::ContextRead(ContextRead { run, keys })))
    }

    /// Writes a value of the shared context. Only with `expect`, the version that was read (0: no value), may the request
    /// have an idempotency key, and is it sent again when its outcome is unknown.
    pub fn write_context(
        &self,
        key: impl AsRef<str>,
        expect: Option<u64>,
        change: ContextChange,
    ) -> PreparedRequest<'c> {
        let key = ContextKey::new(key).map_err(|error| invalid_id("key", &error));
        self.prepare(|run| Ok(Request::ContextWrite(ContextWrite { run, key: key?, expect, change, ttl_ms: None })))
    }

    /// Sends a signal to the run.
    pub fn signal(&self, signal: Signal) -> PreparedRequest<'c> {
        self.prepare(|run| Ok(signal_request(run, signal)))
    }

    /// Resumes the run, which was interrupted.
    pub fn resume(&self) -> PreparedRequest<'c> {
        self.prepare(|run| Ok(Request::ResumeRun(ResumeRun { run, dead: false })))
    }

    /// Has the run continued, which was given up: `dead`. Any other run is refused.
    pub fn retry_dead(&self) -> PreparedRequest<'c> {
        self.prepare(|run| Ok(Request::ResumeRun(ResumeRun { run, dead: true })))
    }

    /// Streams all events of the run. Over NATS, the stream continues after a lost connection and after the end of a
    /// pod: no event is lost, and none arrives twice.
    #[must_use]
    pub fn watch(&self) -> Observations {
        self.watch_after(EventNumber::START)
    }

    /// As [`RunHandle::watch`], with the events after this number.
    #[must_use]
    pub fn watch_after(&self, after: EventNumber) -> Observations {
        match self.id() {
            Ok(run) => {
                let credential = self.connection.credential.clone();
                self.connection.transport.observe(&Watch { run: WatchedRun::Id(run), after, credential })
            }
            Err(cause) => stream::once(future::ready(Err(TransportError::Rejected(cause)))).boxed(),
        }
    }

    fn prepare(&self, request: impl FnOnce(RunId) -> Result<Request, Cause>) -> PreparedRequest<'c> {
        PreparedRequest::new(self.connection, self.id().and_then(request))
    }

    fn id(&self) -> Result<RunId, Cause> {
        RunId::new(&self.run).map_err(|error| invalid_id("run", &error))
    }
}

/// The signal that publishes an event.
pub(crate) fn event_request(run: &RunId, name: &str, data: Json) -> Result<Request, Cause> {
    let members = [
        ("verb", "signal_run".into()),
        ("run", run.as_str().into()),
        ("signal", "event".into()),
        ("name", name.into()),
        ("data", data),
    ];
    let members = members.into_iter().filter(|(_, value)| !value.is_null());
    Request::from_json(Json::Object(members.map(|(member, value)| (member.to_owned(), value)).collect()))
}

fn signal_request(run: RunId, signal: Signal) -> Request {
    Request::SignalRun(SignalRun { run, signal })
}

fn step_id(text: &str) -> Result<StepId, Cause> {
    StepId::new(text).map_err(|error| invalid_id("step", &error))
}
