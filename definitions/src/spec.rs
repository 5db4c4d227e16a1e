//! Definitions as written: the structs that the decoder fills, that a version's canonical JSON is
//! made of, and that the JSON Schemas describe. They hold no compiled form, so that the modules that
//! compile prompts, expressions and plans can all depend on them.

pub(crate) mod agent;
pub(crate) mod team;
pub(crate) mod workflow;
