//! The handle that forms and invokes teams.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use greenroom_protocol::request::{ContextRead, ContextWrite, StartTeam, TeamRef};
use greenroom_protocol::{AgentId, Cause, ErrorCode, Outcome, Reply, RunId, TeamId};
use greenroom_rego::{Permitted, SpendingScope};
use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::message::{
    FormationSender, TeamArgs, TeamInfo, TeamMsg, TeamOrigin, TeamRunStart, TeamSupervisorInfo, TeamSupervisorMsg,
};
use super::setup::{member_ids, run_request, spending_limits, team_context};
use crate::agent::ExecutionResult;
use crate::category::{CategoryConfig, CategoryHandle};
use crate::dispatcher::{RunTicket, TeamHost};
use crate::execution::ExecutionEnv;
use crate::execution::invocation::Invocation;
use crate::run::{RunsHandle, TeamRestorer, initial_context, into_reply, parent_run};

/// Longest wait for introspection of an actor, in milliseconds.
const INFO_WAIT_MS_MAX: u64 = 1_000;

/// A hosted team, as other actors see it.
#[derive(Clone)]
pub(super) struct HostedTeam {
    pub(super) actor: ActorRef<TeamMsg>,
    pub(super) team: TeamId,
    pub(super) members: Arc<BTreeSet<AgentId>>,
    /// The members with their job queues; closed when the team is removed.
    pub(super) member_handle: CategoryHandle,
    pub(super) formation: FormationSender,
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

    pub(super) fn kill_members(&self, run: &RunId) {
        self.inner.find(run).unwrap().member_handle.kill_supervisor();
    }

    pub(crate) async fn kill_supervisor(&self) {
        let supervisor = self.inner.supervisor().unwrap();
        supervisor.kill();
        supervisor.get_cell().wait(None).await.unwrap();
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

    /// Makes callers wait for the next incarnation of a team.
    pub(super) fn expect_restart(&self, run: &RunId) {
        if let Some(hosted) = self.find(run) {
            hosted.formation.send_replace(None);
        }
    }

    /// Starts a team's actor and waits until the team is formed.
    async fn form(&self, args: TeamArgs) -> Result<(), Cause> {
        let (port, hosted) = oneshot::channel();
        self.supervisor()?
            .send_message(TeamSupervisorMsg::Form(Box::new(args), port))
            .map_err(|_| shutting_down_error())?;
        let mut formation = hosted.await.map_err(|_| shutting_down_error())??;
        let formed = formation.wait_for(Option::is_some).await.map(|formed| formed.clone());
        formed.ok().flatten().unwrap_or_else(|| Err(ended_error()))
    }

    async fn try_start(&self, permit: Permitted<StartTeam>, ticket: Option<RunTicket>) -> Result<Reply, Cause> {
        let since = Instant::now();
        let (grant, start) = permit.redeem();
        let run = grant.run().cloned().ok_or_else(|| Cause::new(ErrorCode::Internal, "the permit forms no team"))?;
        let env = self.runs.env();
        let catalogue = env.resolver.catalogue();
        let team = env.resolver.requested_team(&start.team, start.version.as_ref()).await?;
        if grant.version() != Some(&team.hash()) {
            let message = "the team's definition changed while the request was authorized; send it again";
            return Err(Cause::new(ErrorCode::VersionConflict, message));
        }
        let context = team_context(&team, &start.context);
        let (request, detach) = (grant.request_id().clone(), start.detach);
        // Two concurrent requests may both form a team; there is still one run.
        if let Some(existing) = self.runs.find_existing_run(&grant).await? {
            return self.runs.wait_existing(&existing, detach, &grant).await;
        }
        // Checked before anything is started for it. A run that is resumed has its context in its journal.
        initial_context(&context)?;
        if let TeamRef::Inline(inline) = &start.team {
            self.runs.store_inline_team(inline, &team).await?;
        }
        let run_request = run_request(start, context);
        let grant = grant.with_spending_limits(SpendingScope::Run(run.clone()), spending_limits(&team));
        let (port, reply) = oneshot::channel();
        let run_start = TeamRunStart { grant: grant.clone(), request, run: run_request, port };
        let is_called = parent_run(&grant).is_some();
        let origin = if is_called { TeamOrigin::Call(run_start) } else { TeamOrigin::Request(run_start) };
        let (team, members) = (team.id().clone(), member_ids(&team, &catalogue));
        self.form(TeamArgs { team, run: run.clone(), members, origin, since, ticket }).await?;
        match reply.await {
            Ok(reply) => Ok(reply),
            // The actor of the team has failed. Its run continues, unless it had not started yet.
            Err(_closed) => match self.runs.wait_as_caller(&run, detach, &grant).await {
                Err(cause) if cause.code == ErrorCode::UnknownRun => {
                    Err(failed_error("the actor of the team failed before its run started; send the request again"))
                }
                other => other,
            },
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
        let since = Instant::now();
        // The resumed run has a ticket of its own.
        self.form(TeamArgs { team, run, members, origin: TeamOrigin::ResumedRun, since, ticket: None }).await
    }

    async fn release_team(&self, run: &RunId) {
        // Without a supervisor, the pod is shutting down and its teams stop.
        let Ok(supervisor) = self.supervisor() else { return };
        let (port, released) = oneshot::channel();
        if supervisor.send_message(TeamSupervisorMsg::Release(run.clone(), port)).is_ok() && released.await.is_err() {
            tracing::debug!(run.id = %run, "the supervisor of the teams has failed; the team remains until its run ends");
        }
    }
}

#[async_trait]
impl TeamHost for TeamsHandle {
    async fn start(&self, permit: Permitted<StartTeam>, ticket: Option<RunTicket>) -> Reply {
        let id = permit.grant().request_id().clone();
        into_reply(&id, self.inner.try_start(permit, ticket).await)
    }

    async fn invoke(&self, run: &RunId, invocation: Box<Invocation>) -> Result<ExecutionResult, Box<Invocation>> {
        let hosted = self.inner.find(run).filter(|hosted| hosted.members.contains(invocation.agent.id()));
        match hosted {
            // While the team is being restarted, the job waits in the queue of its member.
            Some(hosted) => Ok(hosted.member_handle.invoke(invocation).await),
            None => Err(invocation),
        }
    }

    async fn read(&self, permit: Permitted<ContextRead>) -> Result<Outcome, Cause> {
        self.inner.runs.read_context(permit).await
    }

    async fn write(&self, permit: Permitted<ContextWrite>) -> Result<Outcome, Cause> {
        self.inner.runs.write_context(permit).await
    }
}

/// The cause for callers that wait for a team which has ended.
pub(super) fn ended_error() -> Cause {
    failed_error("the team has ended")
}

/// The cause of a request that a failed actor of a team has lost.
pub(super) fn failed_error(message: &str) -> Cause {
    Cause::new(ErrorCode::AgentCrashed, message)
}

fn shutting_down_error() -> Cause {
    Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down and accepts no new requests")
}
