//! The cost of a run as the ledger has it, and the models that were paid.
//!
//! The journal has the cost of every call that returned. A call that was aborted, that exceeded the timeout of its step
//! or that was in flight when a process ended is only in the ledger, settled at its reservation. The reply of a run is
//! what was booked, so both agree: nothing is booked for a run after its end, because the runs that it called have ended
//! before it.

use std::time::Duration;

use greenroom_protocol::{MicroUsd, Reply, RunId};
use greenroom_registry::ledger::{Budget, Charged, ChargedModels};
use greenroom_registry::{StoreError, Stores};
use tokio::time::Instant;

/// Longest wait for the settlement of calls that were aborted.
const SETTLEMENT_WAIT_MAX: Duration = Duration::from_secs(2);
/// Interval between two looks at the ledger.
const SETTLEMENT_INTERVAL: Duration = Duration::from_millis(5);
/// The same while the server of the ledger is away.
const OUTAGE_INTERVAL: Duration = Duration::from_millis(200);

/// What was booked for a run and the runs that it called.
pub(super) struct BookedCost {
    cost: MicroUsd,
    models: ChargedModels,
}

/// What was booked for a run and the runs that it called, if the ledger can be read. With `waits`, calls that are still
/// open were aborted before and are awaited; one that remains open counts with its reservation, at which it is settled.
/// The server of a store that pods share is awaited too.
pub(super) async fn booked_cost(stores: &Stores, run: &RunId, waits: bool) -> Option<BookedCost> {
    let Stores { ledger, cluster, .. } = stores;
    let budget = Budget::Run(run.clone());
    let is_outage = |error: &StoreError| error.is_outage() || matches!(error, StoreError::OutcomeUnknown);
    let wait_until = Instant::now() + if waits { SETTLEMENT_WAIT_MAX } else { Duration::ZERO };
    loop {
        let Charged { settled, reserved, models } = match ledger.charged(&budget).await {
            Ok(charged) => charged,
            Err(error) if waits && cluster.is_shared() && is_outage(&error) => {
                tokio::time::sleep(OUTAGE_INTERVAL).await;
                continue;
            }
            Err(error) => {
                tracing::warn!(run.id = %run, error = %error, "the booked cost of the run cannot be read");
                return None;
            }
        };
        if reserved.cost == MicroUsd::default() || Instant::now() >= wait_until {
            return Some(BookedCost { cost: settled.cost + reserved.cost, models });
        }
        tokio::time::sleep(SETTLEMENT_INTERVAL).await;
    }
}

/// Raises the cost of a reply to the booked one, of which the difference was never reported by a provider, and adds the
/// models of the calls that did not return.
pub(super) fn add_booked_cost(reply: &mut Reply, BookedCost { cost, models }: &BookedCost) {
    let metadata = &mut reply.metadata;
    if *cost > metadata.cost {
        metadata.cost = *cost;
        metadata.estimated = true;
    }
    metadata.add_models(models.names(), models.price());
}
