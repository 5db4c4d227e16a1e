//! Requests that have one reply: they are read as the subjects of NATS read them, sent through the client, and replied to
//! with JSON, or with a stream if the caller accepts one.

use axum::body::Body;
use axum::response::Response;
use greenroom_client::{Client, PreparedRequest};
use greenroom_protocol::received::join;
use greenroom_protocol::{
    AgentId, Cause, Envelope, ErrorCode, IngressSubject, Request, RequestHeaders, SubjectRequest, WorkflowId,
};

use super::body::read_json;
use super::incoming::{Head, Incoming};
use super::problem::Problem;
use super::progress;
use super::respond::{self, Awaits};

/// Executes an agent.
pub(super) async fn execute_agent(incoming: Incoming) -> Result<Response, Problem> {
    let agent = incoming.head.id::<AgentId>(0)?;
    serve(incoming, IngressSubject::Agent(agent)).await
}

/// Runs a workflow.
pub(super) async fn run_workflow(incoming: Incoming) -> Result<Response, Problem> {
    let workflow = incoming.head.id::<WorkflowId>(0)?;
    serve(incoming, IngressSubject::Workflow(workflow)).await
}

/// Forms a team, which runs a workflow.
pub(super) async fn execute_team(incoming: Incoming) -> Result<Response, Problem> {
    serve(incoming, IngressSubject::Teams).await
}

/// Any request, as a whole envelope.
pub(super) async fn request(incoming: Incoming) -> Result<Response, Problem> {
    serve(incoming, IngressSubject::Requests).await
}

/// Serves a request whose path is this subject, with the body that the subject has.
pub(super) async fn serve(incoming: Incoming, subject: IngressSubject) -> Result<Response, Problem> {
    let Incoming { head, body } = incoming;
    let headers = head.request_headers()?;
    let envelope = read_envelope(&head, body, subject, headers.version).await?;
    send(head, headers, envelope).await
}

async fn read_envelope(head: &Head, body: Body, subject: IngressSubject, version: u16) -> Result<Envelope, Problem> {
    head.query(&[])?;
    let received = read_json(&head.bridge, &head.headers, body).await?;
    envelope_of(subject, &received.bytes, version)
}

/// The envelope of a body.
///
/// # Errors
/// 400 if the body is not what the subject has.
pub(super) fn envelope_of(subject: IngressSubject, body: &[u8], version: u16) -> Result<Envelope, Problem> {
    match subject.into_request(body, version)? {
        SubjectRequest::Send(envelope) => Ok(*envelope),
        SubjectRequest::Watch { .. } | SubjectRequest::Upload { .. } => {
            Err(Problem::invalid("a watch and an upload have routes of their own"))
        }
    }
}

/// Sends an envelope, which is joined with the headers of its request.
///
/// # Errors
/// The problem of a reply that is no success, or of a missing one.
pub(super) async fn send(head: Head, headers: RequestHeaders, envelope: Envelope) -> Result<Response, Problem> {
    let mut envelope = join(envelope, headers)?;
    if matches!(envelope.request, Request::Maintain(_)) {
        let message = "maintenance is requested on the machine of the pod, with its own command line";
        return Err(Cause::new(ErrorCode::InvalidRequest, message).into());
    }
    let awaits = awaits(&mut envelope.request, head.preferences().is_async);
    let client = head.bridge.client(envelope.credential.take());
    let prepared = prepare(&client, envelope);
    if head.accepts_events() {
        return progress::respond(&head.bridge, prepared.stream()).await;
    }
    respond::reply(prepared.send().await?, awaits)
}

/// What the caller waits for. A request that starts no run has a result only.
fn awaits(request: &mut Request, is_async: bool) -> Awaits {
    let detach = match request {
        Request::StartRun(start) => &mut start.detach,
        Request::StartTeam(start) => &mut start.detach,
        Request::Invoke(_)
        | Request::SignalRun(_)
        | Request::ResumeRun(_)
        | Request::ContextRead(_)
        | Request::ContextWrite(_)
        | Request::MemoryRead(_)
        | Request::MemoryWrite(_)
        | Request::CallTool(_)
        | Request::Query(_)
        | Request::Maintain(_) => return Awaits::Result,
    };
    match (is_async, *detach) {
        (true, _) => {
            *detach = true;
            Awaits::PreferredAcceptance
        }
        (false, true) => Awaits::Acceptance,
        (false, false) => Awaits::Result,
    }
}

/// The request of an envelope, with everything that belongs to it but the credential.
fn prepare(client: &Client, envelope: Envelope) -> PreparedRequest<'_> {
    let Envelope { version: _, id, credential: _, deadline, timeout_ms, idempotency_key, trace, request } = envelope;
    let mut prepared = client.request(request);
    if let Some(id) = id {
        prepared = prepared.request_id(id);
    }
    if let Some(deadline) = deadline {
        prepared = prepared.deadline(deadline);
    }
    if let Some(timeout) = timeout_ms {
        prepared = prepared.timeout(std::time::Duration::from_millis(timeout));
    }
    if let Some(key) = idempotency_key {
        prepared = prepared.idempotency_key(key);
    }
    match trace {
        Some(trace) => prepared.trace(trace),
        None => prepared,
    }
}
