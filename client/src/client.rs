//! The named methods. Each makes one request, puts it into an envelope, and gives back the reply as
//! it is: a refusal is an answer, and only a lost one is an error.

use std::sync::Arc;

use futures::future::BoxFuture;
use greenroom_protocol::request::{
    CallOptions, Invoke, MemoryChange, MemoryRead, MemoryWrite, Page, Query, ResumeRun, Signal, SignalRun, StartRun,
    StartTeam,
};
use greenroom_protocol::{
    AgentId, ContentHash, Credential, Deadline, Envelope, IdempotencyKey, Reply, Request, RequestId, RunId, StepId,
    TeamId, Timestamp, TraceId, Values, WorkflowId,
};

use crate::transport::{Events, Transport, TransportError};

/// The answer to a request, or why there is none. Each method gives the transport's own future, so that
/// whoever waits in their thousands holds nothing twice.
pub type ReplyResult = Result<Reply, TransportError>;

/// What a piece of work is given, whoever does it.
#[derive(Debug, Clone, Default)]
pub struct CallParams {
    /// Its inputs, by name.
    pub inputs: Values,
    /// Its context, by name.
    pub context: Values,
    /// How it differs from its definition.
    pub options: CallOptions,
    /// True to be answered as soon as a run is accepted; an agent's work is always waited for.
    pub detach: bool,
}

/// Asks a running platform.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    credential: Option<Credential>,
    deadline: Option<Deadline>,
    idempotency_key: Option<IdempotencyKey>,
    trace: Option<TraceId>,
    request: Option<RequestId>,
}

