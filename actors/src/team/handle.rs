//! The handle that forms and invokes teams.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use greenroom_protocol::request::{ContextRead, ContextWrite, StartRun, StartTeam};
use greenroom_protocol::{AgentId, Cause, ErrorCode, Outcome, Reply, RunId, TeamId, Values};
use greenroom_registry::idempotency::KeyStatus;
use greenroom_rego::{Caller, Grant, Permitted, SpendingScope};
use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::message::{
    FormationReceiver, TeamArgs, TeamHandles, TeamInfo, TeamMsg, TeamRunStart, TeamSupervisorInfo, TeamSupervisorMsg,
};
use super::setup::{initial_context, member_ids, run_request, spending_limits};
use crate::agent::ExecutionResult;
use crate::category::CategoryConfig;
use crate::dispatcher::{RunTicket, TeamHost};
use crate::execution::ExecutionEnv;
use crate::execution::invocation::Invocation;
use crate::run::{RunsHandle, TeamRestorer, into_reply, team_dedup_key};

/// Longest wait for introspection of an actor, in milliseconds.
const INFO_WAIT_MS_MAX: u64 = 1_000;

/// A hosted team, as other actors see it.
#[derive(Clone)]
pub(super) struct HostedTeam {
    pub(super) actor: ActorRef<TeamMsg>,
    pub(super) team: TeamId,
    pub(super) members: Arc<BTreeSet<AgentId>>,
    pub(super) formation: FormationReceiver,
    /// The capacity of the request that formed the team; its caller may have disconnected.
    pub(super) ticket: Option<RunTicket>,
}

pub(super) struct Inner {
    pub(super) runs: RunsHandle,
    pub(super) env: Arc<ExecutionEnv>,
    pub(super) config: CategoryConfig,
    hosted: Mutex<HashMap<RunId, HostedTeam>>,
    supervisor: Mutex<Option<ActorRef<TeamSupervisorMsg>>>,
}

/// The handle of the teams of this pod. Cheap to clone.
#[derive(Clone)]
pub struct TeamsHandle {
    pub(super) inner: Arc<Inner>,
}

impl TeamsHandle {
    /// Creates the handle; [`TeamsHandle::start_supervisor`] starts its supervisor. A resumed run restores its team
    /// through this handle.
    #[must_use]
    pub fn new(runs: RunsHandle, env: Arc<ExecutionEnv>, config: CategoryConfig) -> Self {
        let inner = Arc::new(Inner { runs, env, config, hosted: Mutex::default(), supervisor: Mutex::default() });
        let restorer: Arc<dyn TeamRestorer> = inner.clone();
        inner.runs.set_team_restorer(Arc::downgrade(&restorer));
        Self { inner }
    }

    /// Introspection of the supervisor; `None` if it does not run.
    pub async fn info(&self) -> Option<TeamSupervisorInfo> {
        let supervisor = self.inner.supervisor().ok()?;
        ractor::call_t!(supervisor, TeamSupervisorMsg::GetInfo, INFO_WAIT_MS_MAX).ok()
    }

    /// Introspection of a team's actor; `None` if this pod hosts no team for this run.
    pub async fn team_info(&self, run: &RunId) -> Option<TeamInfo> {
        let hosted = self.inner.find(run)?;
        ractor::call_t!(hosted.actor, TeamMsg::GetInfo, INFO_WAIT_MS_MAX).ok()
    }
}

#[cfg(test)]
impl TeamsHandle {
    pub(super) fn kill_team(&self, run: &RunId) {
        self.inner.find(run).unwrap().actor.kill();
    }

    pub(crate) fn context(&self, run: &RunId) -> crate::context::ContextHandle {
        self.inner.formed_team(run).unwrap().1.context
    }
}

