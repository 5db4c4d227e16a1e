//! The messages of the teams' actors and of their supervisor, with the types that they carry.

use std::collections::BTreeSet;
use std::sync::Arc;

use greenroom_protocol::request::StartRun;
use greenroom_protocol::{AgentId, Cause, Reply, RequestId, RunId, TeamId, Values};
use greenroom_rego::Grant;
use ractor::RpcReplyPort;
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::context::ContextHandle;
use crate::dispatcher::RunTicket;
use crate::supervision::{ChildKind, TaskOutcome};

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
    pub(super) context: Values,
    pub(super) origin: TeamOrigin,
    pub(super) since: Instant,
    /// Held until the team is disbanded, also if its actor is restarted meanwhile.
    pub(super) ticket: Option<RunTicket>,
}

/// The result of a formation, with the context of the team; `None` while the team, or its context, is being started.
pub(super) type Formation = Option<Result<ContextHandle, Cause>>;

/// Reports the formation. All incarnations of a team's actor share it, so that a waiting caller is served by the next.
pub(super) type FormationSender = Arc<watch::Sender<Formation>>;

/// Receives the result of the formation.
pub(super) type FormationReceiver = watch::Receiver<Formation>;

/// A child of a team's actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TeamChild {
    /// The shared context.
    Context,
    /// The supervisor of the members.
    Members,
}

impl TeamChild {
    /// Its kind, which selects its restart policy.
    pub(super) const fn kind(self) -> ChildKind {
        match self {
            Self::Context => ChildKind::Context,
            Self::Members => ChildKind::Members,
        }
    }
}

/// Messages of a team.
pub(super) enum TeamMsg {
    /// Form.
    Begin(Box<TeamArgs>),
    /// The request for the run has ended.
    RunEnded(TaskOutcome<Box<Reply>>),
    /// A detached run has ended.
    Disband,
    /// The back-off of a child is over: start it again.
    Restart(TeamChild),
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
