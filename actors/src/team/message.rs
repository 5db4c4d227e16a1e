//! The messages of the teams' actors and of their supervisor, with the types that they carry.

use std::collections::BTreeSet;
use std::sync::Arc;

use greenroom_protocol::request::StartRun;
use greenroom_protocol::{AgentId, Cause, Reply, RequestId, RunId, TeamId};
use greenroom_rego::Grant;
use ractor::RpcReplyPort;
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::dispatcher::RunTicket;
use crate::supervision::TaskOutcome;

/// The run that a team starts, with its grant and the port of its caller.
pub(super) struct TeamRunStart {
    pub(super) grant: Grant,
    pub(super) request: RequestId,
    pub(super) run: StartRun,
    pub(super) port: oneshot::Sender<Reply>,
}

/// Why a team's actor is started.
pub(super) enum TeamOrigin {
    /// A request forms the team; it then starts this run.
    Request(TeamRunStart),
    /// The call of a step forms the team; it then starts this run, or resumes it if the run that calls it was resumed.
    /// A team that was formed for the call before is replaced.
    Call(TeamRunStart),
    /// A run that has started already was resumed.
    ResumedRun,
    /// The actor has failed, and its supervisor starts it again.
    Restart,
}

/// Start arguments of a team's actor.
pub(super) struct TeamArgs {
    pub(super) team: TeamId,
    pub(super) run: RunId,
    pub(super) members: BTreeSet<AgentId>,
    pub(super) origin: TeamOrigin,
    pub(super) since: Instant,
    /// Held until the team is disbanded, also if its actor is restarted meanwhile.
    pub(super) ticket: Option<RunTicket>,
}

/// The result of a formation; `None` while the team is being started.
pub(super) type Formation = Option<Result<(), Cause>>;

/// Reports the formation. All incarnations of a team's actor share it, so that a waiting caller is served by the next.
pub(super) type FormationSender = Arc<watch::Sender<Formation>>;

/// Receives the result of the formation.
pub(super) type FormationReceiver = watch::Receiver<Formation>;

/// Messages of a team.
pub(super) enum TeamMsg {
    /// Form.
    Begin(Box<TeamArgs>),
    /// The request for the run has ended.
    RunEnded(TaskOutcome<Box<Reply>>),
    /// A detached run has ended.
    Disband,
    /// The back-off of the members' supervisor is over: start it again.
    RestartMembers,
    /// Return introspection data.
    GetInfo(RpcReplyPort<TeamInfo>),
}

impl ractor::Message for TeamMsg {}

/// Introspection of a team's actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TeamInfo {
    /// The team.
    pub team: TeamId,
    /// The run.
    pub run: RunId,
    /// Its members.
    pub members: Vec<AgentId>,
    /// True once it has been formed, until it is disbanded.
    pub formed: bool,
}

/// Messages of the team supervisor.
pub(super) enum TeamSupervisorMsg {
    /// Form this team.
    Form(Box<TeamArgs>, oneshot::Sender<Result<FormationReceiver, Cause>>),
    /// Restart the team of a run.
    Restart(RunId),
    /// Disband the team of a parked run.
    Release(RunId, oneshot::Sender<()>),
    /// Return introspection data.
    GetInfo(RpcReplyPort<TeamSupervisorInfo>),
}

impl ractor::Message for TeamSupervisorMsg {}

/// Introspection of the team supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TeamSupervisorInfo {
    /// Teams that this pod hosts.
    pub teams: Vec<TeamId>,
}
