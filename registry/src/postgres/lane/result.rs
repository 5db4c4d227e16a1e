//! The result of a batch of units, and the closings of the entries whose units are not taken.

use std::collections::BTreeMap;

use greenroom_protocol as protocol;
use protocol::audit::Event;
use protocol::{ContentHash, RunId};
use serde::Deserialize;

use crate::core::{Conflict, UnitError};
use crate::error::StoreError;
use crate::idempotency::KeyStatus;
use crate::idempotency::key_row::used_by_same;
use crate::journal::Seq;
use crate::postgres::runs::row::activity;
use crate::runs::{Fence, OwnerActivity};

/// The reasons of `greenroom_commit_v2`, as they are written.
const REASONS: [(&str, Reason); 8] = [
    ("unknown_run", Reason::UnknownRun),
    ("ended", Reason::Ended),
    ("fenced", Reason::Fenced),
    ("owned", Reason::Owned),
    ("out_of_order", Reason::OutOfOrder),
    ("run", Reason::Run),
    ("run_key", Reason::RunKey),
    ("key", Reason::Key),
];

/// What precedes the outcome in the event that closes record 0.
const CLOSED_PREFIX: &str = r#"{"kind":"closed","opened":0"#;

/// Why a unit is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::postgres) enum Reason {
    UnknownRun,
    Ended,
    Fenced,
    Owned,
    OutOfOrder,
    /// The run exists.
    Run,
    /// The key of the run was used before.
    RunKey,
    /// The key of the request was used before.
    Key,
    /// What was in the way no longer exists.
    Again,
}

/// A unit that is not taken.
#[derive(Debug, Deserialize)]
pub(in crate::postgres) struct RefusedUnit {
    pub(in crate::postgres) unit: i32,
    reason: Reason,
    seq: Option<u64>,
    run: Option<RunId>,
    same: Option<bool>,
    reply: Option<String>,
}

impl RefusedUnit {
    /// The error for its caller; `None` if the unit is to be repeated.
    pub(in crate::postgres) fn into_error(self) -> Option<UnitError> {
        let is_same = self.same == Some(true);
        let conflict = match self.reason {
            Reason::Again => return None,
            Reason::Fenced => return Some(UnitError::Fenced),
            Reason::UnknownRun => Conflict::UnknownRun,
            Reason::Ended => Conflict::Ended,
            Reason::Owned => Conflict::Owned,
            Reason::OutOfOrder => Conflict::OutOfOrder(Seq(self.seq.unwrap_or_default())),
            Reason::Run => Conflict::Run(self.run),
            Reason::RunKey => Conflict::Run(self.run.filter(|_| is_same)),
            Reason::Key if is_same => match used_by_same(self.run.as_ref(), self.reply.as_deref()) {
                Ok(status) => Conflict::Key(status),
                Err(error) => return Some(error.into()),
            },
            Reason::Key => Conflict::Key(KeyStatus::Conflict),
        };
        Some(UnitError::Conflict(conflict))
    }
}

/// A run that was created.
#[derive(Debug, Deserialize)]
pub(in crate::postgres) struct CreatedRow {
    pub(in crate::postgres) unit: i32,
    pub(in crate::postgres) number: u64,
}

/// A tree that was claimed.
#[derive(Debug, Deserialize)]
pub(in crate::postgres) struct ClaimedRow {
    pub(in crate::postgres) unit: i32,
    pub(in crate::postgres) number: u64,
    fence: u64,
    pub(in crate::postgres) failures: u32,
    since: Option<i64>,
    until: Option<i64>,
}

impl ClaimedRow {
    /// The fence of the new owner.
    pub(in crate::postgres) const fn fence(&self) -> Fence {
        Fence(self.fence)
    }

    /// When the last owner that has written to one of its runs was active.
    pub(in crate::postgres) fn last_activity(&self) -> Option<OwnerActivity> {
        activity(self.since, self.until)
    }
}

/// The tip of the chain after a batch.
#[derive(Debug, Deserialize)]
pub(in crate::postgres) struct TipRow {
    pub(in crate::postgres) number: u64,
    pub(in crate::postgres) hash: ContentHash,
}

/// The result of a batch of units.
#[derive(Debug, Deserialize)]
pub(in crate::postgres) struct Committed {
    pub(in crate::postgres) refused: Vec<RefusedUnit>,
    pub(in crate::postgres) created: Vec<CreatedRow>,
    pub(in crate::postgres) claimed: Vec<ClaimedRow>,
    pub(in crate::postgres) tip: Option<TipRow>,
}

/// The result of a plain batch, all of whose units are taken.
#[derive(Debug, Deserialize)]
pub(in crate::postgres) struct PlainCommitted {
    /// The numbers of the runs that it has created, in the order of their ids.
    #[serde(default)]
    pub(in crate::postgres) numbers: Vec<u64>,
}

/// For each reason the event that closes an entry whose unit is not taken, from behind the number of its record.
pub(in crate::postgres) type Tails = BTreeMap<&'static str, String>;

/// Encodes the closings.
pub(in crate::postgres) fn tails() -> Result<Tails, StoreError> {
    REASONS
        .into_iter()
        .map(|(name, reason)| {
            let refused = RefusedUnit { unit: 0, reason, seq: None, run: None, same: None, reply: None };
            let error = refused.into_error().unwrap_or(UnitError::Fenced);
            let event = serde_json::to_string(&Event::Closed { opened: 0, closing: error.closing() })?;
            let tail = event.strip_prefix(CLOSED_PREFIX);
            let unexpected = || StoreError::Codec(format!("a closing has an unexpected form: {event}"));
            Ok((name, tail.ok_or_else(unexpected)?.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use protocol::ErrorCode;

    use super::*;

    #[test]
    fn each_reason_closes_an_entry_with_its_own_code() {
        let tails = tails().unwrap();
        for (name, code) in [
            ("fenced", ErrorCode::LeaseLost),
            ("unknown_run", ErrorCode::UnknownRun),
            ("ended", ErrorCode::RunNotActive),
            ("key", ErrorCode::IdempotencyConflict),
        ] {
            let event = format!("{{\"kind\":\"closed\",\"opened\":7{}", tails[name]);
            let Event::Closed { opened, closing } = serde_json::from_str(&event).unwrap() else { panic!("{event}") };
            assert_eq!((opened, closing.code), (7, Some(code)), "{name}");
            let written = Event::Closed { opened, closing };
            assert_eq!(serde_json::to_string(&written).unwrap(), event, "as the serialiser writes it");
        }
    }

    #[test]
    fn every_reason_of_the_database_is_read() {
        let rows = r#"[{"unit":1,"reason":"out_of_order","seq":7},{"unit":2,"reason":"run_key","same":false,"run":"run_1",
            "reply":null},{"unit":3,"reason":"key","same":true,"run":null,"reply":null},{"unit":4,"reason":"again"}]"#;
        let rows: Vec<RefusedUnit> = serde_json::from_str(rows).unwrap();
        let errors: Vec<_> = rows.into_iter().map(RefusedUnit::into_error).collect();
        assert!(matches!(errors[0], Some(UnitError::Conflict(Conflict::OutOfOrder(Seq(7))))));
        assert!(matches!(errors[1], Some(UnitError::Conflict(Conflict::Run(None)))));
        assert!(matches!(errors[2], Some(UnitError::Conflict(Conflict::Key(KeyStatus::InProgress)))));
        assert!(errors[3].is_none());
    }
}
