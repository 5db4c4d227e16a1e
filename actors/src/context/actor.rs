//! The actor of one shared context.
//!
//! ```text
//! Team
//! └── Context      its store and its fence; one request after the other
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

use super::convert::{beginning, read_outcome, snapshot_outcome, to_put, write_outcome};
use crate::supervision::{ChildEvent, LinkedTasks};

/// How often values whose time is up are removed; nobody is shown them in between.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// How long an actor may take to tell of itself, in milliseconds.
const OBSERVE_MS_MAX: u64 = 1_000;

/// Changes of a context, as its store shows them.
pub type ContextChanges = BoxStream<'static, Result<ContextEvent, ContextError>>;

type ReplyPort<T> = oneshot::Sender<Result<T, Cause>>;

/// What a context is told.
pub(super) enum ContextMsg {
    Read(Permitted<ContextRead>, ReplyPort<Outcome>),
    Write(Permitted<ContextWrite>, ReplyPort<Outcome>),
    Watch(Permitted<ContextRead>, Version, ReplyPort<ContextChanges>),
    Expire,
    Observe(RpcReplyPort<ContextInfo>),
}

impl ractor::Message for ContextMsg {}

/// What a context's actor tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContextInfo {
    /// Whose context.
    pub run: RunId,
    /// Reads answered since it was seated.
    pub reads: u64,
    /// Writes answered since it was seated, refused ones included.
    pub writes: u64,
}

/// The way to one context. Cheap to clone.
#[derive(Clone)]
pub struct ContextHandle {
    actor: ActorRef<ContextMsg>,
    clock: Arc<dyn Clock>,
}

impl ContextHandle {
    /// Reads some keys, or all of them.
    ///
    /// # Errors
    /// What the store says; [`ErrorCode::TimedOut`]; [`ErrorCode::UnknownRun`] if the context is gone.
    pub async fn read(&self, permit: Permitted<ContextRead>) -> Result<Outcome, Cause> {
        let left = permit.grant().deadline().remaining(self.clock.now());
        self.ask(left, |port| ContextMsg::Read(permit, port)).await
    }

    /// Writes one key, and answers its version.
    ///
    /// # Errors
    /// [`ErrorCode::VersionConflict`] if the key has another version than expected; [`ErrorCode::LeaseLost`] if
    /// another owner has the context; as [`ContextHandle::read`].
    pub async fn write(&self, permit: Permitted<ContextWrite>) -> Result<Outcome, Cause> {
        let left = permit.grant().deadline().remaining(self.clock.now());
        self.ask(left, |port| ContextMsg::Write(permit, port)).await
    }

    /// The changes after `after`, those that come later too.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    pub async fn watch(&self, permit: Permitted<ContextRead>, after: Version) -> Result<ContextChanges, Cause> {
        let left = permit.grant().deadline().remaining(self.clock.now());
        self.ask(left, |port| ContextMsg::Watch(permit, after, port)).await
    }

    /// What the actor tells of itself; `None` if it is gone.
    pub async fn observe(&self) -> Option<ContextInfo> {
        ractor::call_t!(self.actor, ContextMsg::Observe, OBSERVE_MS_MAX).ok()
    }

    #[cfg(test)]
    pub(crate) fn kill(&self) {
        self.actor.kill();
    }

    async fn ask<T>(&self, left: Duration, message: impl FnOnce(ReplyPort<T>) -> ContextMsg) -> Result<T, Cause> {
        let gone = || Cause::new(ErrorCode::UnknownRun, "the team whose context this is has gone");
        let (port, answer) = oneshot::channel();
        self.actor.send_message(message(port)).map_err(|_| gone())?;
        match tokio::time::timeout(left, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_closed)) => Err(gone()),
            Err(_elapsed) => Err(Cause::new(ErrorCode::TimedOut, "the context did not answer before the deadline")),
        }
    }
}

/// The actor of one context.
pub struct SharedContext {
    run: RunId,
    fence: Fence,
    store: Arc<dyn ContextStore>,
    clock: Arc<dyn Clock>,
}

