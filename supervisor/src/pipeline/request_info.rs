//! What is remembered of a request while it goes through the stages, for its audit record, its log
//! line and its reply. Ids and times, never an input.

use std::time::{Duration, Instant};

use greenroom_protocol::audit::Opening;
use greenroom_protocol::{
    AgentId, PodId, PrincipalId, Received, Request, RequestId, RunId, TeamId, TraceId, WorkflowId,
};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_rego::{Authenticated, Caller};

use super::idempotency::stores_reply;

/// One request at one hop.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    /// The request.
    pub id: RequestId,
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// The run that it starts, resumes or signals; the id of its reply is that of the run.
    pub run: Option<RunId>,
    /// The agent that it invokes: the requested id until the facts have resolved it.
    pub agent: Option<AgentId>,
    /// The user, once authenticated.
    pub user: Option<String>,
    /// The workflow that it belongs to.
    pub workflow: Option<WorkflowId>,
    /// The team that it belongs to.
    pub team: Option<TeamId>,
    /// When it arrived here.
    arrived_at: Instant,
}

impl RequestInfo {
    /// The information about a request that is not authenticated yet.
    #[must_use]
    pub fn from_received(received: &Received) -> Self {
        Self::new(received.id(), received.trace(), received.request())
    }

    /// The information about a request of a known user, at any hop.
    #[must_use]
    pub fn from_authenticated(request: &Authenticated) -> Self {
        let mut info = Self::new(request.id(), request.trace(), request.request());
        info.user = Some(request.principal().id.user.to_string());
        info.team = info.team.or_else(|| request.team().cloned());
        if info.workflow.is_none() {
            info.workflow = request.chain().iter().rev().find_map(|caller| match caller {
                Caller::Workflow { workflow, .. } => Some(workflow.clone()),
                Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => None,
            });
        }
        info
    }

    fn new(id: &RequestId, trace: &TraceId, request: &Request) -> Self {
        let mut info = Self {
            id: id.clone(),
            trace: trace.clone(),
            run: None,
            agent: None,
            user: None,
            workflow: None,
            team: None,
            arrived_at: Instant::now(),
        };
        match request {
            Request::Invoke(invoke) => info.agent = Some(invoke.agent.clone()),
            Request::StartRun(start) => {
                info.run = Some(RunId::for_request(id));
                info.workflow = Some(start.workflow.clone());
            }
            Request::StartTeam(start) => {
                info.run = Some(RunId::for_request(id));
                info.workflow = Some(start.workflow.clone());
                info.team = Some(start.team.id());
            }
            Request::SignalRun(signal) => info.run = Some(signal.run.clone()),
            Request::ResumeRun(resume) => info.run = Some(resume.run.clone()),
            Request::ContextRead(_)
            | Request::ContextWrite(_)
            | Request::MemoryRead(_)
            | Request::MemoryWrite(_)
            | Request::CallTool(_)
            | Request::Query(_)
            | Request::Maintain(_) => {}
        }
        info
    }

    /// Time since it arrived.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.arrived_at.elapsed()
    }

    /// The id of its reply: that of its run if it has one.
    #[must_use]
    pub fn reply_id(&self) -> String {
        self.run.as_ref().map_or_else(|| self.id.to_string(), ToString::to_string)
    }
}

/// The opening of the audit entry of a request.
#[must_use]
pub fn make_opening(request: &Authenticated, info: &RequestInfo, pod: &PodId) -> Opening {
    let PrincipalId { issuer, tenant, user } = request.principal().id.clone();
    let run = info.run.as_ref().or_else(|| request.run());
    Opening {
        request: request.id().clone(),
        trace: request.trace().clone(),
        pod: pod.clone(),
        issuer,
        tenant,
        user,
        caller: request.caller().to_string(),
        action: request.request().verb().to_owned(),
        resource: request.request().resource(),
        run: run.map(ToString::to_string),
    }
}

/// When the opening of a request is committed. The record of a tree is written after the opening of its start, in the same
/// commit, and so is the reservation of a key. The record of an inner run waits for what its caller writes, and its opening
/// is in the commit of that.
#[must_use]
pub fn opening_timing(request: &Authenticated, info: &RequestInfo) -> CommitTiming {
    let starts_tree = matches!(request.request(), Request::StartRun(_)) && request.root().is_none();
    // The opening of a request about a run is written with what that run writes, and not with its key.
    let reserves_key = request.idempotency().is_some() && stores_reply(request.request()) && info.run.is_none();
    if starts_tree || reserves_key { CommitTiming::Coalesce } else { CommitTiming::Immediate }
}
