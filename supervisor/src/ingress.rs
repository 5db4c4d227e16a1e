//! The ingresses of a pod. Each turns bytes or calls into a `Received`; the pipeline does the rest.

mod answering;
pub mod control;
mod document;
pub mod frame;
pub(crate) mod http;
pub mod local;
pub(crate) mod nats;
pub(crate) mod watching;
