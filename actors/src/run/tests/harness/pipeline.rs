//! A small pipeline.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use greenroom_protocol::audit::Opening;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::Invoke;
use greenroom_protocol::{
    Cause, Clock, ErrorCode, Issuer, Metadata, Outcome, PodId, Reply, Request, RequestId, RunId, Status, TenantId,
    Timestamp, TraceId, UserId, WrittenVersion,
};
use greenroom_registry::Stores;
use greenroom_registry::core::PendingAuditEntry;
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::runs::RunRecord;
use greenroom_rego::{Authenticated, Grant, Permitted, Resource, TypedPermit, testing};
use tokio::sync::watch;

use super::definitions::{FakeResolver, RecordedCall, Script};
use crate::definition_resolver::DefinitionResolver;
use crate::dispatcher::TeamHost;
use crate::execution::invocation::Invocation;
use crate::execution::stream::AnswerEvent;
use crate::pipeline::{CallScope, RequestPipeline, Settlements};
use crate::run::RunsHandle;
use crate::run::effects::failed_reply;
use crate::team::TeamsHandle;

/// Holds whoever passes until it is opened.
#[derive(Clone)]
pub(crate) struct Gate {
    opened: watch::Sender<bool>,
    waiting: Arc<AtomicUsize>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self { opened: watch::Sender::new(false), waiting: Arc::default() }
    }

    pub(crate) fn open(&self) {
        self.opened.send_replace(true);
    }

    /// Number of those who have come to the gate.
    pub(crate) fn arrived(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(crate) async fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.opened.subscribe().wait_for(|is_open| *is_open).await.unwrap();
    }
}

/// A small pipeline: permits every request and dispatches it.
pub(crate) struct FakePipeline {
    pub(super) runs: Mutex<Option<(RunsHandle, TeamsHandle)>>,
    pub(super) resolver: Arc<FakeResolver>,
    pub(super) stores: Stores,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) script: Script,
    pub(crate) calls: Mutex<Vec<RecordedCall>>,
    /// The grant and the request of each of them.
    pub(crate) invocations: Mutex<Vec<(Grant, Invoke)>>,
    pub(super) attempts: Mutex<HashMap<String, usize>>,
    /// Every request, by verb and caller.
    pub(crate) requests: Mutex<Vec<String>>,
    /// Holds the requests of this verb and kind of caller until the gate is open.
    pub(crate) request_gate: Mutex<Option<(&'static str, Gate)>>,
    /// Fails every open audit entry.
    pub(crate) fails_audit_opening: AtomicBool,
    /// The start of a run never ends, and no run is created.
    pub(crate) holds_starts: AtomicBool,
    /// The first request of this verb and kind of caller panics.
    pub(crate) panics_at_request: Mutex<Option<&'static str>>,
    /// The request that resumes this run panics.
    pub(crate) panics_at_resumption: Mutex<Option<RunId>>,
}

impl FakePipeline {
    pub(super) fn new(resolver: Arc<FakeResolver>, stores: Stores, clock: Arc<dyn Clock>, script: Script) -> Self {
        Self {
            runs: Mutex::default(),
            resolver,
            stores,
            clock,
            script,
            calls: Mutex::default(),
            invocations: Mutex::default(),
            attempts: Mutex::default(),
            requests: Mutex::default(),
            request_gate: Mutex::default(),
            fails_audit_opening: AtomicBool::default(),
            holds_starts: AtomicBool::default(),
            panics_at_request: Mutex::default(),
            panics_at_resumption: Mutex::default(),
        }
    }

    async fn target(&self, request: &Request) -> Result<Resource, Cause> {
        let of_run = async |run: &RunId| -> Result<Resource, Cause> {
            let record = self.stores.runs.get(run).await.map_err(|error| error.cause())?;
            let record = record.ok_or_else(|| Cause::new(ErrorCode::UnknownRun, run.to_string()))?;
            let RunRecord { run, root, workflow, version, team, owner, .. } = record;
            Ok(Resource::Run { run, root, workflow, version, team, tenant: owner.tenant })
        };
        Ok(match request {
            Request::Invoke(invoke) => {
                let agent = self.resolver.agent(&invoke.agent, invoke.version.as_ref()).await?;
                Resource::Agent { agent: agent.id().clone(), version: agent.hash() }
            }
            Request::StartRun(start) => {
                let workflow = self.resolver.workflow(&start.workflow, start.version.as_ref()).await?;
                Resource::Workflow { workflow: workflow.id().clone(), version: workflow.hash() }
            }
            Request::StartTeam(start) => {
                let team = self.resolver.requested_team(&start.team, start.version.as_ref()).await?;
                Resource::Team { team: team.id().clone(), version: team.hash() }
            }
            Request::SignalRun(signal) => of_run(&signal.run).await?,
            Request::ResumeRun(resume) => of_run(&resume.run).await?,
            Request::ContextRead(read) => Resource::Context { run: read.run.clone(), key: None },
            Request::ContextWrite(write) => Resource::Context { run: write.run.clone(), key: Some(write.key.clone()) },
            Request::MemoryRead(_)
            | Request::MemoryWrite(_)
            | Request::CallTool(_)
            | Request::Query(_)
            | Request::Maintain(_) => Resource::Collection { kind: "nothing".into() },
        })
    }

