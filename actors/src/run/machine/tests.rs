//! The machine, tried without an actor: a world that answers what the machine asks for, in any order.

mod cases;
mod completion;
mod random_runs;
mod simulation;
