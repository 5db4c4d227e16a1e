//! The messages of the teams' actors and of their supervisor, with the types that they carry.

use std::collections::BTreeSet;

use greenroom_protocol::request::StartRun;
use greenroom_protocol::{AgentId, Cause, Reply, RequestId, RunId, TeamId};
use greenroom_rego::Grant;
use ractor::RpcReplyPort;
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::category::CategoryHandle;
use crate::dispatcher::RunTicket;
use crate::supervision::TaskOutcome;

/// The run that a team starts, with its grant and the port of its caller.
pub(super) struct TeamRunStart {
    pub(super) grant: Grant,
    pub(super) request: RequestId,
    pub(super) run: StartRun,
    pub(super) port: oneshot::Sender<Reply>,
}

/// Start arguments of a team's actor.
pub(super) struct TeamArgs {
    pub(super) team: TeamId,
    pub(super) run: RunId,
    pub(super) members: BTreeSet<AgentId>,
    /// `None` if the team is restored for a run that has started already.
    pub(super) run_start: Option<TeamRunStart>,
    pub(super) since: Instant,
    /// Held until the team is disbanded, also if its actor is restarted meanwhile.
    pub(super) ticket: Option<RunTicket>,
}

/// Reports the members of a team that was formed.
pub(super) type FormationSender = watch::Sender<Option<CategoryHandle>>;

/// Receives the members of a team that was formed.
pub(super) type FormationReceiver = watch::Receiver<Option<CategoryHandle>>;

/// Messages of a team.
pub(super) enum TeamMsg {
    /// Form.
    Begin(Box<TeamArgs>),
    /// The request for the run has ended.
    RunEnded(TaskOutcome<Box<Reply>>),
    /// A detached run has ended.
    Disband,
    /// Start the supervisor of the members again, whose restart has failed.
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
    /// True once it has been formed.
    pub formed: bool,
}

/// Messages of the team supervisor.
pub(super) enum TeamSupervisorMsg {
    /// Form this team.
    Form(Box<TeamArgs>, oneshot::Sender<Result<FormationReceiver, Cause>>),
    /// Restart the team of a run.
    Restart(RunId),
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
