//! Handlers of agents and tools that need no language model.
pub(crate) mod columns;
pub mod charts;
pub(crate) mod csv;
pub(crate) mod dates;
pub(crate) mod decimal;
pub mod facts;
pub(crate) mod figures;
pub(crate) mod json_lines;
pub mod report;
pub(crate) mod table;