/// What a context's actor holds.
struct ContextState {
    reads: u64,
    writes: u64,
    _ticks: LinkedTasks<()>,
}

impl SharedContext {
    /// Takes a context over, so that every writer before is kept out, and lets it begin with these
    /// values. They are the team's own, permitted with the team.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] if a name cannot be a key; what the store says.
    pub async fn open(
        run: RunId,
        beginning_with: Values,
        store: Arc<dyn ContextStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Cause> {
        let puts = beginning(beginning_with)?;
        let fence = store.claim(&run).await.map_err(|error| error.cause())?;
        for put in puts {
            store.write(&run, fence, put, clock.now()).await.map_err(|error| error.cause())?;
        }
        Ok(Self { run, fence, store, clock })
    }

    /// Spawns the actor under `parent`.
    ///
    /// # Errors
    /// What ractor says, if the parent is stopping.
    pub async fn start_linked(self, parent: ActorCell) -> Result<(ContextHandle, ActorCell), SpawnErr> {
        let clock = self.clock.clone();
        let (actor, _) = Actor::spawn_linked(None, SharedContextActor(self), (), parent).await?;
        let cell = actor.get_cell();
        Ok((ContextHandle { actor, clock }, cell))
    }
}

/// The actor behind [`ContextActor`]; its messages stay in this module.
struct SharedContextActor(SharedContext);

impl Actor for SharedContextActor {
    type Msg = ContextMsg;
    type State = ContextState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<ContextMsg>, (): ()) -> Result<ContextState, ActorProcessingErr> {
        let mut ticks = LinkedTasks::default();
        ticks.run_every((), EXPIRE_EVERY, move || myself.send_message(ContextMsg::Expire).is_ok());
        Ok(ContextState { reads: 0, writes: 0, _ticks: ticks })
    }

    async fn handle(
        &self,
        myself: ActorRef<ContextMsg>,
        message: ContextMsg,
        state: &mut ContextState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            // Who has gone away does not need the answer, in each of these.
            ContextMsg::Read(permit, port) => drop(port.send(self.0.read(permit, state).await)),
            ContextMsg::Write(permit, port) => drop(port.send(self.0.write(permit, state).await)),
            ContextMsg::Watch(permit, after, port) => drop(port.send(self.0.watch(permit, after))),
            ContextMsg::Expire => self.0.expire(&myself).await,
            ContextMsg::Observe(port) => drop(port.send(self.0.info(state))),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<ContextMsg>,
        event: SupervisionEvent,
        _: &mut ContextState,
    ) -> Result<(), ActorProcessingErr> {
        // A context has no children; the event is read so that ractor's default does not stop it.
        let _ = ChildEvent::from_event(event);
        Ok(())
    }
}

impl SharedContext {
    async fn read(&self, permit: Permitted<ContextRead>, state: &mut ContextState) -> Result<Outcome, Cause> {
        let (_, read) = permit.redeem();
        self.owns(&read.run)?;
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
        self.owns(&write.run)?;
        state.writes = state.writes.saturating_add(1);
        let written = self.store.write(&self.run, self.fence, to_put(write), self.clock.now()).await;
        written.map(write_outcome).map_err(|error| error.cause())
    }

    fn watch(&self, permit: Permitted<ContextRead>, after: Version) -> Result<ContextChanges, Cause> {
        let (_, read) = permit.redeem();
        self.owns(&read.run)?;
        Ok(self.store.watch(&self.run, after))
    }

    async fn expire(&self, myself: &ActorRef<ContextMsg>) {
        match self.store.expire(&self.run, self.fence, self.clock.now()).await {
            Ok(_) => {}
            Err(ContextError::Fenced) => myself.stop(Some("fenced".to_owned())),
            Err(error) => tracing::warn!(run.id = %self.run, error = %error, "context could not be swept"),
        }
    }

    /// A permit for another team's context means nothing here.
    fn owns(&self, run: &RunId) -> Result<(), Cause> {
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
