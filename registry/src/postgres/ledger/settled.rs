//! A settlement as a batch has it.

use serde::Serialize;

use crate::columns::to_int;
use crate::ledger::reservation::SettlementRecord;
use crate::ledger::usage::{day_of, minute_of};
use crate::ledger::{Amount, Settlement};

/// A settlement of this pod.
#[derive(Serialize)]
pub(in crate::postgres) struct SettledJson {
    n: u64,
    kind: u8,
    input: i64,
    output: i64,
    cost: i64,
    day: i64,
    minute: i64,
}

impl SettledJson {
    /// Encodes a settlement.
    pub(in crate::postgres) fn new(record: &SettlementRecord) -> Self {
        let amount = record.amount();
        let kind = match record.settlement {
            Settlement::Unused => 0,
            Settlement::Actual(_) => 1,
            Settlement::Estimated => 2,
        };
        let [input, output, cost] = amounts(amount);
        let (day, minute) = (day_of(record.at), minute_of(record.at));
        Self { n: record.reservation.id.0, kind, input, output, cost, day, minute }
    }
}

/// The tokens and the money of an amount, as a database has them.
pub(in crate::postgres) fn amounts(amount: Amount) -> [i64; 3] {
    [to_int(amount.tokens.input), to_int(amount.tokens.output), to_int(amount.cost.0)]
}
