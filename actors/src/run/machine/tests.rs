//! The machine without an actor: a simulation completes its effects in any order.

mod approvals;
mod cases;
mod completion;
mod inner_runs;
mod random_runs;
mod simulation;
mod tool_approvals;
mod waits;
