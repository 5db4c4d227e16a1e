//! The actor of one shared context.
//!
//! ```text
//! Team
//! └── SharedContext    its store and its fence; one request after the other
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use greenroom_protocol::request::{ContextRead, ContextWrite};
use greenroom_protocol::{Cause, Clock, ErrorCode, Outcome, RunId, Values};
use greenroom_registry::context::{ContextError, ContextEvent, ContextStore, Version};
use greenroom_registry::runs::Fence;
use greenroom_rego::Permitted;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use serde::Serialize;
use tokio::sync::oneshot;

use super::convert::{initial_puts, read_outcome, snapshot_outcome, to_put, write_outcome};
use crate::supervision::{ChildEvent, LinkedTasks};

/// Interval between two removals of expired values; reads never return expired values.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for introspection of an actor, in milliseconds.
const INFO_WAIT_MS_MAX: u64 = 1_000;

/// Changes of a context, as its store reports them.
pub type ContextChanges = BoxStream<'static, Result<ContextEvent, ContextError>>;

type ReplyPort<T> = oneshot::Sender<Result<T, Cause>>;

/// Messages of a context.
pub(crate) enum ContextMsg {
    Read(Permitted<ContextRead>, ReplyPort<Outcome>),
    Write(Permitted<ContextWrite>, ReplyPort<Outcome>),
    Watch(Permitted<ContextRead>, Version, ReplyPort<ContextChanges>),
    Expire,
    GetInfo(RpcReplyPort<ContextInfo>),
}

impl ractor::Message for ContextMsg {}

/// Introspection of a context's actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContextInfo {
    /// The run of the context.
    pub run: RunId,
    /// Reads since its start.
    pub reads: u64,
    /// Writes since its start, including rejected ones.
    pub writes: u64,
}

/// The handle of one context. Cheap to clone.
#[derive(Clone)]
pub struct ContextHandle {
    actor: ActorRef<ContextMsg>,
    clock: Arc<dyn Clock>,
}

impl ContextHandle {
    /// Reads some keys, or all of them.
    ///
    /// # Errors
    /// An error of the store; [`ErrorCode::TimedOut`]; [`ErrorCode::AgentCrashed`] if the actor has stopped.
    pub async fn read(&self, permit: Permitted<ContextRead>) -> Result<Outcome, Cause> {
        let timeout = permit.grant().deadline().remaining(self.clock.now());
        self.request(timeout, |port| ContextMsg::Read(permit, port)).await
    }

    /// Writes one key and returns its version.
    ///
    /// # Errors
    /// [`ErrorCode::VersionConflict`] if the key has another version than expected; [`ErrorCode::LeaseLost`] if
    /// another pod owns the context; as [`ContextHandle::read`].
    pub async fn write(&self, permit: Permitted<ContextWrite>) -> Result<Outcome, Cause> {
        let timeout = permit.grant().deadline().remaining(self.clock.now());
        self.request(timeout, |port| ContextMsg::Write(permit, port)).await
    }

    /// The changes after `after`, including future ones.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    pub async fn watch(&self, permit: Permitted<ContextRead>, after: Version) -> Result<ContextChanges, Cause> {
        let timeout = permit.grant().deadline().remaining(self.clock.now());
        self.request(timeout, |port| ContextMsg::Watch(permit, after, port)).await
    }

    /// Introspection of the actor; `None` if it has stopped.
    pub async fn info(&self) -> Option<ContextInfo> {
        ractor::call_t!(self.actor, ContextMsg::GetInfo, INFO_WAIT_MS_MAX).ok()
    }

    #[cfg(test)]
    pub(crate) fn kill(&self) {
        self.actor.kill();
    }

    async fn request<T>(
        &self,
        timeout: Duration,
        message: impl FnOnce(ReplyPort<T>) -> ContextMsg,
    ) -> Result<T, Cause> {
        let stopped_error = || Cause::new(ErrorCode::AgentCrashed, "the actor of the team's context has stopped");
        let (port, result) = oneshot::channel();
        self.actor.send_message(message(port)).map_err(|_| stopped_error())?;
        match tokio::time::timeout(timeout, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_closed)) => Err(stopped_error()),
            Err(_elapsed) => Err(Cause::new(ErrorCode::TimedOut, "the context did not reply before the deadline")),
        }
    }
}

/// The actor of one context.
pub(crate) struct SharedContext {
    run: RunId,
    fence: Fence,
    store: Arc<dyn ContextStore>,
    clock: Arc<dyn Clock>,
}

/// State of a context's actor.
pub(crate) struct ContextState {
    reads: u64,
    writes: u64,
    _tasks: LinkedTasks<()>,
}

