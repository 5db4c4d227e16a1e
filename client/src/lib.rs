//! The client library: one method for each request, over a transport.
//!
//! [`Client`] builds the requests and a [`Transport`] sends them. This crate knows no actor, policy or
//! store: each transport is implemented next to the server that it connects to.

pub mod client;
pub mod transport;

pub use client::{CallParams, Client};
pub use transport::{Events, Transport, TransportError};
