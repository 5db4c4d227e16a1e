//! The client: where each call begins. The builders ([`Call`], [`RunHandle`], [`PreparedRequest`]) have what belongs to
//! one call; the client has its transport and its credential, and nothing of a call. The methods that return a
//! [`ReplyResult`] send one request without options: a denied or failed request is a reply, and only a missing reply is
//! an error.

use std::sync::Arc;

use futures::future::BoxFuture;
use greenroom_protocol::event::{EventNumber, WatchedRun};
use greenroom_protocol::request::{
    Maintenance, MemoryChange, MemoryRead, MemoryWrite, Page, PublishedEvent, Query, ResumeRun, RunListFilter, Signal,
    SignalRun, TeamRef,
};
use greenroom_protocol::{
    AgentId, ArtifactRef, ContentHash, Credential, Envelope, Request, RequestId, RunId, StepId, TeamId, Timestamp,
    WorkflowId,
};

use crate::call::{Call, CallParams, TeamCall};
use crate::connection::Connection;
use crate::error::Error;
use crate::prepared::{PreparedRequest, ReplyResult};
use crate::run::RunHandle;
use crate::transport::{ContentChunks, Events, Transport, Upload, Watch, events_of};

/// Sends requests to a running pod. Cheap to clone; the clones share the transport.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Creates a client over a transport.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { connection: Connection { transport, credential: None } }
    }

    /// Sends this credential with every request.
    #[must_use]
    pub fn with_credential(mut self, credential: Credential) -> Self {
        self.connection.credential = Some(credential);
        self
    }

    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    // === calls ===

    /// Begins a call of an agent.
    pub fn agent(&self, id: impl AsRef<str>) -> Call<'_> {
        Call::agent(&self.connection, id.as_ref())
    }

    /// Begins a call of a workflow.
    pub fn workflow(&self, id: impl AsRef<str>) -> Call<'_> {
        Call::workflow(&self.connection, id.as_ref())
    }

    /// Begins a call of a team, which needs a workflow.
    pub fn team(&self, id: impl AsRef<str>) -> TeamCall<'_> {
        TeamCall::new(&self.connection, id.as_ref())
    }

    /// A call of a workflow by a team, which is named or contained in the request.
    pub fn team_call(&self, team: impl Into<TeamRef>, workflow: &WorkflowId) -> Call<'_> {
        Call::team(&self.connection, serde_json::json!(team.into()), workflow.as_str())
    }

    /// The run with this id.
    pub fn run(&self, id: impl AsRef<str>) -> RunHandle<'_> {
        RunHandle::new(&self.connection, id.as_ref())
    }

    /// Prepares any request.
    pub fn request(&self, request: Request) -> PreparedRequest<'_> {
        PreparedRequest::new(&self.connection, Ok(request))
    }

    /// Stores content as an artifact of the caller's tenant, and returns the reference that a call has as an input
    /// ([`ArtifactRef::to_json`]). The same content has the same reference.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is too large, or the transport stores none; [`Error::Transport`] if no reply arrived.
    pub async fn upload(
        &self,
        name: impl Into<String> + Send,
        media_type: impl Into<String> + Send,
        content: impl Into<Vec<u8>> + Send,
    ) -> Result<ArtifactRef, Error> {
        let (name, media_type, content) = (name.into(), media_type.into(), content.into());
        let credential = self.connection.credential.clone();
        let upload = Upload { name, media_type, content, credential };
        Ok(self.connection.transport.upload(upload).await?)
    }

    /// As [`Client::upload`], for content that arrives in chunks.
    ///
    /// # Errors
    /// As [`Client::upload`]; [`Error::Refused`] with the cause of the source if that has failed.
    pub async fn upload_stream(
        &self,
        name: impl Into<String> + Send,
        media_type: impl Into<String> + Send,
        chunks: ContentChunks,
    ) -> Result<ArtifactRef, Error> {
        let (name, media_type, content) = (name.into(), media_type.into(), Vec::new());
        let credential = self.connection.credential.clone();
        let upload = Upload { name, media_type, content, credential };
        Ok(self.connection.transport.upload_stream(upload, chunks).await?)
    }

    /// Sends a request. The future is the transport's own, so that thousands of pending calls do not hold a second
    /// future each.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn send(&self, request: Request) -> BoxFuture<'_, ReplyResult> {
        let mut envelope = Envelope::new(request);
        envelope.credential.clone_from(&self.connection.credential);
        self.connection.transport.send(envelope)
    }

    /// Executes an agent.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn run_agent(&self, agent: AgentId, params: CallParams) -> BoxFuture<'_, ReplyResult> {
        self.agent(agent).params(params).send()
    }

    /// Runs a workflow.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn run_workflow(&self, workflow: WorkflowId, params: CallParams) -> BoxFuture<'_, ReplyResult> {
        self.workflow(workflow).params(params).send()
    }

    /// Forms a team, which runs a workflow.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn run_team(
        &self,
        team: impl Into<TeamRef>,
        workflow: WorkflowId,
        params: CallParams,
    ) -> BoxFuture<'_, ReplyResult> {
        self.team_call(team, &workflow).params(params).send()
    }

    // === runs ===

    /// Lists the runs of the caller's tenant, newest first; outputs `runs` and `next`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn runs(&self, filter: RunListFilter, page: Page) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Runs { filter, page }))
    }

    /// Returns one run; outputs `run`, `context`, `events`, `next` and, once it has ended, `reply`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn run_record(&self, run: RunId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Run { run }))
    }

    /// Watches a run: streams its events after the number `after`.
    #[must_use]
    pub fn watch(&self, run: &RunId, after: EventNumber) -> Events {
        self.events(WatchedRun::Id(run.clone()), after)
    }

    /// As [`Client::watch`], for the run that the request with this name starts. The watch waits for a run
    /// that is being started.
    #[must_use]
    pub fn watch_started(&self, request: &RequestId, after: EventNumber) -> Events {
        self.events(WatchedRun::StartedBy(request.clone()), after)
    }

    fn events(&self, run: WatchedRun, after: EventNumber) -> Events {
        let watch = Watch { run, after, credential: self.connection.credential.clone() };
        events_of(self.connection.transport.observe(&watch))
    }

    /// Cancels a run and compensates its finished steps.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn cancel(&self, run: RunId) -> BoxFuture<'_, ReplyResult> {
        self.signal(run, Signal::Cancel)
    }

    /// Approves a step that awaits approval.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn approve(&self, run: RunId, step: StepId) -> BoxFuture<'_, ReplyResult> {
        self.signal(run, Signal::Approve { step, call: None })
    }

    /// Rejects a step that awaits approval.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn reject(&self, run: RunId, step: StepId) -> BoxFuture<'_, ReplyResult> {
        self.signal(run, Signal::Reject { step, call: None, reason: None })
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
    /// [`crate::TransportError`] if no reply arrived.
    pub fn resume(&self, run: RunId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::ResumeRun(ResumeRun { run, dead: false }))
    }

    /// Has a run continued that was given up: `dead`. Any other run is refused.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn retry_dead(&self, run: RunId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::ResumeRun(ResumeRun { run, dead: true }))
    }

    fn signal(&self, run: RunId, signal: Signal) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::SignalRun(SignalRun { run, signal }))
    }

    // === queries ===

    /// Lists the agents of the catalogue; output `agents`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn agents(&self) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Agents))
    }

    /// Returns one agent; output `agent`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn agent_definition(&self, id: AgentId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Agent { id }))
    }

    /// Lists the workflows; output `workflows`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn workflows(&self) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Workflows))
    }

    /// Returns one workflow; outputs `workflow` and `version`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn workflow_definition(&self, id: WorkflowId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Workflow { id }))
    }

    /// Lists the teams; output `teams`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn teams(&self) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Teams))
    }

    /// Returns one team; output `team`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn team_definition(&self, id: TeamId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Team { id }))
    }

    /// Returns memories of an agent: those most similar to the query, or without one the newest; output
    /// `memories`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn memories(&self, agent: AgentId, query: Option<String>, limit: u32) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::MemoryRead(MemoryRead { agent, query, limit, count: false }))
    }

    /// Counts the memories of an agent; outputs `memories` and `of_documents`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn count_memories(&self, agent: AgentId) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::MemoryRead(MemoryRead { agent, query: None, limit: 0, count: true }))
    }

    /// Lets an agent remember a document in parts, which replace those of the document that had this name before; outputs
    /// `parts` and `replaced`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn ingest(&self, agent: AgentId, source: String, text: String) -> BoxFuture<'_, ReplyResult> {
        let change = MemoryChange::Remember { text, index_text: None, source: Some(source) };
        self.send(Request::MemoryWrite(MemoryWrite { agent, change, key: None }))
    }

    /// Deletes one memory of an agent, or all of them; output `forgotten`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn forget(&self, agent: AgentId, id: Option<ContentHash>) -> BoxFuture<'_, ReplyResult> {
        let change = MemoryChange::Forget { id, source: None };
        self.send(Request::MemoryWrite(MemoryWrite { agent, change, key: None }))
    }

    /// Deletes the parts of a document that an agent remembers; output `forgotten`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn forget_source(&self, agent: AgentId, source: String) -> BoxFuture<'_, ReplyResult> {
        let change = MemoryChange::Forget { id: None, source: Some(source) };
        self.send(Request::MemoryWrite(MemoryWrite { agent, change, key: None }))
    }

    /// Lists the audit records, newest first; outputs `records` and `next`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn audit(&self, page: Page) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Audit { page }))
    }

    /// Returns the audit records of one entry or request; output `records`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn audit_entry(&self, id: impl Into<String> + Send) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::AuditEntry { id: id.into() }))
    }

    /// Returns the part of an artifact after this many bytes; outputs `content` in Base64, `bytes` of the whole
    /// and `next`, the bytes up to the end of the part if there are more.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn artifact(&self, hash: ContentHash, after: u64) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Artifact { hash, after }))
    }

    // === maintenance ===

    /// Executes a maintenance command; output `report`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn maintain(&self, maintenance: Maintenance) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Maintain(maintenance))
    }

    /// Returns the model costs since a moment; output `costs`.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn costs(&self, since: Option<Timestamp>) -> BoxFuture<'_, ReplyResult> {
        self.send(Request::Query(Query::Costs { since }))
    }
}

#[cfg(test)]
mod tests;