    async fn open_audit_entry(&self, id: &RequestId) -> Result<PendingAuditEntry, Cause> {
        if self.fails_audit_opening.load(Ordering::Relaxed) {
            return Ok(PendingAuditEntry::failed_for_test());
        }
        let opening = Opening {
            request: id.clone(),
            trace: TraceId::from_u128(1),
            pod: PodId::new("pod").unwrap(),
            issuer: Issuer::default(),
            tenant: TenantId::new("acme").unwrap(),
            user: UserId::new("admin").unwrap(),
            caller: "user:admin".into(),
            action: "start_run".into(),
            resource: "x".into(),
            run: None,
        };
        let audit_entry = self.stores.core.submit_opening(opening, CommitTiming::Coalesce, Timestamp::default()).await;
        audit_entry.map_err(|error| error.cause())
    }

    async fn try_handle(&self, request: Authenticated, scope: CallScope) -> Result<Reply, Cause> {
        let CallScope { commit: other, sink, .. } = scope;
        let name = format!("{} {}", request.request().verb(), request.caller());
        self.requests.lock().unwrap().push(name.clone());
        if request.deadline().has_passed(self.clock.now()) {
            return Err(Cause::new(ErrorCode::TimedOut, "the deadline passed before the request was executed"));
        }
        let panics = self.panics_at_request.lock().unwrap().take_if(|prefix| name.starts_with(*prefix)).is_some();
        assert!(!panics, "a defect of a stage");
        if let Request::ResumeRun(resume) = request.request() {
            let panics_at = self.panics_at_resumption.lock().unwrap().clone();
            assert_ne!(panics_at.as_ref(), Some(&resume.run), "a defect of the resumption");
        }
        let gate = self.request_gate.lock().unwrap().clone().filter(|(prefix, _)| name.starts_with(prefix));
        if let Some((_, gate)) = gate {
            gate.pass().await;
        }
        let (runs, teams) = self.runs.lock().unwrap().clone().unwrap();
        let (target, id) = (self.target(request.request()).await?, request.id().clone());
        let permit = testing::permit_request(request, target).await.map_err(Cause::from)?;
        other.wait().await?;
        let outcome = match permit.into_typed() {
            TypedPermit::StartRun(permit) => {
                if self.holds_starts.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                return Ok(runs.start(permit, &mut self.open_audit_entry(&id).await?, None).await);
            }
            TypedPermit::ResumeRun(permit) => return Ok(runs.resume(permit).await),
            TypedPermit::SignalRun(permit) => return Ok(runs.signal(permit).await),
            TypedPermit::StartTeam(permit) => return Ok(TeamHost::start(&teams, permit, None).await),
            TypedPermit::ContextRead(permit) => teams.read(permit).await?,
            TypedPermit::ContextWrite(permit) => teams.write(permit).await?,
            TypedPermit::Invoke(permit) => {
                let call = self.record_call(&permit, &id);
                if let Some(sink) = sink {
                    // Its reader may have stopped.
                    let _ = sink.send(AnswerEvent::Text(call.agent.clone())).await;
                }
                let run = permit.grant().team_run().or_else(|| permit.grant().run()).cloned().unwrap();
                let agent = self.resolver.agent(&permit.request().agent, permit.grant().version()).await?;
                let name = agent.id().clone();
                let assignment = Invocation::from_permit(permit, agent, None, Settlements::default())?;
                match teams.invoke(&run, assignment).await {
                    Ok(done) => done.map_err(|failure| failure.cause)?,
                    Err(_) => Outcome {
                        outputs: (self.script)(call).await?,
                        usage: Usage { agents: vec![name], decisions: 1, ..Usage::default() },
                    },
                }
            }
            TypedPermit::MemoryRead(_)
            | TypedPermit::MemoryWrite(_)
            | TypedPermit::CallTool(_)
            | TypedPermit::Query(_)
            | TypedPermit::Maintain(_) => {
                return Err(Cause::new(ErrorCode::Internal, "not here"));
            }
        };
        Ok(reply(&id, outcome))
    }

    fn record_call(&self, permit: &Permitted<Invoke>, request: &RequestId) -> RecordedCall {
        let invoke = permit.request();
        self.invocations.lock().unwrap().push((permit.grant().clone(), invoke.clone()));
        let key = invoke.key.as_ref().unwrap().to_string();
        let mut times = self.attempts.lock().unwrap();
        let time = times.entry(key.clone()).or_default();
        *time += 1;
        let call = RecordedCall {
            agent: invoke.agent.to_string(),
            inputs: invoke.inputs.clone(),
            context: invoke.context.clone(),
            key,
            request: request.clone(),
            attempt: *time,
            approvals: invoke.approvals.clone(),
        };
        self.calls.lock().unwrap().push(call.clone());
        call
    }
}

fn reply(id: &RequestId, outcome: Outcome) -> Reply {
    let Outcome { outputs, usage } = outcome;
    Reply {
        id: id.to_string(),
        status: Status::Success,
        outputs,
        error: None,
        metadata: Metadata::from(usage),
        protocol_version: WrittenVersion::OWN,
    }
}

#[async_trait]
impl RequestPipeline for FakePipeline {
    async fn handle_within(&self, request: Authenticated, scope: CallScope) -> Reply {
        let id = request.id().clone();
        self.try_handle(request, scope).await.unwrap_or_else(|cause| failed_reply(&id, cause))
    }
}
