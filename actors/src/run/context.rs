//! The shared context of a team, which belongs to the run that the team was formed for: its actor decides each change in
//! order, the journal has it, and what members and users read is a view that the actor writes after the receipt. The runs
//! that this run calls in the same team read the view too, and their writes are requests to it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use greenroom_definitions::named_values::Names;
use greenroom_protocol::journal::{Entry, RunStarted};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{ContextChange, ContextWrite};
use greenroom_protocol::{
    CallKey, Cause, ContextKey, ErrorCode, EventId, Json, Outcome, RequestId, RunId, Timestamp, Values,
};
use greenroom_registry::context::{ContextData, ContextPut, Snapshot, Version, ViewError};
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::Fence;
use tokio::sync::watch;

use super::RunEnv;
use super::artifacts::RunArtifacts;
use super::machine::{CallResult, Event};
use super::values::fetch;

/// Name of the output that contains the version of a write.
const VERSION_OUTPUT: &str = "version";
/// Entries of a journal that one read returns.
const REPLAY_ENTRIES_MAX: u32 = 1_000;
/// The initial values belong to the first entry of the run.
const INITIAL_VERSION: Version = Version(1);

/// What is known of the changes of a context without its values.
#[derive(Debug)]
pub(super) struct ContextChanges {
    /// The version of the last change, which every read of the view carries.
    last: watch::Sender<u64>,
    /// The requests of handlers that have written values, also before the run was resumed.
    handler_writes: Mutex<BTreeSet<EventId>>,
}

impl ContextChanges {
    fn new(version: Version, handler_writes: BTreeSet<EventId>) -> Self {
        Self { last: watch::Sender::new(version.0), handler_writes: Mutex::new(handler_writes) }
    }

    pub(super) fn last(&self) -> Version {
        Version(*self.last.borrow())
    }

    /// Notifies of each change, once it is in the view.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// True if the handler of this call has written the key itself. What it has written is durable before it learns so.
    pub(super) fn is_written_by(&self, call: &CallKey, key: &ContextKey) -> bool {
        let request = EventId::for_request(&handler_write_id(call, key));
        self.handler_writes.lock().unwrap_or_else(PoisonError::into_inner).contains(&request)
    }

    fn add_handler_write(&self, request: &EventId) {
        self.handler_writes.lock().unwrap_or_else(PoisonError::into_inner).insert(request.clone());
    }

    fn set_last(&self, version: Version) {
        self.last.send_replace(version.0);
    }
}

/// The id of the request by which the handler of a call writes a key of the context: each attempt of the call has the same,
/// so the end of its step finds in the journal that it has.
pub(crate) fn handler_write_id(call: &CallKey, key: &ContextKey) -> RequestId {
    call.child(&format!("context[{key}]")).request_id(1)
}

/// The context of a run, as its actor has it.
pub(super) struct RunContext {
    env: Arc<RunEnv>,
    run: RunId,
    fence: Fence,
    data: ContextData,
    changes: Arc<ContextChanges>,
}

/// The context with which a team's run starts.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] if a name cannot be a key; [`ErrorCode::PayloadTooLarge`].
pub(crate) fn initial_context(values: &Values) -> Result<ContextData, Cause> {
    let entry = |(name, value): (&String, &Json)| {
        let invalid_key =
            |error| Cause::new(ErrorCode::InvalidInput, format!("the context cannot have a key {name:?}: {error}"));
        Ok((ContextKey::new(name).map_err(invalid_key)?, value.clone()))
    };
    let values = values.iter().map(entry).collect::<Result<Vec<_>, Cause>>()?;
    ContextData::new(values, INITIAL_VERSION).map_err(|error| error.cause())
}

/// Replays the context of a run from its journal; `None` if no team was formed for it.
///
/// # Errors
/// An error of the stores.
pub(super) async fn replay_context(
    env: &RunEnv,
    started: &RunStarted,
    artifacts: RunArtifacts<'_>,
) -> Result<Option<ContextData>, Cause> {
    if started.team_run.as_ref() != Some(&started.run) {
        return Ok(None);
    }
    let mut data = initial_context(&fetch(&started.context, &Names::All, artifacts).await?)?;
    let mut after = Seq(0);
    loop {
        let records = env.stores.journal.read(&started.run, after, REPLAY_ENTRIES_MAX).await;
        let records = records.map_err(|error| error.cause())?;
        let Some(last) = records.last().map(|record| record.seq) else { return Ok(Some(data)) };
        for record in &records {
            if let Entry::ContextChanged { key, change, until, .. } = &record.entry {
                data.apply(Version(record.seq.0), record.at, key, change, *until);
            }
        }
        after = last;
    }
}

impl RunContext {
    /// The context of a run whose handlers have made these writes.
    pub(super) fn new(
        env: Arc<RunEnv>,
        run: RunId,
        fence: Fence,
        data: ContextData,
        handler_writes: BTreeSet<EventId>,
    ) -> Self {
        let changes = Arc::new(ContextChanges::new(data.version(), handler_writes));
        Self { env, run, fence, data, changes }
    }

