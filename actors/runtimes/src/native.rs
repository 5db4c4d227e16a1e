//! Handlers of agents and tools that need no language model, and what they share: tables, facts,
//! charts, the report. Nothing here talks to a network.

pub(crate) mod calculator;
pub mod charts;
pub(crate) mod columns;
pub(crate) mod csv;
pub mod data_collection;
pub(crate) mod data_visualization;
pub(crate) mod dates;
pub(crate) mod decimal;
pub(crate) mod echo;
pub mod facts;
pub(crate) mod json_lines;
pub(crate) mod number_format;
pub mod report;
#[cfg(test)]
mod robustness_tests;
pub(crate) mod table;
#[cfg(test)]
mod tests;
