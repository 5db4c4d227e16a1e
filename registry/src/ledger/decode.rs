//! The ledger from the rows of a database, the same for every driver: their queries name the columns alike.

use greenroom_protocol as protocol;
use protocol::{MicroUsd, Tokens};

use crate::columns::Columns;
use crate::error::StoreError;
use crate::ledger::deltas::{CostEntry, CostKey};
use crate::ledger::{Amount, CostRow};

/// Decodes a row of the costs.
pub(crate) fn decode_cost(row: &impl Columns) -> Result<CostRow, StoreError> {
    let workflow = row.text("workflow")?;
    let key = CostKey {
        day: row.int("day")?,
        principal: row.principal()?,
        agent: row.id("agent")?,
        workflow: if workflow.is_empty() { None } else { Some(row.id("workflow")?) },
    };
    let cost = CostEntry {
        calls: row.number("calls")?,
        actual: actual_amount(row)?,
        calls_estimated: row.number("calls_estimated")?,
        estimated: amount(row, ["estimated_input", "estimated_output", "estimated_cost"])?,
        calls_assumed: row.number("calls_assumed")?,
        assumed: MicroUsd(row.number("assumed_cost")?),
    };
    Ok(key.to_row(&cost))
}

/// The actual tokens and cost of a row.
pub(crate) fn actual_amount(row: &impl Columns) -> Result<Amount, StoreError> {
    amount(row, ["tokens_input", "tokens_output", "cost"])
}

fn amount(row: &impl Columns, [input, output, cost]: [&str; 3]) -> Result<Amount, StoreError> {
    let tokens = Tokens { input: row.number(input)?, output: row.number(output)? };
    Ok(Amount { tokens, cost: MicroUsd(row.number(cost)?) })
}