    pub(super) const fn changes(&self) -> &Arc<ContextChanges> {
        &self.changes
    }

    /// Claims the view, at the start of the actor and whenever the view has lost something.
    pub(super) async fn claim_view(&self) -> Result<(), ViewError> {
        let RunEnv { stores, clock, .. } = &*self.env;
        stores.context.claim(&self.run, self.fence, &self.data, clock.now()).await
    }

    /// Returns the values of these keys, or of all if there are none.
    pub(super) fn snapshot(&self, keys: &[ContextKey], now: Timestamp) -> Snapshot {
        self.data.snapshot(keys, now)
    }

    /// Decides a write.
    fn check(&self, put: &ContextPut, now: Timestamp) -> Result<(), Cause> {
        self.data.check(put, now).map_err(|error| error.cause())
    }

    /// The event of a call, which has failed if what it provides does not fit into the context.
    pub(super) fn check_provided(&self, event: Event, now: Timestamp) -> Event {
        let Event::CallCompleted { key, attempt, result: CallResult::Completed { result, hash, usage, provided } } =
            event
        else {
            return event;
        };
        let rejected = provided.iter().find_map(|(key, value)| {
            let change = ContextChange::Put(value.clone());
            self.check(&ContextPut { key: key.clone(), expect: None, change, until: None }, now).err()
        });
        let result = match rejected {
            Some(cause) => CallResult::Failed { cause, usage },
            None => CallResult::Completed { result, hash, usage, provided },
        };
        Event::CallCompleted { key, attempt, result }
    }

    /// Applies the changes of durable entries to the data and to the view.
    pub(super) async fn apply(&mut self, after: Seq, entries: &[Entry], at: Timestamp) -> Result<(), ViewError> {
        let before = self.data.version();
        let mut changes = Vec::new();
        for (seq, entry) in (after.0.saturating_add(1)..).zip(entries) {
            if let Entry::ContextChanged { key, change, until, request, .. } = entry {
                changes.push((key.clone(), self.data.apply(Version(seq), at, key, change, *until)));
                if let Some(request) = request {
                    self.changes.add_handler_write(request);
                }
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let applied = self.env.stores.context.apply(&self.run, self.fence, before, &changes, at).await;
        self.changes.set_last(self.data.version());
        match applied {
            Err(ViewError::Lost) => self.claim_view().await,
            applied => applied,
        }
    }

    /// Removes the view of a run that has ended.
    pub(super) async fn remove_view(&self) {
        if let Err(error) = self.env.stores.context.remove(&self.run, self.fence).await {
            tracing::debug!(run.id = %self.run, error = %error, "the view of a context is removed when it expires");
        }
    }

    /// The event of a permitted write, with its id if another pod has sent it, and with its request if the handler of an
    /// agent writes.
    pub(super) fn write_event(
        &self,
        write: ContextWrite,
        id: Option<EventId>,
        request: Option<EventId>,
        now: Timestamp,
    ) -> Result<Event, Cause> {
        if write.run != self.run {
            return Err(Cause::new(ErrorCode::Internal, "the permit is for another context"));
        }
        let put = context_put(write, now);
        self.check(&put, now)?;
        let ContextPut { key, change, until, .. } = put;
        Ok(Event::ContextWritten { key, change, until, id, request })
    }
}

/// What a write puts into the context.
pub(super) fn context_put(write: ContextWrite, now: Timestamp) -> ContextPut {
    let until = write.ttl_ms.map(|ttl| now.saturating_add(Duration::from_millis(ttl)));
    let ContextWrite { key, expect, change, .. } = write;
    ContextPut { key, expect: expect.map(Version), change, until }
}

/// The version that a write has created.
pub(super) fn write_outcome(version: Seq) -> Outcome {
    outcome(Values::from([(VERSION_OUTPUT.to_owned(), Json::from(version.0))]))
}

/// The values of a context, by key.
pub(super) fn snapshot_outcome(snapshot: Snapshot) -> Outcome {
    outcome(snapshot.values.into_iter().map(|(key, value)| (key.to_string(), value.value)).collect())
}

/// An outcome that has cost nothing.
pub(super) fn outcome(outputs: Values) -> Outcome {
    Outcome { outputs, usage: Usage::default() }
}

/// The reply to a request for the context of a run that has none here.
pub(super) fn no_context_error(run: &RunId) -> Cause {
    Cause::new(ErrorCode::UnknownRun, format!("this pod hosts no team of the run `{run}`"))
}

/// The reply to a write whose run has stopped for another owner.
pub(super) fn lease_lost_error() -> Cause {
    Cause::new(ErrorCode::LeaseLost, "another owner has claimed the run; the value was not written")
}
