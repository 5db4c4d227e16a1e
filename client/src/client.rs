//! The client. Each method builds one request, sends it in an envelope and returns the reply: a
//! denied or failed request is a reply, and only a missing reply is an error.

use std::sync::Arc;

use futures::future::BoxFuture;
use greenroom_protocol::event::WatchedRun;
use greenroom_protocol::request::{
    CallOptions, Invoke, Maintenance, MemoryChange, MemoryRead, MemoryWrite, Page, PublishedEvent, Query, ResumeRun,
    RunListFilter, Signal, SignalRun, StartRun, StartTeam, TeamRef,
};
use greenroom_protocol::{
    AgentId, ContentHash, Credential, Deadline, Envelope, IdempotencyKey, Reply, Request, RequestId, RunId, StepId,
    TeamId, Timestamp, TraceId, Values, WorkflowId,
};

use crate::transport::{Events, Transport, TransportError};

/// The reply to a request, or the transport error. Each method returns the transport's future itself,
/// so that thousands of pending calls do not hold a second future each.
pub type ReplyResult = Result<Reply, TransportError>;

/// The parameters of a call of an agent, a workflow or a team.
#[derive(Debug, Clone, Default)]
pub struct CallParams {
    /// Its inputs, by name.
    pub inputs: Values,
    /// Its context, by name.
    pub context: Values,
    /// Overrides of the definition.
    pub options: CallOptions,
    /// True to receive the reply when the run is accepted. A call of an agent ignores it.
    pub detach: bool,
}

/// Sends requests to a running pod.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    credential: Option<Credential>,
    deadline: Option<Deadline>,
    idempotency_key: Option<IdempotencyKey>,
    trace: Option<TraceId>,
    request_id: Option<RequestId>,
}