impl Client {
    /// A client over a transport.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, credential: None, deadline: None, idempotency_key: None, trace: None, request: None }
    }

    /// Shows this credential with every request.
    #[must_use]
    pub fn with_credential(mut self, credential: Credential) -> Self {
        self.credential = Some(credential);
        self
    }

    /// Waits for no answer longer than this.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Marks the next requests as the same one: whoever asks twice with one key gets one answer.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// Puts the requests under a trace.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceId) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Names the next request, so that the run it starts can be watched before the reply comes. A
    /// client that is named sends one request.
    #[must_use]
    pub fn with_request_id(mut self, id: RequestId) -> Self {
        self.request = Some(id);
        self
    }

    /// Sends any request.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn send(&self, request: Request) -> BoxFuture<'_, ReplyResult> {
        let mut envelope = Envelope::of(request);
        envelope.credential.clone_from(&self.credential);
        envelope.id.clone_from(&self.request);
        envelope.deadline = self.deadline;
        envelope.idempotency_key.clone_from(&self.idempotency_key);
        envelope.trace.clone_from(&self.trace);
        self.transport.send(envelope)
    }

    /// Lets an agent work.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn run_agent(&self, agent: AgentId, work: CallParams) -> BoxFuture<'_, ReplyResult> {
        let CallParams { inputs, context, options, detach: _ } = work;
        self.send(Request::Invoke(Invoke { agent, inputs, context, version: None, key: None, options }))
    }

    /// Runs a workflow.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn run_workflow(&self, workflow: WorkflowId, work: CallParams) -> BoxFuture<'_, ReplyResult> {
        let CallParams { inputs, context, options, detach } = work;
        let start = StartRun { workflow, inputs, context, version: None, detach, key: None, options };
        self.send(Request::StartRun(start))
    }

    /// Forms a team and lets it run a workflow.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn run_team(&self, team: TeamId, workflow: WorkflowId, work: CallParams) -> BoxFuture<'_, ReplyResult> {
        let CallParams { inputs, context, options, detach } = work;
        self.send(Request::StartTeam(StartTeam { team, workflow, inputs, context, detach, key: None, options }))
    }

    // === runs ===

    /// The runs of the caller's tenant, the newest first; outputs `runs` and `next`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn runs(&self, page: Page) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Runs { page }))
    }

    /// One run; outputs `run` and `steps`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn run(&self, run: RunId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Run { run }))
    }

    /// Follows a run, from the event after `after` on; 0 means from its start.
    #[must_use]
    pub fn watch(&self, run: &RunId, after: u64) -> Events {
        self.transport.watch(run, after)
    }

    /// Stops a run; what `compensate` says is undone.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn cancel(&self, run: RunId) -> BoxFuture<'_, ReplyResult> {
        self.signal(run, Signal::Cancel)
    }

    /// Lets a step that waits for a person go on.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn approve(&self, run: RunId, step: StepId) -> BoxFuture<'_, ReplyResult> {
        self.signal(run, Signal::Approve { step })
    }

    /// Lets a step that waits for a person fail.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn reject(&self, run: RunId, step: StepId) -> BoxFuture<'_, ReplyResult> {
        self.signal(run, Signal::Reject { step })
    }

    /// Goes on with a run that was interrupted.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn resume(&self, run: RunId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::ResumeRun(ResumeRun { run }))
    }

    fn signal(&self, run: RunId, signal: Signal) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::SignalRun(SignalRun { run, signal }))
    }

    // === what is known ===

    /// Every agent of the catalogue; output `agents`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn agents(&self) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Agents))
    }

    /// One agent; output `agent`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn agent(&self, id: AgentId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Agent { id }))
    }

    /// Every workflow; output `workflows`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn workflows(&self) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Workflows))
    }

    /// One workflow; output `workflow`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn workflow(&self, id: WorkflowId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Workflow { id }))
    }

    /// Every team; output `teams`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn teams(&self) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Teams))
    }

    /// One team; output `team`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn team(&self, id: TeamId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Team { id }))
    }

    /// What an agent remembers: what is most like the query, or without one the newest; output
    /// `memories`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn memories(&self, agent: AgentId, query: Option<String>, limit: u32) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::MemoryRead(MemoryRead { agent, query, limit }))
    }

    /// Lets an agent forget one memory, or all of them; output `forgotten`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn forget(&self, agent: AgentId, id: Option<ContentHash>) -> BoxFuture<'_, ReplyResult> {
        let change = MemoryChange::Forget { id };
        self.send(Request::MemoryWrite(MemoryWrite { agent, change, key: None }))
    }

    /// The audit, the newest first; outputs `records` and `next`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn audit(&self, page: Page) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Audit { page }))
    }

    /// What the audit says about one entry or request; output `records`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn audit_entry(&self, id: impl Into<String> + Send) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::AuditEntry { id: id.into() }))
    }

    /// Who spent what since a moment; output `costs`.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came.
    pub fn costs(&self, since: Option<Timestamp>) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Costs { since }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use futures::StreamExt;
    use greenroom_protocol::{Metadata, Status};

    use super::*;

    #[derive(Default)]
    struct Recorder {
        seen: Mutex<Vec<Envelope>>,
    }

    #[async_trait]
    impl Transport for Recorder {
        async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
            self.seen.lock().unwrap().push(envelope);
            Ok(Reply {
                id: "req_1".into(),
                status: Status::Success,
                outputs: Values::new(),
                error: None,
                metadata: Metadata::default(),
            })
        }

        fn watch(&self, _: &RunId, _: u64) -> Events {
            futures::stream::empty().boxed()
        }
    }

    #[tokio::test]
    async fn a_request_carries_what_the_client_was_given() {
        let recorder = Arc::new(Recorder::default());
        let key = IdempotencyKey::new("once").unwrap();
        let client = Client::new(recorder.clone())
            .with_credential(Credential::ApiKey("secret".into()))
            .with_idempotency_key(key.clone());
        let run = RunId::new("run_1").unwrap();
        client.approve(run.clone(), StepId::new("sign").unwrap()).await.unwrap();
        let seen = recorder.seen.lock().unwrap();
        assert_eq!(seen[0].idempotency_key, Some(key));
        assert_eq!(seen[0].credential, Some(Credential::ApiKey("secret".into())));
        let signal = Signal::Approve { step: StepId::new("sign").unwrap() };
        assert_eq!(seen[0].request, Request::SignalRun(SignalRun { run, signal }));
    }

    #[tokio::test]
    async fn work_becomes_the_verb_that_was_named() {
        let recorder = Arc::new(Recorder::default());
        let client = Client::new(recorder.clone());
        let work = CallParams { detach: true, ..CallParams::default() };
        client.run_workflow(WorkflowId::new("w").unwrap(), work).await.unwrap();
        let seen = recorder.seen.lock().unwrap();
        assert!(matches!(&seen[0].request, Request::StartRun(start) if start.detach && start.workflow.as_str() == "w"));
    }
}