impl Inner {
    /// The hosted teams, by run.
    pub(super) fn hosted(&self) -> MutexGuard<'_, HashMap<RunId, HostedTeam>> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, run: &RunId) -> Option<HostedTeam> {
        self.hosted().get(run).cloned()
    }

    /// Registers a started supervisor.
    pub(super) fn set_supervisor(&self, supervisor: ActorRef<TeamSupervisorMsg>) {
        *self.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(supervisor);
    }

    fn supervisor(&self) -> Result<ActorRef<TeamSupervisorMsg>, Cause> {
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        supervisor.ok_or_else(shutting_down_error)
    }

    /// Starts a team's actor and waits until the team is formed.
    async fn form(&self, args: TeamArgs) -> Result<(), Cause> {
        let shutting_down_error =
            || Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down and accepts no new requests");
        let (port, hosted) = oneshot::channel();
        self.supervisor()?
            .send_message(TeamSupervisorMsg::Form(Box::new(args), port))
            .map_err(|_| shutting_down_error())?;
        let mut formation = hosted.await.map_err(|_| shutting_down_error())??;
        let formed = formation.wait_for(Option::is_some).await.map_err(|_| shutting_down_error())?.clone();
        formed.unwrap_or_else(|| Err(shutting_down_error())).map(drop)
    }

    /// The team of a run, if it is formed.
    fn formed_team(&self, run: &RunId) -> Option<(HostedTeam, TeamHandles)> {
        let hosted = self.find(run)?;
        let formed = hosted.formation.borrow().clone()?.ok()?;
        Some((hosted, formed))
    }

    async fn try_start(&self, permit: Permitted<StartTeam>, ticket: Option<RunTicket>) -> Result<Reply, Cause> {
        let since = Instant::now();
        let (grant, start) = permit.redeem();
        let run = grant.run().cloned().ok_or_else(|| Cause::new(ErrorCode::Internal, "the permit forms no team"))?;
        let env = self.runs.env();
        let catalogue = env.resolver.catalogue();
        let team = env.resolver.team(&start.team, start.version.as_ref()).await?;
        if grant.version() != Some(&team.hash()) {
            let message = "the team's definition changed while the request was authorized; send it again";
            return Err(Cause::new(ErrorCode::VersionConflict, message));
        }
        let mut context = initial_context(&team, &start.context);
        let (until, request) = (grant.deadline(), grant.request_id().clone());
        let run_request = run_request(start, context.clone(), &grant);
        if let Some(reply) = self.find_existing_run(&grant, &run_request).await? {
            return Ok(reply);
        }
        if self.has_started(&run, &grant).await? {
            // The run that calls the team was resumed. A new team resumes the team's run in its name, over the shared
            // context that the members have written.
            if let Some(earlier) = self.find(&run) {
                // It has stopped already if that fails.
                let _ = earlier.actor.send_message(TeamMsg::Disband);
            }
            context = Values::new();
        }
        let grant = grant.with_spending_limits(SpendingScope::Run(run.clone()), spending_limits(&team));
        let (port, reply) = oneshot::channel();
        let run_start = TeamRunStart { grant, request, run: run_request, port };
        let (team, members) = (team.id().clone(), member_ids(&team, &catalogue));
        let run_start = Some(run_start);
        self.form(TeamArgs { team, run: run.clone(), members, context, run_start, since, ticket }).await?;
        match reply.await {
            Ok(reply) => Ok(reply),
            // The team has failed; its run continues.
            Err(_closed) => self.runs.wait_ended(&run, until).await,
        }
    }

    /// True if the run of a team that a run calls has started already.
    async fn has_started(&self, run: &RunId, grant: &Grant) -> Result<bool, Cause> {
        if grant.chain().iter().all(|caller| !matches!(caller, Caller::Workflow { .. })) {
            return Ok(false);
        }
        let record = self.runs.env().stores.runs.get(run).await.map_err(|error| error.cause())?;
        Ok(record.is_some())
    }

    /// The reply to a repeated request: that of its first run, without another team. Two concurrent requests may both
    /// form a team; there is still one run.
    async fn find_existing_run(&self, grant: &Grant, start: &StartRun) -> Result<Option<Reply>, Cause> {
        let Some((body, key)) = team_dedup_key(start) else { return Ok(None) };
        let known = self.runs.env().stores.idempotency.lookup(&grant.principal().tenant, &key, &body).await;
        match known.map_err(|error| error.cause())? {
            KeyStatus::RunStarted(run) if start.detach => {
                self.runs.wait_accepted(&run, grant.deadline()).await.map(Some)
            }
            KeyStatus::RunStarted(run) => self.runs.wait_ended(&run, grant.deadline()).await.map(Some),
            KeyStatus::Conflict => {
                let message = "the idempotency key was used before with another request";
                Err(Cause::new(ErrorCode::IdempotencyConflict, message))
            }
            KeyStatus::New | KeyStatus::InProgress | KeyStatus::Completed(_) => Ok(None),
        }
    }
}

#[async_trait]
impl TeamRestorer for Inner {
    async fn restore_team(&self, run: &RunId, team: &TeamId, members: &[AgentId]) -> Result<(), Cause> {
        if self.find(run).is_some() {
            return Ok(());
        }
        let (team, run, members) = (team.clone(), run.clone(), members.iter().cloned().collect());
        let (context, since) = (Values::new(), Instant::now());
        // The resumed run has a ticket of its own.
        self.form(TeamArgs { team, run, members, context, run_start: None, since, ticket: None }).await
    }
}

#[async_trait]
impl TeamHost for TeamsHandle {
    async fn start(&self, permit: Permitted<StartTeam>, ticket: Option<RunTicket>) -> Reply {
        let id = permit.grant().request_id().clone();
        into_reply(&id, self.inner.try_start(permit, ticket).await)
    }

    async fn invoke(&self, run: &RunId, invocation: Box<Invocation>) -> Result<ExecutionResult, Box<Invocation>> {
        match self.inner.formed_team(run) {
            Some((hosted, formed)) if hosted.members.contains(invocation.agent.id()) => {
                Ok(formed.members.invoke(invocation).await)
            }
            Some(_) | None => Err(invocation),
        }
    }

    async fn read(&self, permit: Permitted<ContextRead>) -> Result<Outcome, Cause> {
        let run = permit.request().run.clone();
        let (_, formed) = self.inner.formed_team(&run).ok_or_else(|| unknown_run_error(&run))?;
        formed.context.read(permit).await
    }

    async fn write(&self, permit: Permitted<ContextWrite>) -> Result<Outcome, Cause> {
        let run = permit.request().run.clone();
        let (_, formed) = self.inner.formed_team(&run).ok_or_else(|| unknown_run_error(&run))?;
        formed.context.write(permit).await
    }
}

fn shutting_down_error() -> Cause {
    Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down and accepts no new requests")
}

fn unknown_run_error(run: &RunId) -> Cause {
    Cause::new(ErrorCode::UnknownRun, format!("this pod hosts no team of the run `{run}`"))
}
