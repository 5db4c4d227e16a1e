//! The data of the in-memory ledger.

use std::collections::BTreeMap;

use crate::ledger::deltas::{CostEntry, CostKey};
use crate::ledger::reservation::SettlementRecord;
use crate::ledger::state::LedgerState;

/// The state of the ledger, and the costs that a store on the disk keeps in rows.
#[derive(Debug, Default)]
pub(super) struct LedgerWithCosts {
    pub(super) state: LedgerState,
    pub(super) costs: BTreeMap<CostKey, CostEntry>,
}

impl LedgerWithCosts {
    /// Adds a settlement to the costs.
    pub(super) fn write(&mut self, record: SettlementRecord) {
        self.state.add_settlement(record);
        for (key, cost) in self.state.drain_deltas().costs {
            self.costs.entry(key).or_default().add(&cost);
        }
    }
}
