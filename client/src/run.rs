//! A run by its id: its record, its signals and its events.

use std::future;

use futures::StreamExt;
use futures::stream;
use greenroom_protocol::event::WatchedRun;
use greenroom_protocol::request::{Query, ResumeRun, Signal, SignalRun};
use greenroom_protocol::{Cause, Request, RunId, StepId};

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
        self.prepare(|run| Ok(signal_request(run, Signal::Approve { step: step_id(step.as_ref())? })))
    }

    /// Rejects a step that awaits approval, which fails it.
    pub fn reject(&self, step: impl AsRef<str>) -> PreparedRequest<'c> {
        self.prepare(|run| Ok(signal_request(run, Signal::Reject { step: step_id(step.as_ref())? })))
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
        self.watch_after(0)
    }

    /// As [`RunHandle::watch`], with the events after this number.
    #[must_use]
    pub fn watch_after(&self, after: u64) -> Observations {
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

fn signal_request(run: RunId, signal: Signal) -> Request {
    Request::SignalRun(SignalRun { run, signal })
}

fn step_id(text: &str) -> Result<StepId, Cause> {
    StepId::new(text).map_err(|error| invalid_id("step", &error))
}
