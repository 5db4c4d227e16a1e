//! The whole platform under test: the house, faults, crowds, tidy.

pub mod fuzz;
pub mod predicate;
pub mod terminal;
