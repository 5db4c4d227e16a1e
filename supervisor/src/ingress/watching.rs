//! The events of a run for whoever watches it, of every ingress. The watch was judged before: nothing here decides who may
//! see what.

use futures::{StreamExt as _, stream};
use greenroom_client::TransportError;
use greenroom_client::transport::Events;
use greenroom_protocol::event::{EventNumber, RunEvent, RunEventKind};
use greenroom_protocol::{Cause, Reply, RunId};
use greenroom_registry::Stores;
use greenroom_registry::journal::Seq;

pub(crate) mod run_frames;
pub(crate) mod watcher;

/// The events of a run after the one of this number, also later ones, until the run has ended.
pub(crate) fn events(stores: &Stores, run: &RunId, after: EventNumber) -> Events {
    let (stores, run) = (stores.clone(), run.clone());
    let opening = async move {
        match has_no_event_after(&stores, &run, after).await {
            Ok(true) => stream::empty().boxed(),
            Ok(false) => tail(&stores, run, after),
            Err(cause) => stream::once(async { Err(TransportError::Rejected(cause)) }).boxed(),
        }
    };
    stream::once(opening).flatten().boxed()
}

/// True if a run has ended, and its reader has its last event, which is the only one of its entry. The journal would be
/// awaited for ever.
async fn has_no_event_after(stores: &Stores, run: &RunId, after: EventNumber) -> Result<bool, Cause> {
    let record = stores.runs.get(run).await.map_err(|error| error.cause())?;
    Ok(record.is_some_and(|record| record.status.is_terminal() && record.seq.0 <= after.seq()))
}

fn tail(stores: &Stores, run: RunId, after: EventNumber) -> Events {
    let tail = stores.journal.tail(&run, Seq(after.entry_before()));
    let events = tail.flat_map(move |record| {
        let events = match record {
            Ok(record) => RunEvent::list_from_entry(&run, record.seq.0, record.at, &record.entry),
            Err(error) => return stream::iter(vec![Err(TransportError::Rejected(error.cause()))]),
        };
        let unread = events.into_iter().filter(|event| event.number() > after);
        stream::iter(unread.map(Ok).collect::<Vec<_>>())
    });
    events.boxed()
}

/// The reply of a run that has ended; `None` if it has not.
///
/// # Errors
/// Those of the store.
pub(crate) async fn final_reply(stores: &Stores, run: &RunId) -> Result<Option<Reply>, Cause> {
    let record = stores.runs.get(run).await.map_err(|error| error.cause())?;
    let Some(record) = record.filter(|record| record.status.is_terminal()) else { return Ok(None) };
    let before = Seq(record.seq.0.saturating_sub(1));
    let newest = stores.journal.read(run, before, 1).await.map_err(|error| error.cause())?;
    let kind = newest.first().and_then(|newest| RunEventKind::from_entry(&newest.entry));
    Ok(match kind {
        Some(RunEventKind::RunEnded { reply }) => Some(*reply),
        Some(_) | None => None,
    })
}
