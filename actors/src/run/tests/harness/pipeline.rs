//! A door with a pipeline in small behind it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::audit::Opening;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::Invoke;
use greenroom_protocol::{
    Cause, ErrorCode, Metadata, Outcome, PodId, Reply, Request, RequestId, RunId, Status, TenantId, Timestamp, TraceId,
    UserId,
};
use greenroom_registry::Stores;
use greenroom_registry::audit::PendingAuditEntry;
use greenroom_registry::group_commit::CommitTiming;
use greenroom_rego::{Authenticated, Resource, TypedPermit, testing};

use super::definitions::{Called, FakeResolver, Script};
use crate::definition_resolver::DefinitionResolver;
use crate::dispatcher::TeamHost;
use crate::execution::invocation::Invocation;
use crate::pipeline::{CommitWaiter, RequestPipeline};
use crate::run::RunsHandle;
use crate::run::effects::failed;
use crate::team::TeamsHandle;

/// The pipeline in small: a permit for everything, and then where it leads.
pub(crate) struct FakePipeline {
    pub(super) runs: Mutex<Option<(RunsHandle, TeamsHandle)>>,
    pub(super) resolver: Arc<FakeResolver>,
    pub(super) stores: Stores,
    pub(super) script: Script,
    pub(crate) called: Mutex<Vec<Called>>,
    pub(super) times: Mutex<HashMap<String, usize>>,
    /// Every request, by verb and speaker.
    pub(crate) asked: Mutex<Vec<String>>,
    /// A run that no other one started takes its time to be taken up.
    pub(crate) outer_is_late: AtomicBool,
    /// No opening is written.
    pub(crate) loses_openings: AtomicBool,
}

impl FakePipeline {
    async fn target(&self, request: &Request) -> Result<Resource, Cause> {
        let catalogue = self.resolver.catalogue();
        let of_run = async |run: &RunId| -> Result<Resource, Cause> {
            let head = self.stores.runs.get(run).await.map_err(|error| error.cause())?;
            let head = head.ok_or_else(|| Cause::new(ErrorCode::UnknownRun, run.to_string()))?;
            Ok(Resource::Run { run: head.run, workflow: head.workflow, version: head.version, team: head.team })
        };
        Ok(match request {
            Request::Invoke(invoke) => {
                let agent = self.resolver.agent(&invoke.agent, invoke.version.as_ref()).await?;
                Resource::Agent { agent: agent.id().clone(), version: agent.hash() }
            }
            Request::StartRun(start) => {
                let workflow = catalogue.require_workflow(&start.workflow)?;
                Resource::Workflow { workflow: workflow.id().clone(), version: workflow.hash() }
            }
            Request::StartTeam(start) => {
                let team = catalogue.require_team(&start.team)?;
                Resource::Team { team: team.id().clone(), version: team.hash() }
            }
            Request::SignalRun(signal) => of_run(&signal.run).await?,
            Request::ResumeRun(resume) => of_run(&resume.run).await?,
            Request::ContextRead(read) => Resource::Context { run: read.run.clone(), key: None },
            Request::ContextWrite(write) => Resource::Context { run: write.run.clone(), key: Some(write.key.clone()) },
            Request::MemoryRead(_) | Request::MemoryWrite(_) | Request::CallTool(_) | Request::Query(_) => {
                Resource::Collection { kind: "nothing".into() }
            }
        })
    }

    async fn opened(&self, id: &RequestId) -> Result<PendingAuditEntry, Cause> {
        if self.loses_openings.load(Ordering::Relaxed) {
            return Ok(PendingAuditEntry::failed_for_test());
        }
        let opening = Opening {
            request: id.clone(),
            trace: TraceId::from_u128(1),
            pod: PodId::new("pod").unwrap(),
            tenant: TenantId::new("acme").unwrap(),
            user: UserId::new("admin").unwrap(),
            caller: "user:admin".into(),
            action: "start_run".into(),
            resource: "x".into(),
            run: None,
        };
        let opened = self.stores.audit.submit(opening, CommitTiming::Coalesce, Timestamp::default()).await;
        opened.map_err(|error| error.cause())
    }

    async fn answered(&self, asked: Authenticated, other: CommitWaiter) -> Result<Reply, Cause> {
        self.asked.lock().unwrap().push(format!("{} {}", asked.request().verb(), asked.caller()));
        let (runs, teams) = self.runs.lock().unwrap().clone().unwrap();
        let (target, id) = (self.target(asked.request()).await?, asked.id().clone());
        let permit = testing::permit_request(asked, target).await.map_err(Cause::from)?;
        other.wait().await?;
        let outcome = match permit.into_typed() {
            TypedPermit::StartRun(permit) => return Ok(runs.start(permit, &mut self.opened(&id).await?, None).await),
            TypedPermit::ResumeRun(permit) => {
                let head = self.stores.runs.get(&permit.request().run).await.unwrap().unwrap();
                if self.outer_is_late.load(Ordering::Relaxed) && head.parent.is_none() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                return Ok(runs.resume(permit).await);
            }
            TypedPermit::SignalRun(permit) => return Ok(runs.signal(permit).await),
            TypedPermit::StartTeam(permit) => return Ok(TeamHost::start(&teams, permit).await),
            TypedPermit::ContextRead(permit) => teams.read(permit).await?,
            TypedPermit::ContextWrite(permit) => teams.write(permit).await?,
            TypedPermit::Invoke(permit) => {
                let called = self.note(permit.request(), &id);
                let run = permit.grant().run().cloned().unwrap();
                let agent = self.resolver.agent(&permit.request().agent, permit.grant().version()).await?;
                let name = agent.id().clone();
                let assignment = Invocation::from_permit(permit, agent, None)?;
                match teams.invoke(&run, assignment).await {
                    Ok(done) => done.map_err(|failure| failure.cause)?,
                    Err(_) => Outcome {
                        outputs: (self.script)(called).await?,
                        usage: Usage { agents: vec![name], decisions: 1, ..Usage::default() },
                    },
                }
            }
            TypedPermit::MemoryRead(_)
            | TypedPermit::MemoryWrite(_)
            | TypedPermit::CallTool(_)
            | TypedPermit::Query(_) => {
                return Err(Cause::new(ErrorCode::Internal, "not here"));
            }
        };
        Ok(reply(&id, outcome))
    }

    fn note(&self, invoke: &Invoke, request: &RequestId) -> Called {
        let key = invoke.key.as_ref().unwrap().to_string();
        let mut times = self.times.lock().unwrap();
        let time = times.entry(key.clone()).or_default();
        *time += 1;
        let called = Called {
            agent: invoke.agent.to_string(),
            inputs: invoke.inputs.clone(),
            context: invoke.context.clone(),
            key,
            request: request.clone(),
            time: *time,
        };
        self.called.lock().unwrap().push(called.clone());
        called
    }
}

fn reply(id: &RequestId, outcome: Outcome) -> Reply {
    let Outcome { outputs, usage } = outcome;
    Reply { id: id.to_string(), status: Status::Success, outputs, error: None, metadata: Metadata::from(usage) }
}

#[async_trait]
impl RequestPipeline for FakePipeline {
    async fn handle_after(&self, asked: Authenticated, other: CommitWaiter) -> Reply {
        let id = asked.id().clone();
        self.answered(asked, other).await.unwrap_or_else(|cause| failed(&id, cause))
    }
}