impl SharedContext {
    /// Claims a context, which fences every earlier writer, and writes its initial values. They belong to the team
    /// and are permitted with it.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] if a name cannot be a key; an error of the store.
    pub(crate) async fn open(
        run: RunId,
        initial_values: Values,
        store: Arc<dyn ContextStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Cause> {
        let puts = initial_puts(initial_values)?;
        let fence = store.claim(&run).await.map_err(|error| error.cause())?;
        for put in puts {
            store.write(&run, fence, put, clock.now()).await.map_err(|error| error.cause())?;
        }
        Ok(Self { run, fence, store, clock })
    }

    /// Starts the actor, linked to `parent`.
    ///
    /// # Errors
    /// The error of ractor, if the parent is stopping.
    pub(crate) async fn start_linked(self, parent: ActorCell) -> Result<(ContextHandle, ActorCell), SpawnErr> {
        let clock = self.clock.clone();
        let (actor, _) = Actor::spawn_linked(None, self, (), parent).await?;
        let cell = actor.get_cell();
        Ok((ContextHandle { actor, clock }, cell))
    }
}

impl Actor for SharedContext {
    type Msg = ContextMsg;
    type State = ContextState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<ContextMsg>, (): ()) -> Result<ContextState, ActorProcessingErr> {
        let mut ticks = LinkedTasks::default();
        ticks.run_every((), EXPIRE_INTERVAL, move || myself.send_message(ContextMsg::Expire).is_ok());
        Ok(ContextState { reads: 0, writes: 0, _tasks: ticks })
    }

    async fn handle(
        &self,
        myself: ActorRef<ContextMsg>,
        message: ContextMsg,
        state: &mut ContextState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            // In each of these, the caller may have dropped its request.
            ContextMsg::Read(permit, port) => drop(port.send(self.read(permit, state).await)),
            ContextMsg::Write(permit, port) => drop(port.send(self.write(permit, state).await)),
            ContextMsg::Watch(permit, after, port) => drop(port.send(self.watch(permit, after))),
            ContextMsg::Expire => self.expire(&myself).await,
            ContextMsg::GetInfo(port) => drop(port.send(self.info(state))),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<ContextMsg>,
        event: SupervisionEvent,
        _: &mut ContextState,
    ) -> Result<(), ActorProcessingErr> {
        // A context has no children; this handler replaces ractor's default, which would stop the actor.
        let _ = ChildEvent::from_event(event);
        Ok(())
    }
}

impl SharedContext {
    async fn read(&self, permit: Permitted<ContextRead>, state: &mut ContextState) -> Result<Outcome, Cause> {
        let (_, read) = permit.redeem();
        self.check_run(&read.run)?;
        state.reads = state.reads.saturating_add(1);
        let now = self.clock.now();
        if read.keys.is_empty() {
            let snapshot = self.store.snapshot(&self.run, now).await.map_err(|error| error.cause())?;
            return Ok(snapshot_outcome(snapshot));
        }
        let values = self.store.read(&self.run, &read.keys, now).await.map_err(|error| error.cause())?;
        Ok(read_outcome(&read.keys, values))
    }

    async fn write(&self, permit: Permitted<ContextWrite>, state: &mut ContextState) -> Result<Outcome, Cause> {
        let (_, write) = permit.redeem();
        self.check_run(&write.run)?;
        state.writes = state.writes.saturating_add(1);
        let written = self.store.write(&self.run, self.fence, to_put(write), self.clock.now()).await;
        written.map(write_outcome).map_err(|error| error.cause())
    }

    fn watch(&self, permit: Permitted<ContextRead>, after: Version) -> Result<ContextChanges, Cause> {
        let (_, read) = permit.redeem();
        self.check_run(&read.run)?;
        Ok(self.store.watch(&self.run, after))
    }

    async fn expire(&self, myself: &ActorRef<ContextMsg>) {
        match self.store.expire(&self.run, self.fence, self.clock.now()).await {
            Ok(_) => {}
            Err(ContextError::Fenced) => myself.stop(Some("fenced".to_owned())),
            Err(error) => {
                tracing::warn!(run.id = %self.run, error = %error, "expired values of a context could not be removed")
            }
        }
    }

    /// Rejects a permit for another team's context.
    fn check_run(&self, run: &RunId) -> Result<(), Cause> {
        if *run == self.run {
            Ok(())
        } else {
            Err(Cause::new(ErrorCode::Internal, "the permit is for another context"))
        }
    }

    fn info(&self, state: &ContextState) -> ContextInfo {
        ContextInfo { run: self.run.clone(), reads: state.reads, writes: state.writes }
    }
}
