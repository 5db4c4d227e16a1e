//! A unit in the queue of a lane. Its texts are encoded by the caller's thread. Which of its requests are taken is
//! decided by the database, except for what no database is needed for.

use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::audit::{Closing, Event};
use protocol::{CallKey, ContentHash, RequestId, RunId, Timestamp};

use crate::audit::chain::EventJson;
use crate::audit::{AuditSeq, EntrySubject, OpenAuditEntry};
use crate::core::{KeyReply, KeyRequest, Receipts, Unit, UnitError};
use crate::error::StoreError;
use crate::group_commit::{LINGER, ReplySender};
use crate::idempotency::StoredKey;
use crate::ledger::reservation::SettlementRecord;
use crate::ledger::waiting::OwnedRequest;
use crate::ledger::{Amount, ReserveTicket, Settled};
use crate::runs::Fence;

use run::ChangeRun;

pub(super) mod footprint;
pub(super) mod run;

/// A key to reserve for a request.
pub(super) struct BeginKey {
    pub(super) key: StoredKey,
    pub(super) request_hash: ContentHash,
    pub(super) request: Option<RequestId>,
}

/// The reply of a request under its key; without one, the key is released.
pub(super) struct CompleteKey {
    pub(super) key: StoredKey,
    /// The reply as JSON.
    pub(super) reply: Option<String>,
}

/// How an open entry ends.
pub(super) enum EntryEnd {
    /// The outcome of its call.
    Closed(Closing),
    /// Its permit was dropped.
    Interrupted,
    /// Its pod has died. It is closed unless another unit has closed it.
    LeftOpen,
}

/// An entry to close.
pub(super) struct CloseEntry {
    pub(super) opened: AuditSeq,
    pub(super) subject: EntrySubject,
    pub(super) at: Timestamp,
    pub(super) end: EntryEnd,
}

impl CloseEntry {
    /// Closes an entry of a unit that is not taken: nothing was executed.
    pub(super) fn refused(opened: AuditSeq, subject: EntrySubject, at: Timestamp, error: &UnitError) -> Self {
        Self { opened, subject, at, end: EntryEnd::Closed(error.closing()) }
    }

    /// The event that closes the entry, in a chain with this number. An entry of another chain is named with it.
    pub(super) fn event(&self, chain: u64) -> Result<EventJson, StoreError> {
        let opened = if self.opened.chain() == chain { self.opened.number() } else { self.opened.0 };
        let event = match &self.end {
            EntryEnd::Closed(closing) => Event::Closed { opened, closing: closing.clone() },
            EntryEnd::Interrupted | EntryEnd::LeftOpen => Event::Interrupted { opened },
        };
        Ok(EventJson::from_event(&event)?)
    }
}

/// A reservation that is durable already; the unit makes a permit of it, or releases it.
pub(super) struct MadeReservation {
    pub(super) ticket: ReserveTicket,
    pub(super) key: CallKey,
    pub(super) upper_bound: Amount,
}

/// A unit in the queue of a lane.
pub(super) struct QueuedUnit {
    pub(super) at: Timestamp,
    pub(super) max_delay: Duration,
    pub(super) run: Option<ChangeRun>,
    pub(super) key: Option<BeginKey>,
    pub(super) reservation: Option<MadeReservation>,
    pub(super) opening: Option<(EventJson, EntrySubject)>,
    /// A run of the tree that the opened entry belongs to. The opening of a step's call is written with the start of the
    /// step, also if the step calls a run, of which nothing is known yet.
    pub(super) opening_run: Option<RunId>,
    pub(super) event: Option<EventJson>,
    pub(super) closing: Option<CloseEntry>,
    pub(super) settled: Vec<SettlementRecord>,
    pub(super) key_reply: Option<CompleteKey>,
    /// Its caller waits however long the server is away.
    pub(super) outlasts_outage: bool,
    /// Why its requests are not taken, if that is known already.
    pub(super) refusal: Option<UnitError>,
    /// The receipts of an earlier batch, after which its requests have to be repeated.
    pub(super) receipts: Receipts,
    pub(super) reply: Option<ReplySender<Receipts, UnitError>>,
}

impl QueuedUnit {
    /// Encodes a unit. A reservation that it still needs is returned beside it.
    pub(super) fn encode(unit: Unit<'_>, max_delay: Duration) -> Result<(Self, Option<OwnedRequest>), StoreError> {
        let Unit { at, run, key, reserve, ticket, opening, event, closing, settled, key_reply, tree, outlasts_outage } =
            unit;
        let named_run = opening.as_ref().and_then(|opening| opening.run.as_ref()?.parse().ok());
        let opening_run = tree.cloned().or(named_run);
        let opening = match opening {
            Some(opening) => {
                let subject = EntrySubject::from_opening(&opening);
                Some((EventJson::from_event(&Event::Opened(opening))?, subject))
            }
            None => None,
        };
        let run = run.map(ChangeRun::encode).transpose()?;
        let refusal = run.as_ref().and_then(ChangeRun::refusal);
        let (reservation, needed) = match (reserve, ticket) {
            (Some(request), Some(ticket)) => {
                let (key, upper_bound) = (request.key.clone(), request.upper_bound);
                (Some(MadeReservation { ticket, key, upper_bound }), None)
            }
            // What is refused in any case needs no reservation.
            (Some(request), None) if refusal.is_none() => (None, Some(request.into())),
            (Some(_) | None, None) | (None, Some(_)) => (None, None),
        };
        let encoded = Self {
            run,
            key: key.map(encode_key),
            reservation,
            opening,
            opening_run,
            event: event.as_ref().map(EventJson::from_event).transpose()?,
            closing: closing.map(|(entry, closing)| encode_closing(entry, closing, at)),
            settled: settled.into_iter().filter_map(Settled::into_record).collect(),
            key_reply: key_reply.map(encode_key_reply).transpose()?,
            outlasts_outage,
            refusal,
            max_delay,
            ..Self::empty(at)
        };
        Ok((encoded, needed))
    }