impl Client {
    /// Creates a client over a transport.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, credential: None, deadline: None, idempotency_key: None, trace: None, request_id: None }
    }

    /// Sends this credential with every request.
    #[must_use]
    pub fn with_credential(mut self, credential: Credential) -> Self {
        self.credential = Some(credential);
        self
    }

    /// Sets the deadline of every request.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets the idempotency key: repeating a request with the same key returns the first reply.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// Sets the trace of the requests.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceId) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Names the next request, so that the run that it starts can be watched before the reply arrives
    /// ([`Client::watch_started`]). A client with a request id may send one request only.
    #[must_use]
    pub fn with_request_id(mut self, id: RequestId) -> Self {
        self.request_id = Some(id);
        self
    }

    /// Sends a request.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn send(&self, request: Request) -> BoxFuture<'_, ReplyResult> {
        let mut envelope = Envelope::new(request);
        envelope.credential.clone_from(&self.credential);
        envelope.id.clone_from(&self.request_id);
        envelope.deadline = self.deadline;
        envelope.idempotency_key.clone_from(&self.idempotency_key);
        envelope.trace.clone_from(&self.trace);
        self.transport.send(envelope)
    }

    /// Executes an agent.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn run_agent(&self, agent: AgentId, params: CallParams) -> BoxFuture<'_, ReplyResult> {
        let CallParams { inputs, context, options, detach: _ } = params;
        self.send(Request::Invoke(Invoke { agent, inputs, context, version: None, key: None, options }))
    }

    /// Runs a workflow.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn run_workflow(&self, workflow: WorkflowId, params: CallParams) -> BoxFuture<'_, ReplyResult> {
        let CallParams { inputs, context, options, detach } = params;
        let start = StartRun { workflow, inputs, context, version: None, detach, key: None, options };
        self.send(Request::StartRun(start))
    }

    /// Forms a team, which runs a workflow.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn run_team(
        &self,
        team: impl Into<TeamRef>,
        workflow: WorkflowId,
        params: CallParams,
    ) -> BoxFuture<'_, ReplyResult> {
        let (team, CallParams { inputs, context, options, detach }) = (team.into(), params);
        let (version, workflow_version, key) = (None, None, None);
        let start = StartTeam { team, workflow, inputs, context, version, workflow_version, detach, key, options };
        self.send(Request::StartTeam(start))
    }

    // === runs ===

    /// Lists the runs of the caller's tenant, newest first; outputs `runs` and `next`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn runs(&self, filter: RunListFilter, page: Page) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Runs { filter, page }))
    }

    /// Returns one run; outputs `run`, `context`, `events`, `next` and, once it has ended, `reply`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn run(&self, run: RunId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Run { run }))
    }

    /// Watches a run: streams its events after the number `after`; 0 means all of them.
    #[must_use]
    pub fn watch(&self, run: &RunId, after: u64) -> Events {
        self.transport.watch(&WatchedRun::Id(run.clone()), after)
    }

    /// As [`Client::watch`], for the run that the request with this name starts. The watch waits for a run
    /// that is being started.
    #[must_use]
    pub fn watch_started(&self, request: &RequestId, after: u64) -> Events {
        self.transport.watch(&WatchedRun::StartedBy(request.clone()), after)
    }

    /// Cancels a run and compensates its finished steps.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn cancel(&self, run: RunId) -> BoxFuture<'_, ReplyResult> {
        self.signal(run, Signal::Cancel)
    }

    /// Approves a step that awaits approval.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn approve(&self, run: RunId, step: StepId) -> BoxFuture<'_, ReplyResult> {
        self.signal(run, Signal::Approve { step })
    }

    /// Rejects a step that awaits approval.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn reject(&self, run: RunId, step: StepId) -> BoxFuture<'_, ReplyResult> {
        self.signal(run, Signal::Reject { step })
    }

    /// Publishes an event to a run, for which one of its steps waits now or later. With an idempotency key it is
    /// published once, however often the request is repeated.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn publish(&self, run: RunId, event: PublishedEvent) -> BoxFuture<'_, ReplyResult> {
        self.signal(run, Signal::Event(event))
    }

    /// Resumes an interrupted run.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn resume(&self, run: RunId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::ResumeRun(ResumeRun { run }))
    }

    fn signal(&self, run: RunId, signal: Signal) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::SignalRun(SignalRun { run, signal }))
    }

    // === queries ===

    /// Lists the agents of the catalogue; output `agents`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn agents(&self) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Agents))
    }

    /// Returns one agent; output `agent`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn agent(&self, id: AgentId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Agent { id }))
    }

    /// Lists the workflows; output `workflows`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn workflows(&self) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Workflows))
    }

    /// Returns one workflow; outputs `workflow` and `version`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn workflow(&self, id: WorkflowId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Workflow { id }))
    }

    /// Lists the teams; output `teams`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn teams(&self) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Teams))
    }

    /// Returns one team; output `team`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn team(&self, id: TeamId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Team { id }))
    }

    /// Returns memories of an agent: those most similar to the query, or without one the newest; output
    /// `memories`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn memories(&self, agent: AgentId, query: Option<String>, limit: u32) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::MemoryRead(MemoryRead { agent, query, limit }))
    }

    /// Deletes one memory of an agent, or all of them; output `forgotten`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn forget(&self, agent: AgentId, id: Option<ContentHash>) -> BoxFuture<'_, ReplyResult> {
        let change = MemoryChange::Forget { id };
        self.send(Request::MemoryWrite(MemoryWrite { agent, change, key: None }))
    }

    /// Lists the audit records, newest first; outputs `records` and `next`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn audit(&self, page: Page) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Audit { page }))
    }

    /// Returns the audit records of one entry or request; output `records`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn audit_entry(&self, id: impl Into<String> + Send) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::AuditEntry { id: id.into() }))
    }

    /// Returns the part of an artifact after this many bytes; outputs `content` in Base64, `bytes` of the whole
    /// and `next`, the bytes up to the end of the part if there are more.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn artifact(&self, hash: ContentHash, after: u64) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Artifact { hash, after }))
    }

    // === maintenance ===

    /// Executes a maintenance command; output `report`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn maintain(&self, maintenance: Maintenance) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Maintain(maintenance))
    }

    /// Returns the model costs since a moment; output `costs`.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
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
        sent: Mutex<Vec<Envelope>>,
    }

    #[async_trait]
    impl Transport for Recorder {
        async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
            self.sent.lock().unwrap().push(envelope);
            Ok(Reply {
                id: "req_1".into(),
                status: Status::Success,
                outputs: Values::new(),
                error: None,
                metadata: Metadata::default(),
            })
        }

        fn watch(&self, _: &WatchedRun, _: u64) -> Events {
            futures::stream::empty().boxed()
        }
    }

    #[tokio::test]
    async fn a_request_carries_the_credential_and_the_key_of_its_client() {
        let recorder = Arc::new(Recorder::default());
        let key = IdempotencyKey::new("once").unwrap();
        let client = Client::new(recorder.clone())
            .with_credential(Credential::ApiKey("secret".into()))
            .with_idempotency_key(key.clone());
        let run = RunId::new("run_1").unwrap();
        client.approve(run.clone(), StepId::new("sign").unwrap()).await.unwrap();
        let sent = recorder.sent.lock().unwrap();
        assert_eq!(sent[0].idempotency_key, Some(key));
        assert_eq!(sent[0].credential, Some(Credential::ApiKey("secret".into())));
        let signal = Signal::Approve { step: StepId::new("sign").unwrap() };
        assert_eq!(sent[0].request, Request::SignalRun(SignalRun { run, signal }));
    }

    #[tokio::test]
    async fn each_method_sends_its_own_verb() {
        let recorder = Arc::new(Recorder::default());
        let client = Client::new(recorder.clone());
        let params = CallParams { detach: true, ..CallParams::default() };
        client.run_workflow(WorkflowId::new("w").unwrap(), params).await.unwrap();
        let sent = recorder.sent.lock().unwrap();
        assert!(matches!(&sent[0].request, Request::StartRun(start) if start.detach && start.workflow.as_str() == "w"));
    }
}
