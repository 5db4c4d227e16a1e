//! What is remembered of a request while it goes through the stages, for its audit record, its log
//! line and its reply. Ids and times, never an input.

use std::time::{Duration, Instant};

use greenroom_protocol::audit::Opening;
use greenroom_protocol::{AgentId, PodId, Received, Request, RequestId, RunId, TeamId, TraceId, WorkflowId};
use greenroom_rego::{Authenticated, Caller};

/// One request at one hop.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    /// The request.
    pub id: RequestId,
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// The run that it starts, goes on with or signals; its reply is named after it.
    pub run: Option<RunId>,
    /// The agent that is to work, as it was asked for until the facts say which one that is.
    pub agent: Option<AgentId>,
    /// On whose behalf, once that is known.
    pub user: Option<String>,
    /// The workflow that it belongs to.
    pub workflow: Option<WorkflowId>,
    /// The team that it belongs to.
    pub team: Option<TeamId>,
    /// When it arrived here.
    begun: Instant,
}

impl RequestInfo {
    /// A request that nobody has judged yet.
    #[must_use]
    pub fn from_received(received: &Received) -> Self {
        Self::new(received.id(), received.trace(), received.request())
    }

    /// A request of a known user, at any hop.
    #[must_use]
    pub fn from_authenticated(asked: &Authenticated) -> Self {
        let mut info = Self::new(asked.id(), asked.trace(), asked.request());
        info.user = Some(asked.principal().user.to_string());
        info.team = info.team.or_else(|| asked.team().cloned());
        if info.workflow.is_none() {
            info.workflow = asked.chain().iter().rev().find_map(|caller| match caller {
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
            begun: Instant::now(),
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
                info.team = Some(start.team.clone());
            }
            Request::SignalRun(signal) => info.run = Some(signal.run.clone()),
            Request::ResumeRun(resume) => info.run = Some(resume.run.clone()),
            Request::ContextRead(_)
            | Request::ContextWrite(_)
            | Request::MemoryRead(_)
            | Request::MemoryWrite(_)
            | Request::CallTool(_)
            | Request::Query(_) => {}
        }
        info
    }

    /// How long it has been here.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How its reply is named: after the run where there is one.
    #[must_use]
    pub fn reply_id(&self) -> String {
        self.run.as_ref().map_or_else(|| self.id.to_string(), ToString::to_string)
    }
}

/// The audit's opening record of a request.
#[must_use]
pub fn opening(asked: &Authenticated, info: &RequestInfo, pod: &PodId) -> Opening {
    let principal = asked.principal();
    let run = info.run.as_ref().or_else(|| asked.run());
    Opening {
        request: asked.id().clone(),
        trace: asked.trace().clone(),
        pod: pod.clone(),
        tenant: principal.tenant.clone(),
        user: principal.user.clone(),
        caller: asked.caller().to_string(),
        action: asked.request().verb().to_owned(),
        resource: asked.request().resource(),
        run: run.map(ToString::to_string),
    }
}
