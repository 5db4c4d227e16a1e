//! Handlers of agents and tools that need no language model, and what they share: tables, facts,
//! charts, the report. Nothing here talks to a network.

pub(crate) mod calculator;
pub mod charts;
pub mod collect;
pub(crate) mod columns;
pub(crate) mod csv;
pub(crate) mod dates;
pub(crate) mod decimal;
pub(crate) mod echo;
pub mod facts;
pub(crate) mod figures;
#[cfg(test)]
mod hostile;
pub(crate) mod json_lines;
pub mod report;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod visualize;
