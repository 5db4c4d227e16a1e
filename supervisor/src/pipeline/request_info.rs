//! What is remembered of a request while it goes through the stages, for its audit record, its log
//! line and its reply. Ids and times, never an input.

use std::time::{Duration, Instant};

use greenroom_protocol::audit::Opening;
use greenroom_protocol::{AgentId, PodId, Received, Request, RequestId, RunId, TeamId, TraceId, WorkflowId};
use greenroom_rego::{Authenticated, Speaker};

/// One request at one hop.
#[derive(Debug, Clone)]
pub struct Visit {
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

impl Visit {
    /// A request that nobody has judged yet.
    #[must_use]
    pub fn arrived(received: &Received) -> Self {
        Self::new(received.id(), received.trace(), received.request())
    }

    /// A request of a known user, at any hop.
    #[must_use]
    pub fn of(asked: &Authenticated) -> Self {
        let mut visit = Self::new(asked.id(), asked.trace(), asked.request());
        visit.user = Some(asked.principal().user.to_string());
        visit.team = visit.team.or_else(|| asked.team().cloned());
        if visit.workflow.is_none() {
            visit.workflow = asked.chain().iter().rev().find_map(|speaker| match speaker {
                Speaker::Workflow { workflow, .. } => Some(workflow.clone()),
                Speaker::User { .. } | Speaker::Agent { .. } | Speaker::Team { .. } | Speaker::Nobody => None,
            });
        }
        visit
    }

    fn new(id: &RequestId, trace: &TraceId, request: &Request) -> Self {
        let mut visit = Self {
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
            Request::Invoke(invoke) => visit.agent = Some(invoke.agent.clone()),
            Request::StartRun(start) => {
                visit.run = Some(RunId::of(id));
                visit.workflow = Some(start.workflow.clone());
            }
            Request::StartTeam(start) => {
                visit.run = Some(RunId::of(id));
                visit.workflow = Some(start.workflow.clone());
                visit.team = Some(start.team.clone());
            }
            Request::SignalRun(signal) => visit.run = Some(signal.run.clone()),
            Request::ResumeRun(resume) => visit.run = Some(resume.run.clone()),
            Request::ContextRead(_)
            | Request::ContextWrite(_)
            | Request::MemoryRead(_)
            | Request::MemoryWrite(_)
            | Request::CallTool(_)
            | Request::Look(_) => {}
        }
        visit
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
pub fn opening(asked: &Authenticated, visit: &Visit, pod: &PodId) -> Opening {
    let principal = asked.principal();
    let run = visit.run.as_ref().or_else(|| asked.run());
    Opening {
        request: asked.id().clone(),
        trace: asked.trace().clone(),
        pod: pod.clone(),
        tenant: principal.tenant.clone(),
        user: principal.user.clone(),
        speaker: asked.speaker().to_string(),
        action: asked.request().verb().to_owned(),
        target: asked.request().target(),
        run: run.map(ToString::to_string),
    }
}
