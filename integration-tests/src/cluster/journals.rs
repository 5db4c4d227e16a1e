//! Reads the journals of all runs from the database, as the checker needs them.

use std::collections::BTreeMap;

use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::{CallKey, RunId};
use sqlx::postgres::PgPool;

use super::history::{Event, Record, RunEnd, RunJournal};
use super::observer::Observer;

const ENTRIES: &str = "SELECT r.run, r.root, j.seq, j.entry FROM runs r JOIN journal j ON j.run = r.number \
     ORDER BY r.number, j.seq";

/// Reads every journal, by the id of its run.
///
/// # Errors
/// If the server is away, or an entry cannot be read.
pub async fn read_journals(pool: &PgPool, observer: &Observer) -> anyhow::Result<BTreeMap<String, RunJournal>> {
    let rows: Vec<(String, String, i64, String)> = sqlx::query_as(ENTRIES).fetch_all(pool).await?;
    let mut journals: BTreeMap<String, RunJournal> = BTreeMap::new();
    for (run, root, seq, entry) in rows {
        let seq = u64::try_from(seq)?;
        let entry: Entry = serde_json::from_str(&entry)?;
        let record = Record { seq, window: observer.window(&run, seq), event: event_of(&RunId::new(&run)?, &entry) };
        let new = || RunJournal { root, owner: String::new(), records: Vec::new() };
        let journal = journals.entry(run).or_insert_with(new);
        if let Entry::RunStarted(started) = &entry {
            started.owner.user.as_str().clone_into(&mut journal.owner);
        }
        journal.records.push(record);
    }
    Ok(journals)
}

/// What an entry of the journal of this run records.
fn event_of(run: &RunId, entry: &Entry) -> Event {
    let call = |key: &StepKey| CallKey::for_step(run, &key.step, key.index).to_string();
    match entry {
        Entry::StepStarted { key, .. } => Event::CallStarted(call(key)),
        Entry::StepDone { key, .. } | Entry::StepFailed { key, .. } => Event::CallEnded(call(key)),
        Entry::StepRetried { key, .. } => Event::CallRetried(call(key)),
        Entry::RunResumed { .. } => Event::Resumed,
        Entry::RunEnded { reply } => {
            let code = reply.error.as_ref().map(|cause| cause.code.to_string());
            Event::Ended(RunEnd { code, is_estimated: reply.metadata.estimated })
        }
        _ => Event::Other,
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::reply::Usage;
    use greenroom_protocol::{Cause, ErrorCode, Metadata, Reply, Status, StepId, Values, WrittenVersion};

    use super::*;

    #[test]
    fn an_entry_names_its_call_by_the_key_that_the_model_receives() {
        let run = RunId::new("run_1").unwrap();
        let key = StepKey { step: StepId::new("each").unwrap(), index: Some(3) };
        let started = Entry::StepStarted { key: key.clone(), attempt: 1, agent: None };
        assert_eq!(event_of(&run, &started), Event::CallStarted("run_1/each[3]".to_owned()));
        let cause = Cause::new(ErrorCode::BudgetExceeded, "too much");
        let failed =
            Entry::StepFailed { key, attempt: 1, cause: cause.clone(), usage: Usage::default(), duration_ms: 4 };
        assert_eq!(event_of(&run, &failed), Event::CallEnded("run_1/each[3]".to_owned()));
        let metadata = Metadata { estimated: true, ..Metadata::default() };
        let (id, status, outputs) = (run.to_string(), Status::Failed, Values::new());
        let reply = Box::new(Reply {
            id,
            status,
            outputs,
            error: Some(cause),
            metadata,
            protocol_version: WrittenVersion::OWN,
        });
        let end = RunEnd { code: Some("budget_exceeded".to_owned()), is_estimated: true };
        assert_eq!(event_of(&run, &Entry::RunEnded { reply }), Event::Ended(end));
        assert_eq!(event_of(&run, &Entry::NestedRetryTaken), Event::Other);
    }
}
