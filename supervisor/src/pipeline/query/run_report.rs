//! The report of one run: its record, its events, and what it waits for.

use greenroom_actors::run::machine::State;
use greenroom_protocol::event::{EventNumber, RunEvent, RunStatus};
use greenroom_protocol::journal::{Entry, ResultRef};
use greenroom_protocol::limits::PAGE_ROWS_MAX;
use greenroom_protocol::{Cause, ErrorCode, Json, Outcome, RunId, Timestamp};
use greenroom_registry::journal::{JournalRecord, Seq};
use greenroom_registry::runs::RunRecord;
use serde_json::json;

use super::QueryHandler;
use crate::pipeline::reply::query_outcome;

/// Events of a run in one reply; the rest is on the next page.
const EVENTS_MAX: usize = 50_000;

/// A part of a journal, as its readers see it.
struct JournalPage {
    events: Vec<RunEvent>,
    /// The last entry of this page, if there are more than one reply may have.
    next: Option<u64>,
    /// The state of the run after the entries of this page.
    state: State,
}

impl QueryHandler {
    pub(super) async fn run(&self, run: &RunId) -> Result<Outcome, Cause> {
        let record = self.stores.runs.get(run).await.map_err(|error| error.cause())?;
        let record = record.ok_or_else(|| Cause::new(ErrorCode::UnknownRun, format!("there is no run {run}")))?;
        let reply = self.stores.runs.reply(run).await.map_err(|error| error.cause())?;
        let page = self.journal(run, 0).await?;
        let context = page.state.started().map(|started| match &started.context {
            ResultRef::Inline(values) => json!(values),
            ResultRef::Stored(artifact) => artifact.to_json(),
        });
        let mut report = self.run_json(&record).await?;
        // A page that is not the last one does not have the present state.
        if let (Some(members), None, false) = (report.as_object_mut(), page.next, record.status.is_terminal()) {
            members.extend(progress(&page.state, self.clock.now()));
        }
        Ok(query_outcome([
            ("run", report),
            ("context", context.unwrap_or_default()),
            ("events", json!(page.events)),
            ("next", json!(page.next)),
            ("reply", json!(reply)),
        ]))
    }

    /// The record of a run as JSON. That of a dead one has why and since when it is dead.
    pub(super) async fn run_json(&self, record: &RunRecord) -> Result<Json, Cause> {
        let mut row = record_json(record);
        if record.status == RunStatus::Dead
            && let Some(members) = row.as_object_mut()
        {
            // A dead run has no later entry.
            let before = Seq(record.seq.0.saturating_sub(1));
            let last = self.stores.journal.read(&record.run, before, 1).await.map_err(|error| error.cause())?;
            for JournalRecord { at, entry, .. } in &last {
                members.extend(dead_members(*at, entry));
            }
        }
        Ok(row)
    }

    pub(super) async fn events(&self, run: &RunId, after: EventNumber) -> Result<Outcome, Cause> {
        let mut page = self.journal(run, after.entry_before()).await?;
        page.events.retain(|event| event.number() > after);
        Ok(query_outcome([("events", json!(page.events)), ("next", json!(page.next))]))
    }

    /// The events of a run after this entry.
    async fn journal(&self, run: &RunId, after: u64) -> Result<JournalPage, Cause> {
        let mut page = JournalPage { events: Vec::new(), next: None, state: State::default() };
        let mut after = Seq(after);
        loop {
            let records = self.stores.journal.read(run, after, PAGE_ROWS_MAX).await.map_err(|error| error.cause())?;
            for record in &records {
                page.state.apply(record.at, &record.entry);
                page.events.extend(RunEvent::list_from_entry(run, record.seq.0, record.at, &record.entry));
            }
            let Some(last) = records.last().filter(|_| records.len() == PAGE_ROWS_MAX as usize) else {
                return Ok(page);
            };
            after = last.seq;
            if page.events.len() >= EVENTS_MAX {
                page.next = Some(after.0);
                return Ok(page);
            }
        }
    }
}

/// What a run that has not ended waits for, and how much time it has. A run that only waits has no
/// deadline but that of its request; its time passes again when it continues.
fn progress(state: &State, now: Timestamp) -> impl Iterator<Item = (String, Json)> {
    let deadline = match state.is_paused() {
        true => state.request_deadline(),
        false => state.effective_deadline(),
    };
    let time_left_ms = state.time_left(now).map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    let members = [
        ("deadline", json!(deadline)),
        ("time_left_ms", json!(time_left_ms)),
        ("pending_approvals", json!(state.pending_approvals())),
        ("pending_waits", json!(state.pending_waits())),
    ];
    members.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value))
}

/// What is known of a dead run by its last entry; nothing if it has been continued meanwhile.
fn dead_members(at: Timestamp, entry: &Entry) -> Vec<(String, Json)> {
    let Entry::RunGivenUp { cause, failures, attempts } = entry else { return Vec::new() };
    let members = [
        ("dead_since", json!(at)),
        ("failures", json!(failures)),
        ("attempts", json!(attempts)),
        ("reason", json!(cause.message)),
    ];
    members.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The record of a run as JSON.
fn record_json(record: &RunRecord) -> Json {
    json!({
        "run_id": record.run, "workflow_id": record.workflow, "version": record.version, "team_id": record.team,
        "status": record.status, "owner": record.owner.user, "tenant": record.owner.tenant, "parent": record.parent,
        "created": record.created, "updated": record.updated, "entries": record.seq.0,
    })
}
