//! The native handlers: each is the code behind the agents that name it in `implementation.handler`.

pub(crate) mod data_collection;
mod data_source;
pub(crate) mod data_visualization;
pub(crate) mod echo;
