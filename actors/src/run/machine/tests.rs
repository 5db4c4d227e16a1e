//! The machine without an actor: a simulation completes its effects in any order.

mod approvals;
mod cases;
mod completion;
mod random_runs;
mod simulation;
