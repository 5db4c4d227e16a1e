//! What a customer links: named methods over a transport.
//!
//! [`Client`] says what can be asked, one method a verb; a [`Transport`] carries it. Nothing here knows
//! an actor, a policy or a store: the transports live beside what they speak to.

pub mod client;
pub mod transport;

pub use client::{CallParams, Client};
pub use transport::{Events, Transport, TransportError};