    /// A unit without changes.
    fn empty(at: Timestamp) -> Self {
        Self {
            at,
            max_delay: LINGER,
            run: None,
            key: None,
            reservation: None,
            opening: None,
            opening_run: None,
            event: None,
            closing: None,
            settled: Vec::new(),
            key_reply: None,
            outlasts_outage: false,
            refusal: None,
            receipts: Receipts::default(),
            reply: None,
        }
    }

    /// Closes an entry.
    pub(super) fn closing(closing: CloseEntry) -> Self {
        let at = closing.at;
        Self { closing: Some(closing), ..Self::empty(at) }
    }

    /// Releases a key, because its permit was dropped.
    pub(super) fn releasing(key: StoredKey, at: Timestamp) -> Self {
        Self { key_reply: Some(CompleteKey { key, reply: None }), ..Self::empty(at) }
    }

    /// Records an event of the platform itself.
    pub(super) fn recording(event: EventJson, at: Timestamp) -> Self {
        Self { event: Some(event), max_delay: Duration::ZERO, ..Self::empty(at) }
    }

    /// The same unit, for a caller that waits for its receipts.
    pub(super) fn with_reply(self, reply: ReplySender<Receipts, UnitError>) -> Self {
        Self { reply: Some(reply), ..self }
    }

    /// True if it changes nothing but accounts.
    pub(super) const fn is_of_accounts(&self) -> bool {
        self.run.is_none()
            && self.key.is_none()
            && self.opening.is_none()
            && self.event.is_none()
            && self.closing.is_none()
            && self.key_reply.is_none()
    }

    /// The tree and the fence of its owner, if it does nothing but release that tree, which has not failed.
    pub(super) fn released_tree(&self) -> Option<(&RunId, Fence)> {
        let is_other = self.key.is_some()
            || self.reservation.is_some()
            || self.opening.is_some()
            || self.event.is_some()
            || self.closing.is_some()
            || !self.settled.is_empty()
            || self.key_reply.is_some();
        match &self.run {
            Some(ChangeRun::Release { root, fence, failed_until: None }) if !is_other => Some((root, *fence)),
            Some(_) | None => None,
        }
    }

    /// True if no caller waits for its requests any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_some_and(ReplySender::is_abandoned)
    }

    /// Drops everything but the consequences, because no caller waits for the requests.
    pub(super) fn drop_requests(&mut self) {
        self.run = None;
        self.key = None;
        self.reservation = None;
        self.opening = None;
        self.opening_run = None;
        self.event = None;
        self.refusal = None;
    }

    /// Leaves only its requests, because the rest of it is durable: they have to be repeated.
    pub(super) fn repeat_requests(&mut self, receipts: Receipts) {
        self.opening = None;
        self.event = None;
        self.closing = None;
        self.settled = Vec::new();
        self.key_reply = None;
        self.receipts = receipts;
    }

    /// Bytes of the texts that it writes.
    pub(super) fn text_bytes(&self) -> usize {
        let entries = self.run.as_ref().map_or(0, ChangeRun::entry_bytes);
        let reply = self.key_reply.as_ref().and_then(|reply| reply.reply.as_ref()).map_or(0, String::len);
        entries.saturating_add(reply)
    }

    /// True if it is written by a later batch after this failure of its batch, of which nothing was written.
    pub(super) fn outlasts(&self, error: &StoreError) -> bool {
        self.outlasts_outage && self.reply.is_some() && error.is_outage()
    }

    /// Replies that its batch has failed. Returns what has to be written later all the same, if anything has.
    pub(super) fn fail(mut self, error: &StoreError) -> Option<Self> {
        // Its amount is free again before the caller learns of the failure.
        drop(self.reservation.take());
        // A caller that waits repeats the reply under its key.
        let key_reply = self.key_reply.take().filter(|_| self.reply.is_none());
        if let Some(reply) = self.reply.take() {
            reply.send(Err(error.clone().into()));
        }
        let Self { at, closing, settled, .. } = self;
        let has_any = closing.is_some() || !settled.is_empty() || key_reply.is_some();
        has_any.then(|| Self { closing, settled, key_reply, ..Self::empty(at) })
    }
}

fn encode_key(request: KeyRequest<'_>) -> BeginKey {
    let KeyRequest { tenant, key, request_hash, request } = request;
    BeginKey { key: (key.to_stored(), tenant.clone()), request_hash: *request_hash, request: request.cloned() }
}

fn encode_closing(mut entry: OpenAuditEntry, closing: Closing, at: Timestamp) -> CloseEntry {
    entry.disarm();
    CloseEntry { opened: entry.opened(), subject: entry.subject().clone(), at, end: EntryEnd::Closed(closing) }
}

fn encode_key_reply(key_reply: KeyReply<'_>) -> Result<CompleteKey, StoreError> {
    let reply = key_reply.reply.map(serde_json::to_string).transpose()?;
    Ok(CompleteKey { key: key_reply.key.as_stored().clone(), reply })
}
