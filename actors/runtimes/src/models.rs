//! The providers of language models, behind [`greenroom_actors::model::ModelProvider`].
//!
//! ```text
//! http       servers, remote and local
//! offline    extracts from the request, without a model and without a network
//! scripted   plays a script, for tests and benchmarks
//! ```

pub mod http;
pub mod offline;
pub mod scripted;
#[cfg(test)]
mod test_calls;
