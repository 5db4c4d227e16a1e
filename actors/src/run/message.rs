//! The messages of the runs' actors and of their supervisor, with the types that they carry.

use std::sync::{Arc, Weak};

use futures::future::BoxFuture;
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::request::ContextWrite;
use greenroom_protocol::{Cause, ContextKey, Outcome, Reply, RunId, Timestamp};
use greenroom_registry::context::{ContextData, Snapshot};
use greenroom_registry::journal::{Receipt, Seq};
use greenroom_registry::runs::Fence;
use greenroom_rego::Permitted;
use ractor::RpcReplyPort;
use serde::Serialize;
use tokio::sync::oneshot;

use super::effects::{EffectContext, EffectOutcome};
use super::first_calls::FirstCalls;
use super::machine::{CallWaits, Decision, Event, State};
use super::sent_message::SentWrite;
use super::task::Task;
use super::tree::RunTree;
use super::user_signal::UserSignal;
use crate::concurrency::OwnedTickets;
use crate::dispatcher::RunTicket;
use crate::supervision::TaskOutcome;

/// Progress of a run, for callers that wait for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// The first entry that this process appended is durable.
    pub(super) accepted: bool,
    /// The final reply, once the run has ended.
    pub(super) reply: Option<Arc<Reply>>,
}

/// The first action of a run's actor.
pub(super) enum FirstAction {
    /// Release the decision of its start, which is in the journal already, and continue the calls that have begun.
    Start(Box<Decision>, Receipt, FirstCalls),
    /// Process the event that resumes it.
    Resume(Box<Event>),
}

/// Start arguments of a run's actor. Its id is that of the start in `ctx`.
pub(super) struct RunArgs {
    /// The number of the last entry in the journal.
    pub(super) seq: Seq,
    /// The state that the journal gives.
    pub(super) state: State,
    /// The context of the team that was formed for it.
    pub(super) context: Option<ContextData>,
    /// The first action.
    pub(super) first: FirstAction,
    /// The run whose call activates it; none for a root, and for a run whose caller has ended.
    pub(super) caller: Option<RunId>,
    pub(super) ctx: EffectContext,
    /// Released when the actor of the run stops.
    pub(super) tickets: OwnedTickets,
}

impl RunArgs {
    /// The run that is started or resumed.
    pub(super) fn run(&self) -> &RunId {
        &self.ctx.started.run
    }
}

/// Receives the status of a run after a signal.
pub(super) type SignalPort = oneshot::Sender<Result<RunStatus, Cause>>;

/// Receives the outcome of a write of the context.
pub(super) type WritePort = oneshot::Sender<Result<Outcome, Cause>>;

/// Why the view of a context could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadFailure {
    /// It has lost something: its owner makes it anew.
    Lost,
    /// Its store failed.
    Store,
}

/// A read that the view could not serve.
pub(super) struct FailedRead {
    pub(super) failure: ReadFailure,
    /// The keys, or none for all.
    pub(super) keys: Vec<ContextKey>,
}

/// Messages of a run's actor.
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the frequent one, and a box would be an allocation"
)]
pub(super) enum RunMsg {
    /// Start or resume.
    Begin,
    /// A linked task has ended with this outcome.
    TaskEnded(Task, TaskOutcome<EffectOutcome>),
    /// A user cancels, approves or rejects.
    Signal(UserSignal, SignalPort),
    /// A permitted write of the team's context.
    WriteContext(Permitted<ContextWrite>, WritePort),
    /// A write of the team's context that another pod has permitted and sent.
    RecordWrite(Box<SentWrite>, WritePort),
    /// The view of the context could not be read: reply with the values of the owner.
    ReadContext(FailedRead, oneshot::Sender<Result<Snapshot, Cause>>),
    /// A call below took one of the retries of the tree; only its root has this message.
    RetryTaken,
    /// A run that this one called waits for other approvals than before.
    CallWaits(RunId, CallWaits),
    /// End the run for a cause from outside.
    Terminate(Cause),
    /// Stop without a further write: another pod owns the tree, or the next attempt to resume it will.
    Fenced,
    /// The run has only waited for a while; only the root of a tree has this message.
    WaitsLong,
    /// Stop if the run only waits, and reply until when; none if it does not.
    Park(oneshot::Sender<Option<ParkedRun>>),
    /// Return introspection data.
    GetInfo(RpcReplyPort<RunInfo>),
}

impl ractor::Message for RunMsg {}

/// A run that has stopped because it only waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ParkedRun {
    /// When it continues without a signal; none if it does not.
    pub(super) wake_at: Option<Timestamp>,
}

/// Introspection of a run's actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunInfo {
    /// The run.
    pub run: RunId,
    /// Its status.
    pub status: RunStatus,
    /// Number of entries in its journal.
    pub entries: u64,
    /// Linked tasks that run, including timers.
    pub tasks: usize,
}

/// Messages of the run supervisor.
pub(super) enum RunSupervisorMsg {
    /// Start the actor of this run.
    Activate(Box<RunArgs>, oneshot::Sender<Result<(), Cause>>),
    /// Complete the creation of a run whose caller has gone.
    ContinueCreation(ContinuedCreation),
    /// Renew the lease of this tree until it is dropped.
    RenewLease(Weak<RunTree>),
    /// Release the lease of a tree, because it was dropped.
    ReleaseLease(RunId, Fence),
    /// Stop the actors of a tree that this pod does not own any more.
    TreeLost(RunId, Fence),
    /// Stop the actors of a tree that only waits, and end the ownership of it.
    Park(Arc<RunTree>),
    /// End a run for this cause that may have no actor.
    End(UnneededRun),
    /// A linked task of the supervisor has ended.
    TaskEnded(SupervisorTask),
    /// Return introspection data.
    GetInfo(RpcReplyPort<RunSupervisorInfo>),
}

impl ractor::Message for RunSupervisorMsg {}

/// The creation of a run that its caller has dropped.
pub(super) struct ContinuedCreation {
    pub(super) run: RunId,
    pub(super) work: BoxFuture<'static, ()>,
}

/// A run of a claimed tree, until the request that resumes it is permitted.
pub(super) struct PendingResume {
    pub(super) tree: Arc<RunTree>,
    pub(super) ticket: Option<RunTicket>,
    /// The cause by which it ends once it is resumed; it may have steps to compensate.
    pub(super) end: Option<Cause>,
}

/// A run that its caller does not need any more.
pub(super) struct UnneededRun {
    pub(super) run: RunId,
    /// The hosted run that called it, if that is known.
    pub(super) caller: Option<RunId>,
    pub(super) tree: Arc<RunTree>,
    pub(super) cause: Cause,
}

/// Identifies a linked task of the run supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum SupervisorTask {
    /// The creation with this number: a request and its repetition may both create one run.
    Create(u64),
    Lease(RunId, Fence),
    Release(RunId, Fence),
    Fail(RunId),
    End(RunId),
    Park(RunId, Fence),
}

/// Introspection of the run supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunSupervisorInfo {
    /// Runs that this pod hosts.
    pub hosted: usize,
}
