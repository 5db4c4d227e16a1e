//! What the lanes and the accounts' lane have in their queues.

use std::time::Duration;

use greenroom_protocol::{PrincipalId, Timestamp};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::group_commit::{BatchCommand, LINGER, ReplySender};
use crate::ledger::reservation::{ReservationId, SettlementRecord};
use crate::ledger::waiting::OwnedRequest;
use crate::ledger::{Budget, Charged, ReserveError, ReserveTicket};
use crate::postgres::unit::QueuedUnit;

/// A command of a lane.
pub(super) enum LaneCommand {
    /// Writes a unit.
    Unit(Box<QueuedUnit>),
    /// Replies once every unit before it is durable.
    Flush(ReplySender<()>),
    /// Writes every queued unit, signs the end of the chain and ends the lane, which replies last.
    Close(ReplySender<()>),
}

impl BatchCommand for LaneCommand {
    fn max_delay(&self) -> Duration {
        match self {
            Self::Unit(unit) => unit.max_delay,
            Self::Flush(_) | Self::Close(_) => Duration::ZERO,
        }
    }
}

/// A call that waits for its budgets, or a unit that needs a reservation.
pub(super) enum Reserver {
    /// A unit: its reservation is decided at once, and its other parts follow.
    Unit(Box<QueuedUnit>),
    /// A call that waits until it fits, at most until this time. If it waits in vain, the reply is the last refusal.
    Call { reply: oneshot::Sender<Result<ReserveTicket, ReserveError>>, until: Instant },
}

/// A command of the accounts' lane.
pub(super) enum AccountsCommand {
    /// Writes a unit that has nothing but settlements, and a reservation that is made already.
    Settle(Box<QueuedUnit>),
    /// Writes a settlement whose unit was dropped.
    SettleDropped(SettlementRecord),
    /// Reserves the worst case of a call, whose number is this one.
    Reserve { id: ReservationId, request: OwnedRequest, at: Timestamp, reserver: Reserver },
    /// Reads what a budget has been charged.
    Charged(Budget, ReplySender<Charged>),
    /// Reads the usage of a user, for [`crate::postgres::ledger::usage::UsageCache`].
    Usage(PrincipalId, Timestamp, ReplySender<()>),
    /// Replies once everything before it is durable, and every settlement that is durable is shown in the accounts.
    Flush(ReplySender<()>),
    /// Starts a batch soon, which shows settlements of other lanes in the accounts.
    Show,
    /// Writes everything that is queued, and ends the lane.
    Close(ReplySender<()>),
}

impl BatchCommand for AccountsCommand {
    fn max_delay(&self) -> Duration {
        match self {
            Self::Settle(unit) => unit.max_delay,
            Self::SettleDropped(_) | Self::Show => LINGER,
            Self::Reserve { .. } | Self::Charged(..) | Self::Usage(..) | Self::Flush(_) | Self::Close(_) => {
                Duration::ZERO
            }
        }
    }
}
